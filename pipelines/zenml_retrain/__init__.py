"""A retraining for ZenML."""
