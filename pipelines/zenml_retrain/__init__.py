"""Retraining with ZenML."""
