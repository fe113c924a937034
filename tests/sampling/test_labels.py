"""At least two labels in a batch, and at least two rows of each."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from embedstep.sampling.batches import Batches, random_state
from embedstep.sampling.labels import arrange, group_labels


def labels_in(values: list[int], batches: Batches) -> list[list[int]]:
    return [sorted(values[row] for row in batches[number]) for number in range(len(batches))]


def assert_guarantee(values: list[int], batches: Batches) -> None:
    for found in labels_in(values, batches):
        counts = Counter(found)
        assert len(counts) >= 2
        assert min(counts.values()) >= 2
    assert len(set(batches.rows.tolist())) == len(batches.rows)


def formed(values: list[int], size: int, *, drop_last: bool = True, epoch: int = 0) -> Batches:
    return arrange(group_labels(np.array(values)), size, drop_last=drop_last, random=random_state(0, epoch))


@pytest.mark.parametrize(
    ("counts", "size", "batches"),
    [
        ((4, 4, 4), 4, 3),  # three labels with four rows each
        ((500, 500), 16, 62),  # two labels with 500 rows each
        ((2, 2), 4, 1),
        ((4,), 4, 0),  # one label
        ((1, 1, 1, 1), 4, 0),  # all distinct
        ((100, 2), 4, 1),  # one pair of another label goes into one batch
        ((100, 4), 8, 2),
        ((3, 3), 6, 1),  # two groups of three
        ((3, 3, 2), 8, 1),
        ((3, 3), 4, 1),
        ((5, 7), 6, 2),  # 3 + 3, and 2 + 2 + 2
        ((3, 3, 6), 6, 1),  # 3 + 3 twice would be possible, with the six in two threes
    ],
)
def test_the_number_of_full_batches_by_hand(counts: tuple[int, ...], size: int, batches: int) -> None:
    values = [label for label, count in enumerate(counts) for _ in range(count)]
    found = formed(values, size)
    assert len(found) == batches
    assert (np.diff(found.starts) == size).all()
    assert_guarantee(values, found)


@given(
    st.lists(st.integers(1, 14), min_size=1, max_size=8),
    st.sampled_from([4, 6, 8, 10, 12]),
    st.booleans(),
    st.booleans(),
    st.integers(0, 3),
)
def test_every_batch_has_two_labels_with_two_rows(
    counts: list[int], size: int, drop_last: bool, by_length: bool, epoch: int
) -> None:
    values = np.repeat(np.arange(len(counts)), counts)
    lengths = np.arange(len(values), dtype=np.int32) * 7 % 13 + 1 if by_length else None
    labels = group_labels(values)
    found = arrange(labels, size, drop_last=drop_last, random=random_state(1, epoch), lengths=lengths)
    assert_guarantee(values.tolist(), found)
    full = labels.full_batches(size)
    sizes = np.diff(found.starts)
    assert (sizes[:full] == size).all()
    assert len(found) - full in ((0,) if drop_last else (0, 1))


@given(st.lists(st.integers(1, 9), min_size=2, max_size=4), st.sampled_from([4, 6]))
def test_at_most_one_more_full_batch_could_be_made(counts: list[int], size: int) -> None:
    """Compared with an exhaustive search, whose one more batch has two triples of a label with an even count."""
    found = group_labels(np.repeat(np.arange(len(counts)), counts)).full_batches(size)
    best = most(tuple(sorted(counts)), size)
    assert best - 1 <= found <= best


def most(counts: tuple[int, ...], size: int, known: dict[tuple[int, ...], int] | None = None) -> int:
    """The greatest number of batches, by trying all."""
    known = {} if known is None else known
    if counts not in known:
        known[counts] = max(
            (1 + most(tuple(sorted(left)), size, known) for left in after_a_batch(counts, size)), default=0
        )
    return known[counts]


def after_a_batch(counts: tuple[int, ...], size: int) -> list[tuple[int, ...]]:
    """What is left after each batch that could be taken."""
    takes: list[tuple[int, ...]] = [()]
    for count in counts:
        takes = [(*take, more) for take in takes for more in (0, *range(2, count + 1)) if sum(take) + more <= size]
    return [
        tuple(count - more for count, more in zip(counts, take, strict=True))
        for take in takes
        if sum(take) == size and sum(more > 0 for more in take) >= 2
    ]


def test_a_label_has_the_share_in_the_batches_that_it_has_in_the_data() -> None:
    random = np.random.RandomState(0)
    values = random.choice(5, 20_000, p=[0.4, 0.3, 0.15, 0.1, 0.05])
    found = formed(values.tolist(), 32)
    shares = np.bincount(values[found.rows], minlength=5) / len(found.rows)
    assert np.abs(shares - np.bincount(values, minlength=5) / len(values)).max() < 0.002
    first = np.array([np.bincount(values[found[number]], minlength=5) for number in range(len(found))])
    # Mixed at random: the most frequent label is sometimes a quarter of a batch and sometimes more than half.
    assert first[:, 0].std() > 2


def test_epochs_differ_and_repeat_for_the_same_seed() -> None:
    values = [row % 7 for row in range(300)]
    orders = [formed(values, 16, epoch=epoch).rows.tolist() for epoch in (0, 1, 0)]
    assert orders[0] != orders[1]
    assert orders[0] == orders[2]


def test_the_order_is_pinned() -> None:
    assert formed([0, 1, 2] * 4, 4).rows.tolist() == PINNED


PINNED = [11, 0, 2, 6, 5, 7, 8, 1, 10, 3, 4, 9]


def test_rows_without_a_partner_are_never_used() -> None:
    labels = group_labels(np.array([5, 5, 7, 9, 9, 9]))
    assert labels.usable == 5
    assert labels.numbers.tolist() == [0, 0, -1, 1, 1, 1]


def test_the_smallest_batch_follows_when_it_has_two_labels() -> None:
    values = [0] * 6 + [1] * 6
    found = formed(values, 8, drop_last=False)
    assert np.diff(found.starts).tolist() == [8, 4]
    assert_guarantee(values, found)


def oracle(values: NDArray[np.int64], size: int) -> int:
    from datasets import Dataset
    from sentence_transformers.base.sampler import GroupByLabelBatchSampler

    rows = Dataset.from_dict({"text": [str(row) for row in range(len(values))], "label": values.tolist()})
    return len(list(GroupByLabelBatchSampler(rows, size, drop_last=True, valid_label_columns=["label"], seed=0)))


@pytest.mark.parametrize("labels", [2, 5, 40])
def test_the_installed_sampler_delivers_no_more(labels: int) -> None:
    values = np.random.RandomState(labels).randint(0, labels, 500)
    assert group_labels(values).full_batches(16) >= oracle(values, 16)
