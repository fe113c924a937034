"""Retraining with Airflow."""
