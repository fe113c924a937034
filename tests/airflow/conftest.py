"""A small request next to the real Airflow of `running`."""

from tests.airflow.running import airflow, home, python
from tests.decided import document

__all__ = ["airflow", "document", "home", "python"]
