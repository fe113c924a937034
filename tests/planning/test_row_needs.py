"""Numbers that are read as classes: where a loss, an evaluator or a sampler needs integers, and nowhere else."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embedstep.errors import InvalidRequestError
from embedstep.planning.plan import Plan
from embedstep.request.loading import load_request
from embedstep.step import plan_step

PAIR = {"anchor": "q", "positive": "a", "label": "l"}
SINGLE = {"anchor": "q", "label": "l"}
GROUPED = {"batch_sampler": "group_by_label", "per_device_train_batch_size": 4}
Planned = Callable[..., Plan]


def write(path: Path, labels: list[Any]) -> str:
    """Write a row for each label."""
    rows = [{"q": f"question {number}", "a": f"answer {number}", "l": label} for number, label in enumerate(labels)]
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".csv":
        lines = [f"{row['q']},{row['a']},{'' if row['l'] is None else row['l']}" for row in rows]
        path.write_text("\n".join(["q,a,l", *lines, ""]))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def planned(request_of: Callable[..., dict[str, Any]], tmp_path: Path) -> Planned:
    """Plan a training on rows with some labels, and an evaluator on the same rows if one is named."""

    def plan(
        labels: list[Any], loss: Any, columns: dict[str, str], *, end: str = "parquet", evaluator: str = "", **more: Any
    ) -> Plan:
        source = {"path": write(tmp_path / f"rows.{end}", labels), "columns": columns}
        data: dict[str, Any] = {"train": {"docs": source}, "drop_incomplete_rows": True}
        evaluators = [{"kind": evaluator, "name": "held", "dataset": "held"}] if evaluator else []
        if evaluator:
            data["eval"] = {"held": source}
            pairs = {name: column for name, column in columns.items() if name != "label"}
            data["train"] = {"docs": {**source, "columns": pairs}}
        document = request_of(data=data, loss=loss, evaluators=evaluators, arguments=more)
        return plan_step(load_request(json.dumps(document)))

    return plan


SOFTMAX = {"kind": "softmax", "options": {"num_labels": 2}}


@pytest.mark.parametrize(
    ("loss", "columns", "more", "end"),
    [
        ("contrastive", PAIR, {}, "parquet"),
        ("contrastive", PAIR, {}, "csv"),
        (SOFTMAX, PAIR, {}, "jsonl"),
        ("batch_all_triplet", SINGLE, GROUPED, "parquet"),
        ({"kind": "matryoshka", "options": {"matryoshka_dims": [16]}, "loss": "contrastive"}, PAIR, {}, "parquet"),
        ("multiple_negatives_ranking", PAIR, {"evaluator": "binary_classification"}, "csv"),
    ],
    ids=str,
)
def test_labels_without_fractions_are_classes(
    planned: Planned, loss: Any, columns: dict[str, str], more: dict[str, Any], end: str
) -> None:
    """As pandas writes them where a cell of the column was empty."""
    whole = planned([0, 1] * 8, loss, columns, **more)
    with_gap = planned([0.0, 1.0] * 8 + [None], loss, columns, end=end, **more)
    assert with_gap.datasets[-1].labels == {"0": 8, "1": 8}
    assert with_gap.datasets[-1].dropped_rows == 1
    assert with_gap.datasets[-1].fingerprint == whole.datasets[-1].fingerprint


@pytest.mark.parametrize(
    ("loss", "columns", "more", "end", "problem"),
    [
        ("contrastive", PAIR, {}, "parquet", "docs.columns.label: holds number; contrastive needs a label with 0 or 1"),
        (SOFTMAX, PAIR, {}, "csv", "docs.columns.label: holds number; softmax needs a label with a class, an integer"),
        (
            "multiple_negatives_ranking", PAIR, {"evaluator": "binary_classification"}, "jsonl",
            "held.columns.label: holds number; the evaluator binary_classification needs a label with 0 or 1 in each "
            "row, and both of them",
        ),
    ],
    ids=str,
)  # fmt: skip
def test_a_fraction_is_no_class(
    planned: Planned, loss: Any, columns: dict[str, str], more: dict[str, Any], end: str, problem: str
) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        planned([0, 1] * 8 + [0.5], loss, columns, end=end, **more)
    assert [str(each).partition(".")[2].partition(".")[2] for each in caught.value.problems] == [problem]


def test_scores_stay_numbers(planned: Planned) -> None:
    """So that a training is the same as before."""
    scores, classes = (planned([0.0, 1.0] * 8, loss, PAIR) for loss in ("cosine_similarity", "contrastive"))
    assert scores.datasets[0].labels == {}
    assert scores.datasets[0].fingerprint != classes.datasets[0].fingerprint
