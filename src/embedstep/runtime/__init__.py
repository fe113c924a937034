"""The process and its machine: signals, devices, memory limits, exit codes, secrets in the environment."""
