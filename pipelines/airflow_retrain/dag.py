"""Retraining with Airflow: prepare, train, evaluate, and promote a better model.

Copy this file and `request.yaml` to the folder of DAGs. EMBEDSTEP_PYTHON is the interpreter of an environment with
`embedstep[train,mlflow]`, and EMBEDSTEP_RUNS the folder of all runs.
"""

import os
import sys
from datetime import datetime, timedelta
from pathlib import Path

from airflow.sdk import DAG, Asset, Param

from embedstep.orchestration.airflow import EmbedstepOperator, dag_schedule

REQUEST = Path(__file__).with_name("request.yaml").read_text(encoding="utf-8")
RUN = os.environ.get("EMBEDSTEP_RUNS", "/tmp/embedstep") + "/{{ run_id | replace(':', '-') }}"
PYTHON = os.environ.get("EMBEDSTEP_PYTHON", sys.executable)
AS_OF = "{{ data_interval_end | ts }}"
ROWS, MODEL = Asset("embedstep://docs/rows"), Asset("embedstep://docs/model")

with DAG(
    "embedstep_retrain",
    description=__doc__.splitlines()[0],
    **dag_schedule(REQUEST),
    start_date=datetime(2026, 1, 1),
    params={"learning_rate": Param(2e-5, type="number", exclusiveMinimum=0, description="Peak learning rate.")},
    render_template_as_native_obj=True,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=5)},
) as dag:
    prepare = EmbedstepOperator(
        task_id="prepare", component="prepare", request=REQUEST, folder=f"{RUN}/prepare", python=PYTHON,
        parameters={"as_of": AS_OF}, outlets=[ROWS],
    )  # fmt: skip
    train = EmbedstepOperator(
        task_id="train", component="train_embedder", request=REQUEST, folder=f"{RUN}/train", python=PYTHON,
        parameters={"as_of": AS_OF, "learning_rate": "{{ params.learning_rate }}"},
        inputs={"train_data": f"{RUN}/prepare/train_rows", "eval_data": f"{RUN}/prepare/eval_rows"},
    )  # fmt: skip
    held_out = {"model": f"{RUN}/train/model", "eval_data": f"{RUN}/prepare/eval_rows"}
    evaluate = EmbedstepOperator(
        task_id="evaluate", component="evaluate", request=REQUEST, folder=f"{RUN}/evaluate", python=PYTHON,
        parameters={"as_of": AS_OF}, inputs=held_out,
    )  # fmt: skip
    promote = EmbedstepOperator(
        task_id="promote", component="promote", request=REQUEST, folder=f"{RUN}/promote", python=PYTHON,
        parameters={"as_of": AS_OF}, inputs={**held_out, "result": f"{RUN}/train/result"}, outlets=[MODEL],
    )  # fmt: skip
    prepare >> train >> evaluate >> promote
