"""A real Airflow next to the small request of `orchestration`."""

from tests.orchestration.airflow.running import airflow, home, python

__all__ = ["airflow", "home", "python"]
