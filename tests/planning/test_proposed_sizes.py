"""Numbers of a training by the number of rows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedstep.data.profile import ColumnProfile, RowsProfile
from embedstep.planning.proposed_sizes import (
    Sizes,
    different_values,
    held_out_share,
    negatives_to_take,
    propose_sizes,
)
from tests.planning.test_column_roles import numbers, text, texts
from tests.planning.test_proposals import PAIR, task_of


def sizes_of(rows: int, *columns: ColumnProfile, is_static: bool = False, on_gpu: bool = False) -> Sizes:
    profile = RowsProfile(columns=columns, rows=rows, is_counted=True)
    return propose_sizes(task_of(*columns), profile, is_static=is_static, on_gpu=on_gpu)


@pytest.mark.parametrize(
    ("anchors", "share"),
    [
        (3, None), (19, None), (20, 0.2), (200, 0.2), (999, 0.2), (1_000, 0.1), (9_999, 0.1), (10_000, 0.05),
        (100_000, 0.05), (250_000, 0.02), (1_000_000, 0.005), (30_000_000, 0.0001),
    ],
)  # fmt: skip
def test_a_share_of_the_anchors_is_held_out(anchors: int, share: float | None) -> None:
    assert held_out_share(anchors) == share


@given(st.integers(min_value=250, max_value=10**10))
def test_enough_and_not_too_many_anchors_are_held_out(anchors: int) -> None:
    share = held_out_share(anchors)
    assert share is not None
    assert 50 <= round(anchors * share) <= 5_000


@pytest.mark.parametrize(
    ("rows", "is_static", "on_gpu", "batch_size", "epochs"),
    [
        (30, False, False, 8, 3),
        (400, False, False, 16, 3),
        (5_000, False, False, 32, 3),
        (5_000, False, True, 64, 3),
        (5_000, True, False, 128, 3),
        (500_000, True, False, 256, 1),
        (500_000, False, True, 64, 1),
    ],
)
def test_batches_and_epochs_follow_from_the_rows(
    rows: int, is_static: bool, on_gpu: bool, batch_size: int, epochs: int
) -> None:
    sizes = sizes_of(rows, *PAIR, is_static=is_static, on_gpu=on_gpu)
    assert (sizes.batch_size, sizes.epochs) == (batch_size, epochs)
    assert sizes.learning_rate == (2e-2 if is_static else 2e-5)


def test_long_texts_halve_a_batch_and_few_positives_bound_it() -> None:
    assert sizes_of(5_000, text("query"), text("passage", 4_000)).batch_size == 16
    assert sizes_of(5_000, text("query"), text("answer", values=5, distinct=0.002)).batch_size == 4
    assert (
        sizes_of(5_000, text("query"), text("answer", values=5, distinct=0.002), numbers("label", 0, 1)).batch_size
        == 32
    )


def test_a_list_of_positives_counts_as_so_many_rows() -> None:
    assert sizes_of(400, text("query"), texts("pos", texts=(3, 5))).steps == 40


@pytest.mark.parametrize(("lengths", "take"), [((7, 7), 5), ((2, 9), 2), ((1, 9), 3), ((0, 2), 2)])
def test_as_many_negatives_are_taken_as_the_lists_have(lengths: tuple[int, int], take: int) -> None:
    assert negatives_to_take(texts("neg", texts=lengths)) == take


def test_different_values_are_estimated_from_the_first_rows() -> None:
    assert different_values(text("a", distinct=0.9, filled=0.5), 10_000) == 4_500
    assert different_values(text("a", distinct=0.01, values=20), 1_000) == 20
    assert different_values(text("a", distinct=0.01, values=20), 100_000) == 20
    assert different_values(text("a", distinct=0.2, values=400), 100_000) == 800
