"""As many batches as two columns of texts allow, and what they are made by."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from embedstep.sampling.batches import random_state
from embedstep.sampling.duplicates import arrange
from embedstep.sampling.euler_split import choose_share, halved, halves, split_into_batches
from embedstep.sampling.texts import group_texts
from tests.sampling.test_duplicates import ids_of, meetings


def test_rows_around_a_ring_go_to_two_sides_in_turn() -> None:
    """Rows 0 and 1 share text 1, rows 1 and 3 text 4, rows 3 and 2 text 2, and rows 2 and 0 text 3."""
    nodes = ids_of([1, 1, 2, 2], [3, 4, 3, 4])
    found = halved(nodes, np.array([[0, 1, 2, 3]], np.int32))
    assert sorted(map(sorted, found.tolist())) == [[0, 3], [1, 2]]


def test_each_part_is_halved_by_itself() -> None:
    """The rows of the first part share two texts, those of the second one, and those of the third none."""
    nodes = ids_of([1, 1, 2, 2, 0, 0], [3, 3, 4, 5, 0, 0])
    found = halved(nodes, np.array([[0, 1], [2, 3], [4, 5]], np.int32))
    assert [sorted(rows) for rows in zip(found[:3, 0], found[3:, 0], strict=True)] == [[0, 1], [2, 3], [4, 5]]


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=40), st.integers(1, 3))
def test_half_of_each_text_is_on_each_side(pairs: list[tuple[int, int]], parts: int) -> None:
    nodes = np.array(pairs * 2 * parts, np.int32).T.reshape(2, parts, -1)
    is_first = halves(nodes)
    assert (is_first.sum(axis=1) == len(pairs)).all()
    for side in nodes:
        for part, first in zip(side, is_first, strict=True):
            assert (np.bincount(part[first], minlength=7) == np.bincount(part[~first], minlength=7)).all()


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 6), st.integers(0, 99))
def test_a_share_of_all_rows_is_the_same_share_of_each_text(part: int, more: int, texts: int, seed: int) -> None:
    """Each text of either column is in as many rows as the whole has parts."""
    whole, random = part + more, random_state(seed)
    one = np.concatenate([random.permutation(texts) for _ in range(whole)])
    two = np.concatenate([random.permutation(texts) for _ in range(whole)])
    nodes = np.stack([one, two]).astype(np.int32) + 1
    is_in = choose_share(nodes, part, whole, random)
    assert [np.bincount(side[is_in])[1:].tolist() for side in nodes] == [[part] * texts] * 2


def test_every_pair_of_three_texts_and_three_is_three_batches_of_all_six() -> None:
    nodes = ids_of([1, 1, 1, 2, 2, 2, 3, 3, 3], [4, 5, 6, 4, 5, 6, 4, 5, 6])
    for seed in range(20):
        table = split_into_batches(nodes, np.arange(9, dtype=np.int32), 3, random_state(seed))
        assert sorted(table.reshape(-1).tolist()) == list(range(9))
        assert all(sorted(nodes[:, batch].reshape(-1).tolist()) == [1, 2, 3, 4, 5, 6] for batch in table)


@st.composite
def pairs_of_texts(draw: st.DrawFn) -> NDArray[np.int32]:
    """Rows of two columns that have no text in common, some of them with a text of their own."""
    rows = draw(st.lists(st.tuples(st.integers(-1, 5), st.integers(-1, 6)), min_size=1, max_size=60))
    ids = np.array(rows, np.int32).T
    ids[1] += 10 * (ids[1] >= 0)
    return np.where(ids < 0, np.arange(100, 100 + ids.size, dtype=np.int32).reshape(ids.shape), ids)


@given(pairs_of_texts(), st.integers(1, 7), st.integers(0, 5))
def test_for_two_columns_the_number_is_the_optimum(ids: NDArray[np.int32], size: int, epoch: int) -> None:
    texts = group_texts(ids)
    best = max(batches for batches in range(ids.shape[1] // size + 1) if most_rows(ids, batches) >= batches * size)
    found = arrange(texts, size, drop_last=True, random=random_state(4, epoch), epoch=epoch)
    assert texts.fewest_batches(size) <= len(found) == best <= texts.most_batches(size)
    assert meetings(ids, found) == []
    assert len(set(found.rows.tolist())) == len(found.rows)


def most_rows(ids: NDArray[np.int32], batches: int) -> int:
    """The most rows of which no text is in more than so many: the largest flow is as large as the smallest cut."""
    texts = np.unique(ids[0][ids[0] < 100]).tolist()
    return min(cut(ids, batches, named) for number in range(len(texts) + 1) for named in combinations(texts, number))


def cut(ids: NDArray[np.int32], batches: int, named: Sequence[int]) -> int:
    """An upper bound: so many rows of each of these texts, and of each other text with the others."""
    is_named = np.isin(ids[0], named)
    return sum(
        int(np.minimum(np.bincount(side), batches).sum()) for side in (ids[0][is_named], ids[1][~is_named]) if len(side)
    )


@given(pairs_of_texts(), st.integers(1, 7), st.integers(0, 5))
def test_all_rows_follow_in_smaller_batches(ids: NDArray[np.int32], size: int, epoch: int) -> None:
    found = arrange(group_texts(ids), size, drop_last=False, random=random_state(4, epoch), epoch=epoch)
    assert meetings(ids, found) == []
    assert sorted(found.rows.tolist()) == list(range(ids.shape[1]))


def zipf(random: np.random.RandomState, rows: int, texts: int) -> NDArray[np.int64]:
    """Text k in rows in proportion to 1 / k."""
    shares = 1 / np.arange(1, texts + 1)
    return random.choice(texts, rows, p=shares / shares.sum())


def test_seventy_texts_in_either_column_fill_every_batch_of_64() -> None:
    random = np.random.RandomState(0)
    ids = np.stack([random.randint(0, 70, 100_000), random.randint(70, 140, 100_000)]).astype(np.int32)
    for epoch in range(2):
        found = arrange(group_texts(ids), 64, drop_last=True, random=random_state(0, epoch), epoch=epoch)
        assert len(found) == 100_000 // 64 == 1562
        assert meetings(ids, found) == []


def test_frequent_texts_in_both_columns_give_as_many_batches_as_there_can_be() -> None:
    """Either column by itself would allow 517; a row of two frequent texts takes the place of two others."""
    random = np.random.RandomState(0)
    ids = np.stack([zipf(random, 100_000, 2000), 2000 + zipf(random, 100_000, 2000)]).astype(np.int32)
    texts = group_texts(ids)
    found = arrange(texts, 128, drop_last=True, random=random_state(0))
    assert (len(found), texts.most_batches(128)) == (360, 517)
    assert min(cut(ids, 361, range(named)) for named in range(60)) < 361 * 128
    assert meetings(ids, found) == []


def test_with_a_third_column_the_two_that_allow_the_fewest_are_halved() -> None:
    """Questions that always have the same answer, and another text."""
    random = np.random.RandomState(0)
    questions = zipf(random, 20_000, 500)
    ids = np.stack([questions, 500 + questions, 1000 + zipf(random, 20_000, 500)]).astype(np.int32)
    found = arrange(group_texts(ids), 32, drop_last=True, random=random_state(0))
    pair = arrange(group_texts(ids[1:]), 32, drop_last=True, random=random_state(0))
    assert len(found) == len(pair) > 390
    assert meetings(ids, found) == []


def test_other_epochs_have_other_batches() -> None:
    random = np.random.RandomState(0)
    ids = ids_of(random.randint(0, 10, 800).tolist(), random.randint(10, 20, 800).tolist())
    batches = [
        {frozenset(found[number].tolist()) for number in range(len(found))}
        for epoch in (0, 1, 0)
        for found in [arrange(group_texts(ids), 9, drop_last=True, random=random_state(0, epoch), epoch=epoch)]
    ]
    assert batches[0] == batches[2]
    assert len(batches[0] & batches[1]) < 5
