"""Which components an operator knows, and with which parameters and inputs."""

from pathlib import Path

import pytest

from tests.orchestration.airflow.running import Airflow

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(600)]


@pytest.mark.parametrize(
    ("component", "more", "message"),
    [
        ("train", "", "component 'train' is none of prepare, mine_negatives, train_embedder"),
        ("train_embedder", "parameters={'learning_rte': 1}", "train_embedder has no parameter learning_rte"),
        ("evaluate", "inputs={'modle': '/m'}", "evaluate has no input modle"),
    ],
)
def test_what_a_component_does_not_have_is_reported(
    airflow: Airflow, tmp_path: Path, component: str, more: str, message: str
) -> None:
    found = airflow(
        None,
        f"""
        from embedstep.orchestration.airflow import EmbedstepOperator
        try:
            EmbedstepOperator(
                task_id="t", component="{component}", request="model: m", folder="{tmp_path}/out", {more}
            ).execute({{}})
        except Exception as error:
            out(raised=type(error).__name__, message=str(error))
        """,
    )
    assert (found["raised"], message in found["message"]) == ("AirflowFailException", True)
