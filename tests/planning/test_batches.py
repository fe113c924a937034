"""The batches that a plan counts and forms, and the order of the rows."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedstep.cli.tables import show_plan
from embedstep.errors import CannotStartError, InvalidRequestError
from embedstep.output.position import position_problems, write_position
from embedstep.planning.batches import count_batches
from embedstep.request.loading import load_request
from embedstep.step import plan_step
from tests.planning.plans import PlanOf, answers


def test_batches_without_a_text_twice_are_counted_exactly(plan_of: PlanOf) -> None:
    """Answer 0 is in 10 of 22 rows: four batches have it and three of the twelve others, and six rows of it wait."""
    plan = plan_of(answers(10, 3, 3, 3, 3), batch_sampler="no_duplicates", dataloader_drop_last=True)
    (docs,) = plan.datasets
    assert (docs.batches, docs.rows_unreached, plan.train_steps) == (4, 6, 4)
    assert plan.notes == (
        "data.train.docs: 6 rows wait for a later epoch in each, because their text occurs in more rows than there are "
        "full batches (4): 'answer 0' in 10",
    )


@pytest.mark.parametrize(
    ("rows", "given", "message"),
    [
        (answers(9, 9), {"batch_sampler": "no_duplicates", "dataloader_drop_last": True},
         "data.train.docs: gives no batch of 4 rows without a text twice; "
         "write per_device_train_batch_size: 2 or less"),
        (answers(9, 9, 9, 9), {"batch_sampler": "no_duplicates", "processes": 2},
         "data.train.docs: gives no batch of 4 rows for each of 2 processes without a text twice; "
         "write per_device_train_batch_size: 2 or less"),
        (answers(9), {"batch_sampler": "group_by_label"},
         "data.train.docs: has one label only, from which batch_all_triplet learns nothing"),
        (answers(1, 1, 1, 1, 1), {"batch_sampler": "group_by_label"},
         "data.train.docs: has 5 rows, and no batch of any size with two labels can be made of them"),
        (answers(4, 4), {"batch_sampler": "group_by_label", "per_device_train_batch_size": 16},
         "data.train.docs: gives no batch of 16 rows with two labels; write per_device_train_batch_size: 8 or less"),
    ],
)  # fmt: skip
def test_data_that_gives_no_batch_is_refused_with_what_would(
    plan_of: PlanOf, rows: list[dict[str, Any]], given: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        plan_of(rows, **given)
    assert message in map(str, refused.value.problems)


@pytest.mark.parametrize("kept", ["texts", "hashes of anchors"])
def test_a_full_disk_is_reported(plan_of: PlanOf, monkeypatch: pytest.MonkeyPatch, kept: str) -> None:
    save = np.save

    def full(file: Path, array: Any, **options: Any) -> None:
        if (file.name == "training_anchors.npy") != (kept == "hashes of anchors"):
            return save(file, array, **options)
        file.write_bytes(b"part")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(CannotStartError, match=rf"the {kept} cannot be kept in .*: .*No space left"):
        plan_of(answers(3, 3), batch_sampler="no_duplicates")


def test_texts_that_repeat_only_across_columns_are_no_reason_to_wait(plan_of: PlanOf) -> None:
    rows = [{"q": "x", "a": "y"}, {"q": "y", "a": "x"}, {"q": "x", "a": "z"}, {"q": "z", "a": "x"}]
    with pytest.raises(InvalidRequestError, match="gives no batch of 2 rows without a text twice"):
        plan_of(rows, batch_sampler="no_duplicates", dataloader_drop_last=True, per_device_train_batch_size=2)


def test_without_texts_or_labels_the_rows_are_too_few(plan_of: PlanOf) -> None:
    with pytest.raises(InvalidRequestError, match="has 3 rows, fewer than one batch of 4"):
        plan_of(answers(1, 1, 1), train_sampling_strategy="sequential", dataloader_drop_last=True)


def test_other_lengths_are_other_data(plan_of: PlanOf) -> None:
    """They decide on the order of the rows, so a run is not resumed with them."""
    one, two = (
        plan_of(
            [{"q": f"q{row}", "a": f"a{row}", "n": row * factor} for row in range(16)],
            group_by_length=True,
            length_column_name="n",
        )
        for factor in (1, 2)
    )
    assert one.position["data"] != two.position["data"]


def test_lengths_that_continue_as_fractions_are_refused_and_no_label_is_blamed(plan_of: PlanOf) -> None:
    rows = [{"q": f"q{row}", "l": row % 4, "n": row + (0.9 if row > 150 else 0)} for row in range(160)]
    with pytest.raises(InvalidRequestError) as refused:
        plan_of(rows, batch_sampler="group_by_label", group_by_length=True, length_column_name="n")
    assert [str(problem) for problem in refused.value.problems] == [
        "arguments.length_column_name: data.train.docs: 151.9 is not a length; "
        "a length is a number of tokens, 0 or more"
    ]


@pytest.mark.parametrize(
    ("cell", "arguments", "path", "message"),
    [
        (7, {"length_column_name": "tokens", "group_by_length": True}, "arguments.length_column_name",
         "rows.jsonl has no column 'tokens'; its columns are q, a, n"),
        ("x", {"length_column_name": "n", "group_by_length": True}, "arguments.length_column_name",
         "column 'n' holds text; a length is a number of tokens"),
        (None, {"length_column_name": "n", "group_by_length": True}, "arguments.length_column_name",
         "column 'n' has no value in any row; a length is a number of tokens"),
        (7, {"length_column_name": "a", "group_by_length": True}, "arguments.length_column_name",
         "column 'a' is named 2 times; a column has one role"),
        (7, {"length_column_name": "n"}, "arguments.length_column_name",
         "needs group_by_length: true; remove it, or add that"),
        (7, {"length_column_name": "length"}, "arguments.length_column_name",
         "needs group_by_length: true; remove it, or add that"),
        (-2, {"length_column_name": "n", "group_by_length": True}, "arguments.length_column_name",
         "data.train.docs: -2 is not a length; a length is a number of tokens, 0 or more"),
    ],
)  # fmt: skip
def test_a_column_of_lengths_that_cannot_be_taken_is_refused(
    plan_of: PlanOf, tmp_path: Path, cell: Any, arguments: dict[str, Any], path: str, message: str
) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        plan_of([{"q": f"q{row}", "a": f"a{row}", "n": cell} for row in range(16)], **arguments)
    (problem,) = refused.value.problems
    assert (problem.path, problem.message.removeprefix(f"{tmp_path}/")) == (path, message)


def test_the_time_that_forming_batches_takes_is_reported(plan_of: PlanOf, capsys: pytest.CaptureFixture[str]) -> None:
    plan = plan_of(answers(3, 3, 3, 3), batch_sampler="no_duplicates")
    assert plan.sampling_seconds is not None
    assert 0 < plan.sampling_seconds < 60
    show_plan(replace(plan, sampling_seconds=12.34))
    assert "  forming batches   about 12 s per epoch, in each process\n" in capsys.readouterr().out
    assert plan_of(answers(3, 3, 3, 3)).sampling_seconds is None


def test_the_largest_batch_that_is_named_is_one_that_works(plan_of: PlanOf) -> None:
    """Four questions and four answers; a0 goes with one of two questions, q2 with one of two answers: three rows."""
    rows = [{"q": f"q{one}", "a": f"a{other}"} for one, other in [(0, 0), (1, 0), (2, 1), (2, 2), (3, 3)]]
    options = {"batch_sampler": "no_duplicates", "dataloader_drop_last": True}
    with pytest.raises(InvalidRequestError) as refused:
        plan_of(rows, per_device_train_batch_size=9, **options)
    (problem,) = refused.value.problems
    message = "gives no batch of 9 rows without a text twice; write per_device_train_batch_size: 3 or less"
    assert problem.message == message
    assert plan_of(rows, per_device_train_batch_size=3, **options).train_steps == 1


@pytest.mark.parametrize(
    ("drop_last", "message"),
    [(True, "gives no batch of 8 rows without a text twice; write per_device_eval_batch_size: 2 or less"), (False, "")],
)
def test_an_evaluation_without_a_batch_is_refused_with_one_that_works(
    request_of: Callable[..., dict[str, Any]], tmp_path: Path, drop_last: bool, message: str
) -> None:
    for name, rows in (("train", answers(*[1] * 20)), ("eval", answers(5, 5))):
        (tmp_path / name).with_suffix(".jsonl").write_text("\n".join(map(json.dumps, rows)))
    columns = {"anchor": "q", "positive": "a"}
    data = {name: {"docs": {"path": str(tmp_path / f"{name}.jsonl"), "columns": columns}} for name in ("train", "eval")}
    data["max_overlap"] = 1  # type: ignore[assignment]
    arguments = {"batch_sampler": "no_duplicates", "eval_strategy": "epoch", "dataloader_drop_last": drop_last}
    request = load_request(json.dumps(request_of(data=data, arguments=arguments)))
    if drop_last:
        with pytest.raises(InvalidRequestError) as refused:
            plan_step(request)
        assert [str(problem) for problem in refused.value.problems] == [f"data.eval.docs: {message}"]
    else:
        assert {item.split: item.batches for item in plan_step(request).datasets} == {"train": 3, "eval": 5}


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
def test_the_number_of_default_batches(rows: int, batch: int, drop_last: bool, batches: int) -> None:
    assert count_batches(rows, batch, drop_last=drop_last) == batches


@given(st.integers(0, 10**9), st.integers(1, 10**5))
def test_batches_hold_every_row_or_only_whole_batches(rows: int, batch: int) -> None:
    whole = count_batches(rows, batch, drop_last=True)
    every = count_batches(rows, batch, drop_last=False)
    assert whole * batch <= rows < (whole + 1) * batch
    assert every == whole + (rows % batch > 0)


def position_with(plan_of: PlanOf, **arguments: Any) -> dict[str, Any]:
    rows = [{"q": f"q{row}", "a": f"a{row}"} for row in range(64)]
    return dict(plan_of(rows, **arguments).position)


def test_only_what_decides_on_the_order_is_compared(plan_of: PlanOf) -> None:
    """Rows as they stand have no seed; with split_batches a batch is that of all ranks, and another one."""
    in_order = {"train_sampling_strategy": "sequential"}
    assert position_with(plan_of, seed=1, **in_order) == position_with(plan_of, seed=2, **in_order)
    assert position_with(plan_of, seed=1) != position_with(plan_of, seed=2)
    split = {"accelerator_config": {"split_batches": True}}
    assert position_with(plan_of, **split) == position_with(plan_of) | {"split_batches": True}


def test_another_sampler_is_one_problem(plan_of: PlanOf, tmp_path: Path) -> None:
    write_position(tmp_path, position_with(plan_of, batch_sampler="no_duplicates"))
    (problem,) = position_problems(tmp_path, position_with(plan_of))
    assert problem.message == (
        f"{tmp_path} used batch_sampler no_duplicates, and this run uses batch_sampler; the order of rows would change"
    )


def test_a_checkpoint_whose_rows_were_grouped_by_tokens_has_another_order(plan_of: PlanOf, tmp_path: Path) -> None:
    """Up to 0.1.0 the lengths were counted in tokens, and a digest of them was kept."""
    by_length = position_with(plan_of, group_by_length=True)
    assert by_length["lengths"] == "in bytes"
    assert "lengths" not in position_with(plan_of)
    write_position(tmp_path, {**by_length, "lengths": [["docs", "0123456789abcdef"]]})
    (problem,) = position_problems(tmp_path, by_length)
    assert problem.message == (
        f"{tmp_path} used lengths docs 0123456789ab, and this run uses in bytes; the order of rows would change"
    )


@pytest.mark.parametrize(
    ("rows", "given", "negatives"),
    [
        ([{"q": f"q {number % 5}", "a": f"a {number}"} for number in range(40)], {}, 4),
        ([{"q": f"q {number}", "a": f"a {number % 3}"} for number in range(40)], {}, 2),
        ([{"q": f"q {number}", "a": f"a {number}"} for number in range(40)], {}, 7),
        ([{"q": f"q {number}", "a": f"a {number}"} for number in range(6)], {}, 5),
        ([{"q": f"q {number}", "a": f"a {number}"} for number in range(6)], {"batch_sampler": "batch_sampler"}, 5),
        ([{"q": f"q {number}", "a": f"a {number}"} for number in range(40)], {"processes": 2}, 7),
    ],
    ids=["5 anchors", "3 positives", "distinct", "6 rows", "6 rows, default sampler", "two processes"],
)
def test_negatives_are_those_of_the_largest_batch(
    plan_of: PlanOf, rows: list[dict[str, Any]], given: dict[str, Any], negatives: int
) -> None:
    plan = plan_of(rows, **{"batch_sampler": "no_duplicates", "per_device_train_batch_size": 8, **given})
    assert plan.datasets[0].negatives_per_anchor == negatives
