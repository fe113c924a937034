"""Small requests, facts of datasets that nobody has read, and plans of both."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from embedstep.data.facts import ColumnKind, DatasetFacts, Split
from embedstep.planning.build import build_plan
from embedstep.planning.plan import Plan
from embedstep.request.loading import load_request
from embedstep.request.schema import TrainRequest

PAIR: Mapping[str, ColumnKind] = {"anchor": "text", "positive": "text"}


SOURCE = {"path": "a.parquet", "columns": {"anchor": "q", "positive": "p"}}


def request(*train: str, evaluate: tuple[str, ...] = (), **sections: Any) -> TrainRequest:
    data = {"train": dict.fromkeys(train or ("docs",), SOURCE), "eval": dict.fromkeys(evaluate, SOURCE)}
    return load_request(
        json.dumps({"model": "org/model", "data": data, "loss": "multiple_negatives_ranking", **sections})
    )


def facts(
    rows: int, name: str = "docs", split: Split = "train", columns: Mapping[str, ColumnKind] = PAIR, **more: Any
) -> DatasetFacts:
    return DatasetFacts(split=split, name=name, rows=rows, columns=columns, **more)


def planned(rows: int, processes: int = 1, **given: Any) -> Plan:
    return build_plan(request(arguments=given), [facts(rows)], gpus=0, processes=processes)


PlanOf = Callable[..., Plan]


def answers(*counts: int) -> list[dict[str, Any]]:
    """Rows with distinct questions, and as many of each answer."""
    found = [f"answer {number}" for number, count in enumerate(counts) for _ in range(count)]
    return [{"q": f"question {row}", "a": answer, "l": int(answer[7:])} for row, answer in enumerate(found)]


def kind(name: str, **options: Any) -> dict[str, Any]:
    return {"kind": name, "options": options}
