import json
import math
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedstep.data.facts import ColumnKind
from embedstep.planning.build import build_plan
from embedstep.planning.plan import PlannedDataset, plan_from_json
from embedstep.request.fingerprint import request_fingerprint
from tests.planning.plans import PAIR, facts, planned, request


@pytest.mark.parametrize(
    ("loss", "processes", "notes"),
    [
        ("multiple_negatives_ranking", 2, ()),
        (
            {"kind": "softmax", "options": {"num_labels": 2}},
            1,
            ("loss softmax trains layers of its own: they are not saved with the model",),
        ),
        (
            {"kind": "softmax", "options": {"num_labels": 2}},
            2,
            (
                "loss softmax trains layers of its own: they are not saved with the model, and each "
                "of the 2 processes trains its own",
            ),
        ),
    ],
)
def test_layers_that_belong_to_a_loss_are_reported(loss: Any, processes: int, notes: tuple[str, ...]) -> None:
    columns: Mapping[str, ColumnKind] = {**PAIR, "label": "integer"}
    plan = build_plan(request(loss=loss), [facts(100, columns=columns)], gpus=0, processes=processes)
    assert plan.notes == notes
    assert plan_from_json(json.loads(json.dumps(plan.to_json()))) == plan


def test_the_shortest_run() -> None:
    plan = planned(130)
    assert (plan.world_size, plan.gpus, plan.global_batch_size) == (1, 0, 8)
    assert (plan.steps_per_epoch, plan.train_steps, plan.epochs) == (17, 51, 3.0)
    assert (plan.warmup_steps, plan.evaluations, plan.checkpoints) == (0, (), ())
    assert plan.metrics == ()
    assert plan.request_fingerprint == request_fingerprint(request())
    assert plan.datasets == (
        PlannedDataset(
            split="train", name="docs", rows=130, dropped_rows=0, columns=("anchor", "positive"), dropped_columns=(),
            loss="multiple_negatives_ranking", batches=17, largest_batch=None, rows_unreached=0, negatives_per_anchor=7,
            fingerprint="", path=None,
        ),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "processes", "given", "steps_per_epoch", "train_steps", "epochs", "global_batch", "unreached"),
    [
        (130, 1, {"per_device_train_batch_size": 32}, 5, 15, 3.0, 32, 0),
        (130, 1, {"per_device_train_batch_size": 32, "dataloader_drop_last": True}, 4, 12, 3.0, 32, 2),
        (130, 4, {"per_device_train_batch_size": 32}, 1, 3, 3.0, 128, 2),
        (60, 4, {"per_device_train_batch_size": 32}, 0, 0, 0.0, 128, 28),
        (130, 2, {}, 8, 24, 3.0, 16, 2),
        (130, 1, {"num_train_epochs": 1.5, "per_device_train_batch_size": 32}, 5, 8, 1.6, 32, 0),
        (130, 1, {"num_train_epochs": 0.5, "per_device_train_batch_size": 32}, 5, 3, 0.6, 32, 0),
        (130, 1, {"max_steps": 7, "per_device_train_batch_size": 32}, 5, 7, 1.4, 32, 0),
        (130, 1, {"gradient_accumulation_steps": 2, "per_device_train_batch_size": 32}, 3, 9, 3.0, 64, 0),
        (130, 1, {"gradient_accumulation_steps": 9, "per_device_train_batch_size": 32}, 1, 3, 3.0, 288, 0),
        (256, 2, {"gradient_accumulation_steps": 3, "per_device_train_batch_size": 16}, 3, 9, 3.0, 96, 0),
    ],
)
def test_rows_become_steps(
    rows: int, processes: int, given: dict[str, Any], steps_per_epoch: int, train_steps: int, epochs: float,
    global_batch: int, unreached: int,
) -> None:  # fmt: skip
    plan = planned(rows, processes, **given)
    assert (plan.steps_per_epoch, plan.train_steps, plan.epochs) == (steps_per_epoch, train_steps, epochs)
    assert plan.global_batch_size == global_batch
    assert plan.datasets[0].rows_unreached == unreached


def test_epochs_that_are_cut_short_end_with_the_run() -> None:
    plan = planned(130, per_device_train_batch_size=32, max_steps=12, save_strategy="epoch")
    assert plan.checkpoints == (5, 10, 12)
    assert plan.epochs == 2.4


@given(
    st.integers(1, 10**6), st.integers(1, 512), st.integers(1, 16), st.integers(1, 8), st.integers(1, 4), st.booleans()
)
def test_a_run_makes_no_more_steps_than_it_has_rows_for(
    rows: int, batch: int, processes: int, accumulation: int, epochs: int, drop_last: bool
) -> None:
    plan = planned(
        rows,
        processes,
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=accumulation,
        num_train_epochs=epochs,
        dataloader_drop_last=drop_last,
    )
    assert plan.global_batch_size == batch * processes * accumulation
    assert plan.train_steps == epochs * plan.steps_per_epoch
    assert plan.steps_per_epoch <= math.ceil(rows / plan.global_batch_size)
    if rows % plan.global_batch_size == 0:
        assert plan.steps_per_epoch * plan.global_batch_size == rows
        assert plan.datasets[0].rows_unreached == 0


@pytest.mark.parametrize(
    ("sampler", "batches", "unreached", "steps"),
    [("round_robin", (7, 7), (74, 0), 14), ("proportional", (17, 7), (0, 0), 24)],
)
def test_round_robin_ends_with_the_shortest_dataset(
    sampler: str, batches: tuple[int, int], unreached: tuple[int, int], steps: int
) -> None:
    asked = request("docs", "more", arguments={"multi_dataset_batch_sampler": sampler, "num_train_epochs": 1})
    plan = build_plan(asked, [facts(130), facts(50, "more")], gpus=0, processes=1)
    assert tuple(item.batches for item in plan.datasets) == batches
    assert tuple(item.rows_unreached for item in plan.datasets) == unreached
    assert plan.train_steps == steps


def test_round_robin_of_one_dataset_cuts_nothing() -> None:
    asked = request(evaluate=("docs",), arguments={"multi_dataset_batch_sampler": "round_robin"})
    plan = build_plan(asked, [facts(130), facts(10, split="eval")], gpus=0, processes=1)
    assert [item.batches for item in plan.datasets] == [17, 2]


def test_round_robin_leaves_eval_data_as_it_is() -> None:
    asked = request("docs", "more", evaluate=("docs",), arguments={"multi_dataset_batch_sampler": "round_robin"})
    items = [facts(130), facts(50, "more"), facts(100, split="eval")]
    plan = build_plan(asked, items, gpus=0, processes=1)
    assert [item.batches for item in plan.datasets] == [7, 7, 13]


@pytest.mark.parametrize(
    ("options", "processes", "negatives"),
    [
        ({}, 1, 7),
        ({}, 4, 7),
        ({"gather_across_devices": True}, 4, 31),
        ({"gather_across_devices": True}, 1, 7),
    ],
)
def test_negatives_of_each_anchor(options: dict[str, Any], processes: int, negatives: int) -> None:
    loss = {"kind": "multiple_negatives_ranking", "options": options}
    columns: Mapping[str, ColumnKind] = {**PAIR, "negative": "text"}
    asked = request(loss=loss, arguments={"per_device_train_batch_size": 4})
    plan = build_plan(asked, [facts(130, columns=columns)], gpus=0, processes=processes)
    # Four rows of one positive and one negative are eight documents, and one of them is the anchor's own.
    assert plan.datasets[0].negatives_per_anchor == negatives


def test_a_loss_without_in_batch_negatives_has_no_number_of_them() -> None:
    columns: Mapping[str, ColumnKind] = {**PAIR, "label": "number"}
    plan = build_plan(request(loss="cosent"), [facts(130, columns=columns)], gpus=0, processes=1)
    assert plan.datasets[0].negatives_per_anchor is None


def test_eval_data_has_batches_only_for_a_loss() -> None:
    asked = request(
        evaluate=("docs", "held"),
        arguments={"per_device_eval_batch_size": 16},
        evaluators=[{"kind": "information_retrieval", "name": "held", "dataset": "held"}],
    )
    items = [facts(130), facts(100, split="eval"), facts(100, "held", split="eval")]
    _, with_loss, scored = build_plan(asked, items, gpus=0, processes=1).datasets
    assert (with_loss.loss, with_loss.batches, with_loss.negatives_per_anchor) == (
        "multiple_negatives_ranking", 7, None,
    )  # fmt: skip
    assert (scored.loss, scored.batches, scored.rows_unreached) == (None, None, 0)


def test_data_to_evaluate_with_is_evaluated_each_epoch() -> None:
    plan = build_plan(request(evaluate=("docs",)), [facts(130), facts(9, split="eval")], gpus=0, processes=1)
    assert plan.evaluations == (17, 34, 51)


@pytest.mark.parametrize(("steps", "untrained"), [(1, 2), (2, 1), (3, 0)])
def test_datasets_that_are_certainly_not_trained_on_are_counted(steps: int, untrained: int) -> None:
    names = ("one", "two", "three")
    rows = [facts(64, name) for name in names]
    plan = build_plan(request(*names, arguments={"max_steps": steps}), rows, gpus=0, processes=1)
    batches = f"{steps} batch{'es' if steps > 1 else ''}"
    expected = (
        f"the training takes {batches}, so at least {untrained} of 3 datasets are not trained on; raise max_steps"
    )
    assert [note for note in plan.notes if "not trained on" in note] == ([expected] if untrained else [])


@pytest.mark.parametrize(
    ("rows", "arguments", "expected"),
    [
        (200, {"per_device_train_batch_size": 500},
         ["data.train.docs: has 200 rows, and per_device_train_batch_size is 500"]),
        (200, {"per_device_train_batch_size": 200}, []),
        (64, {"learning_rate": 2e5}, ["learning_rate is 200000, and for a transformer more than 0.01 is unusual"]),
        (64, {"learning_rate": 0.2}, ["learning_rate is 0.2, and for a transformer more than 0.01 is unusual"]),
        (64, {"learning_rate": 1e-3}, []),
    ],
)  # fmt: skip
def test_slips_of_a_number_are_shown(rows: int, arguments: dict[str, Any], expected: list[str]) -> None:
    assert list(build_plan(request(arguments=arguments), [facts(rows)], gpus=0, processes=1).notes) == expected
