"""The output folder of a step: its files, lock, checkpoints, attempts and result."""
