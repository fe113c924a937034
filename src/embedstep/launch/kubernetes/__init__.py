"""A request as a TrainJob or CronJob of Kubernetes, and a TrainJob submitted and followed."""
