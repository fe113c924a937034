"""A retraining for Kubeflow Pipelines."""
