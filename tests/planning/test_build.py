import json
import math
from collections.abc import Mapping
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedstep.data.facts import ColumnKind, DatasetFacts, Split
from embedstep.planning.batches import count_batches
from embedstep.planning.build import build_plan
from embedstep.planning.plan import Plan, PlannedDataset, plan_from_json
from embedstep.planning.steps import (
    checkpoint_steps,
    count_train_steps,
    count_warmup_steps,
    evaluation_steps,
    interval_in_steps,
    never_best,
)
from embedstep.request.arguments.schema import Arguments
from embedstep.request.arguments.types import Interval, SaveInterval
from embedstep.request.fingerprint import request_fingerprint
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


def arguments(**given: Any) -> Arguments:
    return Arguments.model_validate(given)


def planned(rows: int, processes: int = 1, **given: Any) -> Plan:
    return build_plan(request(arguments=given), [facts(rows)], gpus=0, processes=processes)


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
def test_layers_that_belong_to_a_loss_are_told(loss: Any, processes: int, notes: tuple[str, ...]) -> None:
    columns: Mapping[str, ColumnKind] = {**PAIR, "label": "integer"}
    plan = build_plan(request(loss=loss), [facts(100, columns=columns)], gpus=0, processes=processes)
    assert plan.notes == notes
    assert plan_from_json(json.loads(json.dumps(plan.to_json()))) == plan


@pytest.mark.parametrize(
    ("rows", "batch", "drop_last", "batches"),
    [
        (0, 8, False, 0),
        (1, 8, False, 1),
        (8, 8, False, 1),
        (9, 8, False, 2),
        (130, 32, False, 5),
        (0, 8, True, 0),
        (7, 8, True, 0),
        (8, 8, True, 1),
        (15, 8, True, 1),
        (130, 32, True, 4),
    ],
)
def test_batches(rows: int, batch: int, drop_last: bool, batches: int) -> None:
    assert count_batches(rows, batch, drop_last=drop_last) == batches


@given(st.integers(0, 10**9), st.integers(1, 10**5))
def test_batches_hold_every_row_or_only_whole_batches(rows: int, batch: int) -> None:
    whole = count_batches(rows, batch, drop_last=True)
    every = count_batches(rows, batch, drop_last=False)
    assert whole * batch <= rows < (whole + 1) * batch
    assert every == whole + (rows % batch > 0)


@pytest.mark.parametrize(
    ("given", "steps_per_epoch", "steps"),
    [
        ({}, 17, 51),
        ({"num_train_epochs": 1}, 17, 17),
        ({"num_train_epochs": 1.5}, 5, 8),
        ({"num_train_epochs": 0.1}, 5, 1),
        ({"max_steps": 4}, 17, 4),
        ({"max_steps": 40, "num_train_epochs": 1}, 17, 40),
        ({"max_steps": -1, "num_train_epochs": 2}, 17, 34),
        ({"max_steps": 4}, 0, 0),
        ({"num_train_epochs": 5}, 0, 0),
    ],
)
def test_train_steps(given: dict[str, Any], steps_per_epoch: int, steps: int) -> None:
    assert count_train_steps(arguments(**given), steps_per_epoch) == steps


@pytest.mark.parametrize(
    ("given", "train_steps", "steps"),
    [
        ({}, 100, 0),
        ({"warmup_steps": 10}, 100, 10),
        ({"warmup_steps": 1}, 100, 1),
        ({"warmup_steps": 10.0}, 100, 10),
        ({"warmup_steps": 0.1}, 100, 10),
        ({"warmup_steps": 0.101}, 100, 11),
        ({"warmup_ratio": 0.1}, 100, 10),
        ({"warmup_ratio": 0.1}, 51, 6),
        ({"warmup_ratio": 0.0}, 51, 0),
        ({"warmup_steps": 500}, 100, 500),
    ],
)
def test_warmup_steps(given: dict[str, Any], train_steps: int, steps: int) -> None:
    assert count_warmup_steps(arguments(**given), train_steps) == steps


@pytest.mark.parametrize(
    ("amount", "train_steps", "steps"),
    [
        # 100 * 0.07, 0.14, 0.28, 0.55 and 0.56 are a little more than 7, 14, 28, 55 and 56 to a computer, and the
        # installed trainer rounds them up as well.
        (0.07, 100, 8),
        (0.14, 100, 15),
        (0.28, 100, 29),
        (0.55, 100, 56),
        (0.56, 100, 57),
        (0.25, 100, 25),
        (0.1, 51, 6),
        (0.001, 10, 1),
        (0, 100, 0),
        (1, 100, 1),
        (1.0, 100, 1),
        (25, 100, 25),
        (250, 100, 250),
    ],
)
def test_an_interval_is_steps_or_a_share(amount: float, train_steps: int, steps: int) -> None:
    assert interval_in_steps(amount, train_steps) == steps


@given(st.floats(0, 1, exclude_min=True, exclude_max=True), st.integers(1, 10**6))
def test_a_share_is_at_least_one_step_and_at_most_all(share: float, train_steps: int) -> None:
    assert 1 <= interval_in_steps(share, train_steps) <= train_steps


@pytest.mark.parametrize(
    ("given", "train_steps", "steps_per_epoch", "steps"),
    [
        ({"eval_strategy": "no"}, 10, 5, ()),
        ({"eval_strategy": "no", "eval_on_start": True}, 10, 5, (0,)),
        ({"eval_strategy": "epoch"}, 10, 5, (5, 10)),
        ({"eval_strategy": "epoch"}, 8, 5, (5, 8)),
        ({"eval_strategy": "epoch"}, 3, 5, (3,)),
        ({"eval_strategy": "epoch", "eval_on_start": True}, 10, 5, (0, 5, 10)),
        ({"eval_strategy": "epoch", "eval_delay": 2}, 15, 5, (10, 15)),
        ({"eval_strategy": "epoch", "eval_delay": 1.5}, 8, 5, (8,)),
        ({"eval_strategy": "steps", "eval_steps": 3}, 7, 5, (3, 6, 7)),
        ({"eval_strategy": "steps", "eval_steps": 3}, 6, 5, (3, 6)),
        ({"eval_strategy": "steps", "eval_steps": 9}, 7, 5, (7,)),
        ({"eval_strategy": "steps", "eval_steps": 0.3}, 10, 5, (3, 6, 9, 10)),
        ({"eval_strategy": "steps", "logging_steps": 4}, 10, 5, (4, 8, 10)),
        ({"eval_strategy": "steps"}, 1200, 5, (500, 1000, 1200)),
        ({"eval_strategy": "steps", "eval_steps": 3, "eval_delay": 4}, 10, 5, (6, 9, 10)),
        ({"eval_strategy": "steps", "eval_steps": 0.3, "eval_delay": 4, "eval_on_start": True}, 10, 5, (0, 6, 9, 10)),
        ({"eval_strategy": "steps", "eval_steps": 0.1}, 1003, 5, (*range(101, 1003, 101), 1003)),  # case 2.15
        ({"eval_strategy": "steps", "eval_steps": 3}, 0, 0, ()),
        ({"eval_strategy": "epoch"}, 0, 0, ()),
    ],
)
def test_evaluations(given: dict[str, Any], train_steps: int, steps_per_epoch: int, steps: tuple[int, ...]) -> None:
    assert evaluation_steps(arguments(**given), train_steps, steps_per_epoch) == steps


@pytest.mark.parametrize(
    ("checkpoints", "message"),
    [
        ((5, 10), []),
        ((4, 8), ["the best model is chosen among the checkpoints, of which the last is after train step 8 of 10"]),
        ((), ["the best model is chosen among the checkpoints, of which the last is after train step 0 of 10"]),
    ],
)
def test_steps_that_cannot_be_the_best_are_told(checkpoints: tuple[int, ...], message: list[str]) -> None:
    """Case 2.15: the last stretch, which 4.37 neither evaluated nor saved."""
    best = arguments(load_best_model_at_end=True, save_steps=4, eval_strategy="steps", eval_steps=4)
    assert list(never_best(best, 10, checkpoints)) == message
    assert not list(never_best(arguments(), 10, checkpoints))


@pytest.mark.parametrize(
    ("given", "train_steps", "steps_per_epoch", "steps"),
    [
        ({"save_strategy": "no"}, 10, 5, ()),
        ({}, 1200, 5, (500, 1000)),
        ({"save_steps": 4}, 10, 5, (4, 8)),
        ({"save_steps": 0.5}, 9, 5, (5,)),
        ({"save_steps": 0}, 9, 5, ()),
        ({"save_strategy": "epoch"}, 10, 5, (5, 10)),
        ({"save_strategy": "epoch"}, 9, 4, (4, 8, 9)),
        ({"save_strategy": "best", "eval_strategy": "steps", "eval_steps": 4}, 10, 5, (4, 8)),
        ({"save_strategy": "best", "eval_strategy": "epoch"}, 10, 5, (5, 10)),
        ({"save_strategy": "best"}, 10, 5, ()),
    ],
)
def test_checkpoints(given: dict[str, Any], train_steps: int, steps_per_epoch: int, steps: tuple[int, ...]) -> None:
    assert checkpoint_steps(arguments(**given), train_steps, steps_per_epoch) == steps


@st.composite
def schedules(draw: st.DrawFn) -> tuple[Arguments, int, int]:
    """Arguments of the intervals, train steps of the run, and train steps of an epoch."""
    interval = st.integers(0, 300) | st.floats(0, 1, exclude_max=True)
    return (
        arguments(
            eval_strategy=draw(st.sampled_from(get_args(get_args(Interval)[0]))),
            save_strategy=draw(st.sampled_from(get_args(get_args(SaveInterval)[0]))),
            eval_steps=draw(interval),
            save_steps=draw(interval),
            logging_steps=draw(interval),
        ),
        draw(st.integers(1, 300)),
        draw(st.integers(1, 300)),
    )


@given(schedules())
def test_steps_are_sorted_within_the_run(schedule: tuple[Arguments, int, int]) -> None:
    given_arguments, train_steps, _ = schedule
    evaluations, checkpoints = evaluation_steps(*schedule), checkpoint_steps(*schedule)
    for steps in (evaluations, checkpoints):
        assert list(steps) == sorted(set(steps))
        assert all(1 <= step <= train_steps for step in steps)
    # The model that the training ends with is always evaluated; only epochs always end with a checkpoint.
    assert evaluations[-1:] == (() if given_arguments.eval_strategy == "no" else (train_steps,))
    if given_arguments.save_strategy == "epoch":
        assert checkpoints[-1] == train_steps


@given(schedules(), st.integers(0, 20), st.booleans())
def test_a_delay_only_leaves_evaluations_out(schedule: tuple[Arguments, int, int], delay: int, on_start: bool) -> None:
    given_arguments, *steps = schedule
    delayed = given_arguments.model_copy(update={"eval_delay": delay, "eval_on_start": on_start})
    first, rest = evaluation_steps(delayed, *steps)[:on_start], evaluation_steps(delayed, *steps)[on_start:]
    assert first == (0,) * on_start
    assert set(rest) <= set(evaluation_steps(given_arguments, *steps))


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
            loss="multiple_negatives_ranking", batches=17, largest_batch=None, rows_unseen=0, negatives_per_anchor=7,
            fingerprint="", path=None,
        ),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "processes", "given", "steps_per_epoch", "train_steps", "epochs", "global_batch", "unseen"),
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
    global_batch: int, unseen: int,
) -> None:  # fmt: skip
    plan = planned(rows, processes, **given)
    assert (plan.steps_per_epoch, plan.train_steps, plan.epochs) == (steps_per_epoch, train_steps, epochs)
    assert plan.global_batch_size == global_batch
    assert plan.datasets[0].rows_unseen == unseen


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
        assert plan.datasets[0].rows_unseen == 0


@pytest.mark.parametrize(
    ("sampler", "batches", "unseen", "steps"),
    [("round_robin", (7, 7), (74, 0), 14), ("proportional", (17, 7), (0, 0), 24)],
)
def test_round_robin_ends_with_the_shortest_dataset(
    sampler: str, batches: tuple[int, int], unseen: tuple[int, int], steps: int
) -> None:
    asked = request("docs", "more", arguments={"multi_dataset_batch_sampler": sampler, "num_train_epochs": 1})
    plan = build_plan(asked, [facts(130), facts(50, "more")], gpus=0, processes=1)
    assert tuple(item.batches for item in plan.datasets) == batches
    assert tuple(item.rows_unseen for item in plan.datasets) == unseen
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
    assert (scored.loss, scored.batches, scored.rows_unseen) == (None, None, 0)


SPEED = ("runtime", "samples_per_second", "steps_per_second")
EMBEDDING = {"kind": "embedding_similarity", "name": "sts", "dataset": "held", "options": {"main_similarity": "dot"}}
TRANSLATION = {"kind": "translation", "name": "tr", "dataset": "held"}


@pytest.mark.parametrize(
    ("train", "evaluate", "evaluators", "metrics"),
    [
        (("docs",), (), [], ()),
        (("docs",), ("docs",), [], ("eval_loss", *(f"eval_{name}" for name in SPEED))),
        (
            ("docs", "more"),
            ("docs", "more"),
            [],
            tuple(f"eval_{name}_{metric}" for name in ("docs", "more") for metric in ("loss", *SPEED)),
        ),
        (
            ("docs",),
            ("held",),
            [EMBEDDING],
            (*(f"eval_{name}" for name in SPEED), "eval_sts_pearson_dot", "eval_sts_spearman_dot"),
        ),
        (
            ("docs",),
            ("held",),
            [EMBEDDING, TRANSLATION],
            (
                *(f"eval_{name}" for name in SPEED), "eval_sts_pearson_dot", "eval_sts_spearman_dot",
                "eval_tr_src2trg_accuracy", "eval_tr_trg2src_accuracy", "eval_tr_mean_accuracy",
                "eval_sequential_score",
            ),
        ),
    ],
    ids=["none", "loss", "two losses", "evaluator", "two evaluators"],
)  # fmt: skip
def test_metrics_are_named_beforehand(
    train: tuple[str, ...], evaluate: tuple[str, ...], evaluators: list[Any], metrics: tuple[str, ...]
) -> None:
    asked = request(*train, evaluate=evaluate, evaluators=evaluators)
    items = [facts(100, name) for name in train] + [facts(100, name, "eval") for name in evaluate]
    assert build_plan(asked, items, gpus=0, processes=1).metrics == metrics


def test_the_model_s_similarity_names_the_metrics() -> None:
    asked = request(evaluate=("docs",), evaluators=[{"kind": "embedding_similarity", "name": "sts", "dataset": "docs"}])
    plan = build_plan(asked, [facts(9), facts(9, split="eval")], gpus=0, processes=1, similarity="manhattan")
    assert "eval_sts_spearman_manhattan" in plan.metrics


def test_data_to_evaluate_with_is_evaluated_each_epoch() -> None:
    plan = build_plan(request(evaluate=("docs",)), [facts(130), facts(9, split="eval")], gpus=0, processes=1)
    assert plan.evaluations == (17, 34, 51)


@given(
    st.integers(0, 10**6),
    st.integers(1, 64),
    st.sampled_from(["no", "steps", "epoch"]),
    st.lists(st.text(max_size=8), max_size=3),
    st.none() | st.text(max_size=20),
)
def test_a_plan_reads_back_equal(
    rows: int, processes: int, strategy: str, dropped: list[str], path: str | None
) -> None:
    asked = request(
        evaluate=("docs",),
        arguments={
            "eval_strategy": strategy,
            "eval_on_start": True,
            "save_steps": 0.25,
            "max_steps": 40,
            "prompts": {"anchor": "query: "},
            "lr_scheduler_kwargs": {"num_cycles": 2},
        },
        evaluators=[{"kind": "information_retrieval", "name": "docs", "dataset": "docs"}],
    )
    items = [facts(rows, dropped_columns=tuple(dropped), path=path, fingerprint="ab"), facts(rows, split="eval")]
    plan = build_plan(asked, items, gpus=0, processes=processes)
    again = plan_from_json(json.loads(json.dumps(plan.to_json())))
    assert again == plan
    assert again.to_json() == plan.to_json()


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({"format": "embedstep.plan/2"}, "this plan has the format 'embedstep.plan/2', not 'embedstep.plan/1'"),
        ({"format": None}, "this plan has the format None, not 'embedstep.plan/1'"),
    ],
)
def test_a_plan_of_another_version_is_refused(found: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match="format") as caught:
        plan_from_json({**planned(10).to_json(), **found})
    assert str(caught.value) == message
