"""Which trackers there are: for `tracking.kind`, and for `report_to`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embedstep.request.trackers import CALLBACKS, KINDS
from tests.tracking.logged import NEEDS_WANDB, history, scalars


@pytest.mark.parametrize("tracker", ["tensorboard", pytest.param("wandb", marks=NEEDS_WANDB)])
def test_report_to_has_every_metric_after_the_run(
    tracker: str, embedstep_run: Callable[..., Any], evaluated: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    folder = tmp_path / "reports"
    folder.mkdir()
    arguments = (
        {"report_to": [tracker], "logging_dir": str(folder)} if tracker == "tensorboard" else {"report_to": [tracker]}
    )
    environ = {"WANDB_MODE": "offline", "WANDB_DIR": str(folder), "WANDB_SILENT": "true"}
    outcome = embedstep_run(evaluated(arguments=arguments), environ=environ)
    assert outcome.code == 0, outcome.err
    names = {name for _, name in (scalars if tracker == "tensorboard" else history)(folder)}
    wanted = {name for line in (outcome.output / "metrics.jsonl").read_text().splitlines() for name in json.loads(line)}
    for name in wanted - {"train_step", "epoch"}:
        shown = name.replace("@", "_") if tracker == "tensorboard" else name
        group, _, rest = shown.partition("_")  # as the callbacks name them
        places = {f"train/{shown}", f"{group}/{rest}", shown}
        assert places & names, f"{name} is not among {sorted(names)}"


@pytest.mark.usefixtures("birdsong")
@pytest.mark.parametrize(
    ("tracking", "message"),
    [
        ({"kind": "tensorbord"}, "did you mean tensorboard?"),
        ({"kind": "text_fil"}, "did you mean text_file?"),
        ({"kind": "birdsong:gone"}, "tracking.kind: birdsong has no 'gone'"),
        ({"kind": "birdsong:blocks"}, "it must be an embedstep.TrackerKind"),
        ({"kind": "text_file", "register_as": "x"},
         "tracking.register_as: is a name in MLflow's registry, and tracking.kind is text_file"),
        ({"kind": "tensorboard", "mode": "nest"}, "tracking.mode: is about a run in MLflow, and tracking.kind is"),
    ],
)  # fmt: skip
def test_a_tracker_that_cannot_be_is_refused(
    problems_of: Callable[..., list[str]], tracking: dict[str, str], message: str
) -> None:
    assert message in "\n".join(problems_of(tracking=tracking))


def test_the_table_has_each_callback_of_the_installed_release() -> None:
    from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

    assert set(INTEGRATION_TO_CALLBACK) == set(CALLBACKS)
    assert {"mlflow", "tensorboard", "wandb", "none"} == set(KINDS)
