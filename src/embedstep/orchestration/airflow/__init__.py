"""Operators for Airflow that run a component in another Python environment, or in a pod.

    from embedstep.orchestration.airflow import EmbedstepOperator

    train = EmbedstepOperator(
        task_id="train", component="train_embedder", request=REQUEST, folder="/data/{{ run_id }}/train"
    )

Airflow's pinned dependencies conflict with those of the training libraries, so nothing here imports them.
"""

from embedstep.orchestration.airflow.local import EmbedstepOperator
from embedstep.orchestration.airflow.outcome import conclude
from embedstep.orchestration.airflow.schedule import dag_schedule

__all__ = ["EmbedstepOperator", "conclude", "dag_schedule"]
