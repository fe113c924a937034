"""Which rows of two columns are taken where not all of them fit, and which ones in the next epoch."""

import numpy as np
import pytest

from embedstep.sampling.batches import random_state
from embedstep.sampling.duplicates import arrange
from embedstep.sampling.row_selection import select_rows
from embedstep.sampling.texts import group_texts
from tests.sampling.test_duplicates import ids_of


@pytest.mark.parametrize(
    ("texts", "others", "batches", "rows"),
    [
        # No text is in more than two rows.
        ([1, 1, 2, 2], [3, 4, 3, 4], 2, [0, 1, 2, 3]),
        # A row of texts 1 and 3 would take the place of one with text 1 and of one with text 3.
        ([1, 1, 1, 2], [3, 3, 4, 3], 1, [2, 3]),
        # The same where all texts are in several rows, and rows 0 and 1 say which of the same two texts.
        ([1, 1, 2, 1, 2], [3, 4, 3, 4, 3], 2, [1, 2, 3, 4]),
        # Texts that are in no other row are in nobody's way.
        ([0, 0, 0], [0, 0, 0], 1, [0, 1, 2]),
    ],
)
def test_the_most_rows_of_so_many_of_each_text(
    texts: list[int], others: list[int], batches: int, rows: list[int]
) -> None:
    for seed in range(20):
        assert select_rows(ids_of(texts, others), batches, random_state(seed), 0).tolist() == rows


def test_rows_of_a_frequent_text_alternate_over_epochs() -> None:
    """Two of five rows each time, and over five times each one twice."""
    nodes = ids_of([1, 1, 1, 1, 1], [0, 0, 0, 0, 0])
    found = [select_rows(nodes, 2, random_state(0), epoch).tolist() for epoch in range(5)]
    assert found == [[0, 1], [2, 3], [0, 4], [1, 2], [3, 4]]


def test_rows_of_two_frequent_texts_take_turns_too() -> None:
    """Zipf in both columns: 289 of 1,500 rows cost the place of two others, and come nevertheless."""
    choose_share = 1 / np.arange(1, 301)
    columns = [np.random.RandomState(seed).choice(300, 1_500, p=choose_share / choose_share.sum()) for seed in (0, 1)]
    texts = group_texts(np.stack([columns[0], 300 + columns[1]]).astype(np.int32))
    is_seen = np.zeros(1_500, bool)
    for epoch in range(60):
        found = arrange(texts, 32, drop_last=True, random=random_state(0, epoch), epoch=epoch)
        assert len(found) == 27
        is_seen[found.rows] = True
    assert is_seen.all()
