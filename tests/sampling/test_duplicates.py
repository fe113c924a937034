"""No text twice in a batch, and as many batches as there can be."""

from collections import Counter
from itertools import combinations
from math import inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from embedstep.sampling.batches import Batches, random_state
from embedstep.sampling.duplicates import arrange
from embedstep.sampling.texts import Texts, group_texts


def ids_of(*columns: list[int]) -> NDArray[np.int32]:
    return np.array(columns, np.int32)


def meetings(ids: NDArray[np.int32], batches: Batches) -> list[int]:
    """The batches in which two rows share a text."""
    found = []
    for number in range(len(batches)):
        seen: Counter[int] = Counter()
        for row in batches[number]:
            seen.update({int(text) for text in ids[:, row] if text >= 0})
        if seen and max(seen.values()) > 1:
            found.append(number)
    return found


@pytest.mark.parametrize(
    ("texts", "size", "batches"),
    [
        # One text in each row: four batches of two.
        ([0, 1, 2, 3, 4, 5, 6, 7], 2, 4),
        # Text 0 is in four of six rows, and a batch takes it once: two batches, of 0 and one of the others.
        ([0, 0, 0, 0, 1, 2], 2, 2),
        # Two texts, three rows each: three batches of both.
        ([0, 0, 0, 1, 1, 1], 2, 3),
        # Three different texts fill one batch of three, and no second one.
        ([0, 0, 0, 0, 0, 1, 2], 3, 1),
        # Two different texts never fill a batch of three.
        ([0, 0, 0, 1, 1, 1], 3, 0),
        ([0], 2, 0),
    ],
)
def test_the_number_of_full_batches_by_hand(texts: list[int], size: int, batches: int) -> None:
    ids = ids_of(texts)
    found = arrange(group_texts(ids), size, drop_last=True, random=random_state(0))
    assert len(found) == batches == group_texts(ids).most_batches(size)
    assert meetings(ids, found) == []


def test_what_fills_no_batch_follows_in_smaller_ones() -> None:
    ids = ids_of([0, 0, 0, 0, 1, 2])
    found = arrange(group_texts(ids), 2, drop_last=False, random=random_state(0))
    assert sorted(found.rows.tolist()) == [0, 1, 2, 3, 4, 5]
    assert np.diff(found.starts).tolist() == [2, 2, 1, 1]
    assert meetings(ids, found) == []


@pytest.mark.parametrize(
    ("texts", "size", "sizes"),
    [
        # One row of each text is left over, and not two of one: a single smaller batch.
        ([0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3], 3, [3, 3, 3, 2]),
        # Three full batches take text 0 three times; of its five rows two are left, and go into two batches.
        ([0, 0, 0, 0, 0, 1, 2, 3], 2, [2, 2, 2, 1, 1]),
        # No full batch: three batches of the two texts.
        ([0, 0, 0, 1, 1, 1], 3, [2, 2, 2]),
        ([0, 1, 2, 3, 4], 2, [2, 2, 1]),
        ([0, 0, 1, 1], 2, [2, 2]),
        # Nine rows are left over by one full batch, in batches as even as possible.
        ([0] * 5 + [1] * 5 + [2], 3, [3, 2, 2, 2, 2]),
    ],
)
def test_the_smaller_batches_by_hand(texts: list[int], size: int, sizes: list[int]) -> None:
    ids = ids_of(texts)
    for epoch in range(10):
        found = arrange(group_texts(ids), size, drop_last=False, random=random_state(0, epoch), epoch=epoch)
        assert np.diff(found.starts).tolist() == sizes
        assert sorted(found.rows.tolist()) == list(range(len(texts)))
        assert meetings(ids, found) == []


@given(st.lists(st.integers(-1, 3), min_size=1, max_size=9), st.integers(1, 4), st.integers(0, 3))
def test_for_one_column_no_fewer_batches_take_all_rows(texts: list[int], size: int, epoch: int) -> None:
    """Compared with an exhaustive search for the most full batches."""
    ids = ids_of(texts)
    found = arrange(group_texts(ids), size, drop_last=False, random=random_state(5, epoch), epoch=epoch)
    full = group_texts(ids).most_batches(size)
    assert int((np.diff(found.starts) == size).sum()) == full
    counts = [*Counter(text for text in texts if text >= 0).values(), *(1 for text in texts if text < 0)]
    assert len(found) == full + fewest(tuple(sorted(counts)), size, full, {})


def fewest(counts: tuple[int, ...], size: int, full: int, known: dict[tuple[tuple[int, ...], int], float]) -> float:
    """The least number of batches that take what so many full ones leave of texts in so many rows, by trying all."""
    if not counts and not full:
        return 0
    if (counts, full) not in known:
        known[counts, full] = min(
            (
                fewest(after(counts, taken), size, max(full - 1, 0), known) + (full == 0)
                for rows in ([size] if full else range(1, size + 1))
                for taken in combinations(range(len(counts)), rows)
            ),
            default=inf,
        )
    return known[counts, full]


def after(counts: tuple[int, ...], taken: tuple[int, ...]) -> tuple[int, ...]:
    """What is left of each text after a batch."""
    left = (count - (number in taken) for number, count in enumerate(counts))
    return tuple(sorted(count for count in left if count))


def test_a_text_in_most_rows_needs_no_large_table_for_its_batches() -> None:
    import tracemalloc

    rows = 100_000
    known = Texts(group_texts(ids_of([0] * rows)).ids)
    tracemalloc.start()
    found = arrange(known, 1024, drop_last=False, random=random_state(0))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found) == rows
    assert peak / rows <= 200


def test_the_order_is_pinned() -> None:
    """Users' resumed runs rely on it: a change of it is a change of every checkpoint's meaning."""
    ids = ids_of([0, 0, 0, 1, 1, 2, 3, 4], [10, 11, 12, 13, 14, 15, 16, 10])
    found = arrange(group_texts(ids), 2, drop_last=True, random=random_state(42, 0, 0))
    assert [batch.tolist() for batch in map(found.__getitem__, range(len(found)))] == PINNED


PINNED = [[4, 6], [1, 7], [0, 5], [3, 2]]


@st.composite
def datasets(draw: st.DrawFn, columns: int | None = None) -> NDArray[np.int32]:
    rows = draw(st.integers(1, 60))
    width = columns or draw(st.integers(1, 3))
    texts = draw(st.integers(1, 70))
    return np.array(
        [draw(st.lists(st.integers(-1, texts), min_size=rows, max_size=rows)) for _ in range(width)], np.int32
    )


@given(datasets(), st.integers(1, 9), st.booleans(), st.integers(0, 5))
def test_no_batch_holds_a_text_twice_and_their_number_is_within_the_bounds(
    ids: NDArray[np.int32], size: int, drop_last: bool, epoch: int
) -> None:
    texts = group_texts(ids)
    found = arrange(texts, size, drop_last=drop_last, random=random_state(1, epoch), epoch=epoch)
    sizes = np.diff(found.starts)
    full = int((sizes == size).sum())
    assert meetings(ids, found) == []
    assert len(set(found.rows.tolist())) == len(found.rows)
    assert texts.fewest_batches(size) <= full
    assert (sizes[:full] == size).all()
    if drop_last:
        assert full == len(found) <= texts.most_batches(size)
    else:
        assert len(found.rows) == ids.shape[1]


@given(datasets(columns=1), st.integers(1, 9))
def test_for_one_column_the_number_is_the_optimum(ids: NDArray[np.int32], size: int) -> None:
    multiplicities = Counter(int(text) for text in ids[0] if text >= 0)
    alone = int((ids[0] < 0).sum())

    def fits(batches: int) -> bool:
        return alone + sum(min(count, batches) for count in multiplicities.values()) >= batches * size

    best = max(batches for batches in range(ids.shape[1] + 1) if fits(batches))
    found = arrange(group_texts(ids), size, drop_last=True, random=random_state(2))
    assert len(found) == best


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 4))
def test_over_the_epochs_every_row_is_seen(frequent: int, others: int, size: int) -> None:
    """Rows of a text that is in more rows than there are batches take turns."""
    ids = ids_of([0] * frequent + list(range(1, others + 1)))
    texts = group_texts(ids)
    batches = texts.most_batches(size)
    if not batches:
        return
    seen = set[int]()
    for epoch in range(-(-frequent // batches) + 40):
        seen |= set(arrange(texts, size, drop_last=True, random=random_state(3, epoch), epoch=epoch).rows.tolist())
    assert seen == set(range(frequent + others))


def test_epochs_differ_and_repeat_for_the_same_seed() -> None:
    """A thousand rows, two epochs."""
    texts = group_texts(ids_of([row // 2 for row in range(1000)]))
    orders = [
        arrange(texts, 16, drop_last=True, random=random_state(7, epoch), epoch=epoch).rows.tolist()
        for epoch in (0, 1, 0)
    ]
    assert orders[0] != orders[1]
    assert orders[0] == orders[2]


def test_many_repeats_are_delivered_as_announced() -> None:
    """24 triplets, each 40 times, batches of 16 for two ranks: no 32 different ones."""
    ids = ids_of(*([text + shift for text in range(24) for _ in range(40)] for shift in (0, 100, 200)))
    texts = group_texts(ids)
    assert texts.most_batches(32) == 0
    assert len(arrange(texts, 16, drop_last=True, random=random_state(0))) == texts.most_batches(16) == 60


def test_the_installed_sampler_delivers_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oracle: its guarantee is ours, and its batches are no more than ours."""
    import torch
    from datasets import Dataset
    from sentence_transformers.base.sampler import NoDuplicatesBatchSampler

    random = np.random.RandomState(0)
    answers = random.zipf(1.3, 2000) % 100
    rows = Dataset.from_dict({"anchor": [f"q {row}" for row in range(2000)], "positive": [f"a {a}" for a in answers]})
    monkeypatch.setattr("sentence_transformers.base.sampler._MAX_RESAMPLE_PASSES", 0)
    sampler = NoDuplicatesBatchSampler(rows, batch_size=16, drop_last=True, generator=torch.Generator(), seed=0)
    theirs = list(sampler)
    ids = np.stack([np.arange(2000), 2000 + answers]).astype(np.int32)
    ours = arrange(group_texts(ids), 16, drop_last=True, random=random_state(0))
    assert all(len({int(answers[row]) for row in batch}) == len(batch) for batch in theirs)
    assert len(ours) >= len(theirs)


def test_memory_is_a_few_numbers_a_row() -> None:
    """At most 24 bytes a row over the ids, for two columns."""
    import tracemalloc

    rows = 200_000
    random = np.random.RandomState(1)
    ids = np.stack([np.arange(rows), rows + random.zipf(1.3, rows) % 2000]).astype(np.int32)
    known = Texts(group_texts(ids).ids)
    tracemalloc.start()
    arrange(known, 64, drop_last=True, random=random_state(0))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak / rows <= 24


def test_a_question_fifty_times_in_batches_of_thousands() -> None:
    """200,000 triplets, 4,000 questions 50 times each; no batch of 4,096, and fifty with every question."""
    rows = np.arange(200_000, dtype=np.int32)
    texts = group_texts(np.stack([rows % 4_000, 4_000 + rows, 204_000 + rows]))
    assert len(arrange(texts, 4_096, drop_last=True, random=random_state(0))) == 0
    for size in (4_096, 4_000):
        found = arrange(texts, size, drop_last=False, random=random_state(0))
        assert np.diff(found.starts).tolist() == [4_000] * 50
        questions = np.sort(found.rows.reshape(50, 4_000) % 4_000, axis=1)
        assert (questions == np.arange(4_000)).all()
