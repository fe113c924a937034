"""Operators for Airflow: each runs a component of embedstep in another environment, or in a pod.

    from embedstep.orchestration.airflow import EmbedstepOperator

    train = EmbedstepOperator(
        task_id="train", component="train_embedder", request=REQUEST, folder="/data/{{ run_id }}/train"
    )

Airflow's pins and those of the libraries that train do not go together, so nothing that trains is imported here.
"""

from embedstep.orchestration.airflow.local import EmbedstepOperator
from embedstep.orchestration.airflow.outcome import conclude
from embedstep.orchestration.airflow.schedule import dag_schedule

__all__ = ["EmbedstepOperator", "conclude", "dag_schedule"]
