import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embedstep.planning.plan import Plan
from embedstep.request.loading import load_request
from embedstep.request.schema import TrainRequest
from embedstep.step import plan_step
from tests.extensions.installed import birdsong, plan_request, problems_of, scored
from tests.planning.plans import PlanOf

__all__ = ["birdsong", "plan_request", "problems_of", "scored"]


@pytest.fixture
def plan_of(request_of: Callable[..., dict[str, Any]], tmp_path: Path) -> PlanOf:
    """Plan a run on one process over rows with the columns q, a and l."""

    def plan(rows: list[dict[str, Any]], *, processes: int = 1, loss: str = "", **arguments: Any) -> Plan:
        file = tmp_path / "rows.jsonl"
        file.write_text("\n".join(json.dumps(row) for row in rows))
        by_label = arguments.get("batch_sampler") == "group_by_label"
        columns = {"anchor": "q", "label": "l"} if by_label else {"anchor": "q", "positive": "a"}
        document = request_of(
            data={"train": {"docs": {"path": str(file), "columns": columns}}},
            loss="batch_all_triplet" if by_label else "multiple_negatives_ranking",
            launch={"processes_per_node": processes},
            arguments={"max_steps": -1, "num_train_epochs": 1, "per_device_train_batch_size": 4, **arguments},
        )
        return plan_step(load_request(json.dumps(document)))

    return plan


@pytest.fixture
def request_with(
    request_of: Callable[..., dict[str, Any]], tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., TrainRequest]:
    """Return a request with a model; `SAVED` and `BARE` are the tiny model and its transformer."""
    monkeypatch.chdir(tmp_path)
    Path("vectors.txt").write_text("3 2\nopen 0.5 1\nfile 1 0\n")
    Path("words.txt").write_text("open\nfile\n\n")
    Path("weights.json").write_text('{"open": 2}')
    Path("list.json").write_text("[1, 2]")
    Path("empty.txt").write_text("\n")

    def build(model: dict[str, Any], **arguments: Any) -> TrainRequest:
        places = {"SAVED": str(tiny_model), "BARE": str(tiny_model.parent / "bert")}
        model = {"path": places.get(model["path"], model["path"]), **model} if "path" in model else model
        text = json.dumps(request_of(model=model, arguments=arguments))
        for name, place in places.items():
            text = text.replace(f'"{name}"', json.dumps(place))
        return load_request(text)

    return build
