"""Rows of similar length together, and nothing else broken by it."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from embedstep.sampling.batches import even, random_state
from embedstep.sampling.duplicates import arrange
from embedstep.sampling.lengths import WINDOW, _network, exchange_rows
from embedstep.sampling.lengths import arrange as by_length
from embedstep.sampling.texts import group_texts
from tests.sampling.test_duplicates import datasets, meetings


def padded(table: NDArray[np.int32], lengths: NDArray[np.int32]) -> float:
    """Tokens with padding, over tokens without."""
    return float(lengths[table].max(axis=1).sum() * table.shape[1] / lengths[table].sum())


@given(st.lists(st.integers(0, 99), min_size=WINDOW, max_size=WINDOW))
def test_the_network_sorts(numbers: list[int]) -> None:
    found = np.array(numbers)
    for one, other in _network(WINDOW):
        found[one], found[other] = np.minimum(found[one], found[other]), np.maximum(found[one], found[other])
    assert found.tolist() == sorted(numbers)


@given(datasets(), st.integers(2, 6))
def test_grouping_keeps_the_rows_and_the_guarantee(ids: NDArray[np.int32], size: int) -> None:
    texts = group_texts(ids)
    lengths = np.asarray(np.random.RandomState(3).randint(1, 50, ids.shape[1]), np.int32)
    found = arrange(texts, size, drop_last=True, random=random_state(0)).rows.reshape(-1, size)
    table = exchange_rows(texts, found, lengths)
    assert sorted(table.reshape(-1).tolist()) == sorted(found.reshape(-1).tolist())
    assert meetings(ids, even(table)) == []


def test_grouping_takes_most_of_the_padding_away() -> None:
    random = np.random.RandomState(0)
    lengths = np.asarray(np.minimum(random.geometric(0.03, size=20_000), 128), np.int32)
    ids = np.stack([random.randint(0, 14_000, 20_000), 14_000 + random.randint(0, 14_000, 20_000)]).astype(np.int32)
    texts = group_texts(ids)
    found = arrange(texts, 32, drop_last=True, random=random_state(0)).rows.reshape(-1, 32)
    assert padded(found, lengths) > 3
    assert padded(exchange_rows(texts, found, lengths), lengths) < 1.15
    plain = by_length(lengths, 32, drop_last=True, random=random_state(0))
    assert padded(plain.rows.reshape(-1, 32), lengths) < 1.15


@given(st.integers(1, 200), st.integers(1, 9), st.booleans())
def test_every_row_is_there_once(rows: int, size: int, drop_last: bool) -> None:
    found = by_length(np.arange(rows, dtype=np.int32) % 7, size, drop_last=drop_last, random=random_state(0))
    whole = rows // size * size
    assert len(set(found.rows.tolist())) == len(found.rows) == (whole if drop_last else rows)
    assert np.diff(found.starts).tolist() == [size] * (rows // size) + (
        [rows % size] if rows % size and not drop_last else []
    )
