"""A retraining for Airflow."""
