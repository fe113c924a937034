"""How a component ended, as a state of Airflow."""

import json
from pathlib import Path

import pytest

from tests.orchestration.airflow.running import Airflow

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(600)]


@pytest.mark.parametrize(
    ("code", "outcome", "raised"),
    [
        (0, {"verdict": "trained", "run_id": "r"}, "returned"),
        (0, {"verdict": "unchanged", "run_id": ""}, "AirflowSkipException"),
        (0, {"verdict": "superseded", "run_id": ""}, "AirflowSkipException"),
        (1, {}, "AirflowException"),
        (2, {}, "AirflowFailException"),
        (3, {}, "AirflowException"),
        (4, {}, "AirflowFailException"),
        (75, {}, "AirflowException"),
    ],
)
def test_how_a_component_ended_is_a_state_of_airflow(
    airflow: Airflow, tmp_path: Path, code: int, outcome: dict[str, str], raised: str
) -> None:
    """2 and 4 are not tried again, 1, 3 and 75 are; what has trained nothing skips what follows."""
    stub = tmp_path / "python"
    written = json.dumps({"parameterValues": outcome})
    stub.write_text(
        f"#!/bin/sh\nmkdir -p {tmp_path}/out\necho '{written}' > {tmp_path}/out/outcome.json\nexit {code}\n"
    )
    stub.chmod(0o755)
    found = airflow(
        None,
        f"""
        from embedstep.orchestration.airflow import EmbedstepOperator
        operator = EmbedstepOperator(
            task_id="train", component="train_embedder", request="model: m", folder="{tmp_path}/out", python="{stub}",
            parameters={{"learning_rate": 2e-5}},
        )
        try:
            out(raised="returned", value=operator.execute({{}}))
        except Exception as error:
            out(raised=type(error).__name__, message=str(error))
        """,
    )
    assert found["raised"] == raised
    assert code == 0 or f"exit code {code}" in found["message"]
    assert raised != "returned" or found["value"] == outcome
