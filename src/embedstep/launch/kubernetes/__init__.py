"""A request as a TrainJob or CronJob of Kubernetes, and how its pods are followed."""
