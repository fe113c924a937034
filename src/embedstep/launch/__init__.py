"""From a plan of processes (a value) to processes (the one effect)."""
