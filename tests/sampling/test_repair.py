"""Batches that are repaired: rows that fit nowhere change places with others."""

import numpy as np
import pytest

from embedstep.sampling.batches import random_state
from embedstep.sampling.duplicates import arrange
from embedstep.sampling.texts import group_texts
from tests.sampling.test_duplicates import ids_of, meetings


def test_with_two_columns_a_row_that_fits_nowhere_changes_places_with_one_of_a_full_batch() -> None:
    """Of 200 rows of 140 texts twelve batches of 16 leave 8, which now and then meet."""
    random = np.random.RandomState(0)
    ids = ids_of(random.randint(0, 140, 200).tolist(), random.randint(140, 280, 200).tolist())
    for epoch in range(50):
        found = arrange(group_texts(ids), 16, drop_last=False, random=random_state(0, epoch), epoch=epoch)
        assert np.diff(found.starts).tolist() == [16] * 12 + [8]
        assert meetings(ids, found) == []


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_with_two_columns_nearly_all_batches_that_there_can_be_are_found(share: float) -> None:
    random = np.random.RandomState(5)
    texts = int(20_000 * (1 - share) + 1)
    ids = np.stack([random.randint(0, texts, 20_000), texts + random.randint(0, texts, 20_000)]).astype(np.int32)
    known = group_texts(ids)
    found = arrange(known, 32, drop_last=True, random=random_state(0))
    assert len(found) >= 0.99 * known.most_batches(32)
    assert meetings(ids, found) == []
