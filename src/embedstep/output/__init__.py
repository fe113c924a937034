"""The output folder: its files, its lock, its checkpoints, its attempts, and the result that is left there."""
