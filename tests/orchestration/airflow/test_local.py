"""A component in a subprocess of a task."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.orchestration.airflow.running import Airflow

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(600)]
Build = Callable[..., dict[str, Any]]


def test_a_parameter_of_another_type_is_refused(airflow: Airflow, document: Build, tmp_path: Path) -> None:
    found = airflow(
        document(),
        f"""
        from embedstep.orchestration.airflow import EmbedstepOperator
        request = Path(os.environ["AIRFLOW_HOME"], "dags", "request.yaml").read_text()
        operator = EmbedstepOperator(
            task_id="t", component="train_embedder", request=request,
            folder="{tmp_path}/out", python=os.environ["EMBEDSTEP_PYTHON"], parameters={{"learning_rate": "fast"}},
        )
        try:
            operator.execute({{}})
        except Exception as error:
            out(raised=type(error).__name__)
        """,
    )
    assert found["raised"] == "AirflowFailException"
    assert "learning_rate: needs a number; 'fast' was given" in found["output"]


def test_a_task_that_is_killed_ends_its_component(airflow: Airflow, tmp_path: Path) -> None:
    stub = tmp_path / "python"
    stub.write_text("#!/bin/sh\ntrap 'exit 75' TERM\necho begun\nwhile true; do sleep 0.1; done\n")
    stub.chmod(0o755)
    found = airflow(
        None,
        f"""
        import threading, time
        from embedstep.orchestration.airflow import EmbedstepOperator
        operator = EmbedstepOperator(
            task_id="t", component="prepare", request="model: m", folder="{tmp_path}/out", python="{stub}"
        )
        threading.Timer(2, operator.on_kill).start()
        began = time.monotonic()
        try:
            operator.execute({{}})
        except Exception as error:
            out(message=str(error), seconds=time.monotonic() - began)
        """,
    )
    assert "exit code 75" in found["message"]
    assert found["seconds"] < 10
