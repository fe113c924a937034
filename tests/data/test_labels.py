"""Values and range of labels that arrive in batches."""

from __future__ import annotations  # arrays take type parameters in hints alone

from typing import Any

import pyarrow as pa

from embedstep.data.labels import LabelSummary


def summary(*batches: pa.Array[Any]) -> LabelSummary:
    found = LabelSummary()
    for batch in batches:
        found.update(batch)
    return found


def test_integers_are_counted_over_all_batches() -> None:
    found = summary(pa.array([2, 0, 2]), pa.array([2, -1]))
    assert list(found.values.items()) == [(-1, 1), (0, 1), (2, 3)]
    assert found.range == (-1.0, 2.0)


def test_more_than_a_thousand_values_leave_the_range_only() -> None:
    found = summary(pa.array(range(700)), pa.array(range(700, 1001)), pa.array([5]))
    assert (found.values, found.range) == ({}, (0.0, 1000.0))


def test_scores_have_a_range_and_no_values() -> None:
    found = summary(pa.array([0.25, 1.0]))
    assert (found.values, found.range) == ({}, (0.25, 1.0))


def test_lists_and_no_rows_say_nothing() -> None:
    found = summary(pa.array([[1.0, 2.0]]), pa.array([], pa.int64()))
    assert (found.values, found.range) == ({}, None)
