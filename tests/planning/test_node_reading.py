"""What a request can ask for where each node reads its share of the rows, and what is planned of them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embedstep import plan_step
from embedstep.errors import InvalidRequestError
from embedstep.orchestration.prepare import prepare_data
from embedstep.planning.batches import build_epochs, load_sampler_inputs
from embedstep.planning.node_reading import nodes_can_read, write_shares
from embedstep.planning.plan import Plan, plan_from_json
from embedstep.request.loading import load_request
from embedstep.request.schema import TrainRequest
from embedstep.step import _scan_and_plan
from tests.data.test_sharded_rows import write_all

Build = Callable[..., TrainRequest]
ROWS = {"path": "rows/*.parquet", "columns": {"anchor": "q", "positive": "a"}}
NO_DUPLICATES = {"batch_sampler": "no_duplicates"}
READ = "data.read: per_node"
AS_THEY_ARE = f"does not go with {READ}, which reads the rows of Parquet files as they are"


def document(rows: dict[str, Any], **arguments: Any) -> dict[str, Any]:
    return {
        "model": "./model", "loss": "multiple_negatives_ranking",
        "data": {"read": "per_node", "train": {"docs": {**ROWS, **rows}}},
        "arguments": {**NO_DUPLICATES, **arguments},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "sections", "expected"),
    [
        ({}, {}, []),
        ({}, {"arguments": {"train_sampling_strategy": "sequential"}}, []),
        ({"limit": 5}, {}, [("data.train.docs.limit", AS_THEY_ARE)]),
        ({"hold_out": {"share": 0.1}}, {}, [("data.train.docs.hold_out", AS_THEY_ARE)]),
        ({"path": None, "sql": "select 1"}, {}, [("data.train.docs.sql", AS_THEY_ARE)]),
        ({"transform": {"kind": "delete_words"}}, {}, [("data.train.docs.transform", AS_THEY_ARE)]),
        ({"columns": {"anchor": "q", "positive": "a", "negative": {"list": "n", "take": 2}}}, {},
         [("data.train.docs.columns.negative", f"is a column of lists; {READ} needs one text in each cell")]),
        ({}, {"arguments": {}},
         [("arguments.batch_sampler", f"draws batches from all rows, and with {READ} no node has them; write "
           "no_duplicates or group_by_label, or train_sampling_strategy: group_by_length")]),
        ({}, {"arguments": {"batch_sampler": "package:Sampler"}},
         [("arguments.batch_sampler", f"is package:Sampler, and with {READ} it would not have all rows")]),
        ({}, {"arguments": {"batch_sampler": "no_duplicates", "auto_find_batch_size": True}},
         [("arguments.auto_find_batch_size", f"does not go with {READ}, whose steps are planned for one batch size")]),
        ({}, {"launch": {"nodes": 2}, "loss": {"docs": {"kind": "matryoshka", "options": {
            "loss": {"kind": "multiple_negatives_ranking", "options": {"gather_across_devices": True}},
            "matryoshka_dims": [32]}}}},
         [("loss.docs", f"has gather_across_devices, and with {READ} the batches of two nodes may share a text; "
           "remove one")]),
    ],
)  # fmt: skip
def test_what_needs_all_rows_is_refused(
    rows: dict[str, Any], sections: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    request = load_request(json.dumps({**document(rows), **sections}))
    assert list(nodes_can_read(request)) == expected


def test_incomplete_rows_are_not_dropped() -> None:
    given = document({})
    given["data"]["drop_incomplete_rows"] = True
    assert [path for path, _ in nodes_can_read(load_request(json.dumps(given)))] == ["data.drop_incomplete_rows"]
    del given["data"]["read"]
    assert not list(nodes_can_read(load_request(json.dumps(given))))


@pytest.fixture
def build(tmp_path: Path, request_of: Callable[..., dict[str, Any]]) -> Build:
    """Returns a request over four files of different size with repeated texts, and their facts."""
    (tmp_path / "rows").mkdir()
    for number, size in enumerate((90, 40, 70, 60)):
        texts = [f"{number * 7 + row % 50} of the texts" + " and more" * (row % 3) for row in range(size)]
        table = {"q": texts, "a": [f"answer {row % 45}" for row in range(size)], "l": [row % 2 for row in range(size)]}
        pq.write_table(pa.table(table), tmp_path / f"rows/{number}.parquet")
    write_all(tmp_path / "rows")

    def build(nodes: int = 2, processes: int = 2, **arguments: Any) -> TrainRequest:
        columns = {"anchor": "q", "positive": "a"}
        if arguments.get("batch_sampler") == "group_by_label":
            columns["label"] = "l"
        found = request_of(
            data={"read": "per_node", "train": {"docs": {"path": f"{tmp_path}/rows/*.parquet", "columns": columns}}},
            launch={"nodes": nodes, "processes_per_node": processes},
            loss="contrastive" if "label" in columns else "multiple_negatives_ranking",
            arguments={"per_device_train_batch_size": 4, "use_cpu": True, **NO_DUPLICATES, **arguments},
        )
        return load_request(json.dumps(found))

    return build


def planned(request: TrainRequest, folder: Path) -> Plan:
    """Return the plan of a run."""
    plan, problems = _scan_and_plan(request, request, None, folder / "data")
    assert plan is not None
    assert not problems
    return plan_from_json(json.loads(json.dumps(plan.to_json())))


@pytest.mark.parametrize(
    "arguments",
    [
        {"batch_sampler": "no_duplicates"},
        {"batch_sampler": "group_by_label"},
        {"batch_sampler": "no_duplicates", "train_sampling_strategy": "group_by_length"},
        {"batch_sampler": "batch_sampler", "train_sampling_strategy": "group_by_length"},
        {"batch_sampler": "batch_sampler", "train_sampling_strategy": "sequential"},
    ],
)
def test_nodes_make_the_planned_steps_from_the_rows_of_their_files(
    build: Build, tmp_path: Path, arguments: dict[str, Any]
) -> None:
    request = build(**arguments)
    plan = planned(request, tmp_path)
    (item,) = plan.datasets
    assert item.node_rows == (130, 130)
    steps, used = [], 0
    for node in range(2):
        write_shares(request, plan, node)
        (here,) = plan.on_node(node).datasets
        epochs = build_epochs(request.arguments.model_copy(update={"dataloader_drop_last": True}), [
            load_sampler_inputs(request.arguments, here)], plan.world_size, 4)  # fmt: skip
        steps.append(epochs.steps)
        ranks = [np.concatenate(list(epochs.rows_of(0, rank))) for rank in range(2)]
        used += len(set(np.concatenate(ranks).tolist()))
        assert max(map(np.max, ranks)) < here.rows
    assert steps == [plan.steps_per_epoch] * 2
    assert (used, used) == (item.rows - item.rows_unreached, (item.batches or 0) * 4)


def test_all_nodes_take_as_many_steps_as_that_with_the_fewest_rows(build: Build, tmp_path: Path) -> None:
    plan = planned(build(nodes=3, processes=1), tmp_path)
    (item,) = plan.datasets
    assert item.node_rows == (90, 70, 100)
    assert (plan.steps_per_epoch, item.batches, item.rows_unreached) == (17, 51, 260 - 17 * 3 * 4)
    assert "data.train.docs: 4 files are divided among 3 nodes, from 70 to 100 rows each; none reads all" in plan.notes


def test_the_division_is_part_of_what_is_trained_and_resumed(build: Build, tmp_path: Path) -> None:
    one, two = planned(build(nodes=1, processes=4), tmp_path), planned(build(nodes=2, processes=2), tmp_path)
    assert one.datasets[0].fingerprint == two.datasets[0].fingerprint
    assert one.training_fingerprint != two.training_fingerprint
    assert (one.position["nodes with rows of their own"], two.position["nodes with rows of their own"]) == (1, 2)


def test_a_share_is_read_once(build: Build, tmp_path: Path) -> None:
    request = build()
    plan = planned(request, tmp_path)
    write_shares(request, plan, 1)
    file = plan.on_node(1).datasets[0].file
    before = file.stat().st_mtime_ns
    write_shares(request, plan, 1)
    assert file.stat().st_mtime_ns == before
    assert file.name == f"train-docs.node-1-of-2-{plan.datasets[0].fingerprint[:16]}.arrow"


def test_a_node_with_other_files_is_refused(build: Build, tmp_path: Path) -> None:
    request = build()
    plan = planned(request, tmp_path)
    (tmp_path / "rows/3.parquet").unlink()
    with pytest.raises(InvalidRequestError, match="node 1 finds other files than node 0, or other facts of them"):
        write_shares(request, plan, 1)


def test_nothing_is_prepared_in_one_place(build: Build, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match=r"data\.read: is per_node, and rows are prepared in one place"):
        prepare_data(build(), tmp_path / "train", tmp_path / "eval")


def test_there_is_no_preview(build: Build) -> None:
    with pytest.raises(InvalidRequestError, match=r"data\.read: is per_node, and a plan reads no texts"):
        plan_step(build(), preview=2)
