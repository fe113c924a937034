"""Batches as one array of row numbers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedstep.sampling.batches import Batches, cut, even, in_order, joined, split, without


def lists(batches: Batches) -> list[list[int]]:
    return [batches[number].tolist() for number in range(len(batches))]


def rows(count: int) -> np.ndarray:
    return np.arange(count, dtype=np.int32)


@pytest.mark.parametrize(
    ("count", "drop_last", "found"),
    [(5, False, [[0, 1], [2, 3], [4]]), (5, True, [[0, 1], [2, 3]]), (4, False, [[0, 1], [2, 3]]), (1, True, [])],
)
def test_rows_are_cut_with_or_without_a_smaller_last_batch(count: int, drop_last: bool, found: list[list[int]]) -> None:
    assert lists(cut(rows(count), 2, drop_last=drop_last)) == found


def test_each_line_of_a_table_is_a_batch() -> None:
    assert lists(even(rows(6).reshape(2, 3))) == [[0, 1, 2], [3, 4, 5]]


def test_joined_batches_stay_what_they_are() -> None:
    parts = [cut(rows(3), 2, drop_last=False), cut(rows(2), 2, drop_last=False)]
    assert lists(joined(parts)) == [[0, 1], [2], [0, 1]]


def test_batches_stand_in_the_order_that_is_asked_for() -> None:
    numbers, order = np.array([0, 1, 0, 2]), np.array([2, 0, 1])
    assert lists(in_order(rows(4), numbers, order)) == [[3], [0, 2], [1]]


@given(st.integers(1, 40), st.integers(1, 8), st.data())
def test_splitting_keeps_every_row_and_gives_the_count(count: int, size: int, data: st.DataObject) -> None:
    batches = cut(rows(count), size, drop_last=False)
    wanted = data.draw(st.integers(len(batches), count))
    found = lists(split(batches, wanted))
    assert len(found) == wanted
    assert all(found)
    assert [row for batch in found for row in batch] == list(range(count))


def test_rows_that_are_left_are_those_in_no_batch() -> None:
    assert without(5, np.array([[0, 3]], np.int32)).tolist() == [1, 2, 4]
