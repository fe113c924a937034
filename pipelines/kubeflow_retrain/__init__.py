"""Retraining with Kubeflow Pipelines."""
