"""The trainer of sentence-transformers, with what a run adds: samplers, exact checkpoints, graceful shutdown."""
