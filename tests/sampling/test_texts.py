"""Which texts are in several rows, and in which order their rows are dealt."""

from itertools import pairwise

from embedstep.sampling.batches import random_state
from embedstep.sampling.duplicates import arrange
from embedstep.sampling.texts import group_texts
from tests.sampling.test_duplicates import ids_of, meetings


def test_texts_of_a_row_may_be_the_same() -> None:
    """A row whose anchor is its positive is one row; it meets nobody by that."""
    ids = ids_of([0, 1, 2, 3], [0, 1, 2, 3])
    assert len(group_texts(ids).ids) == 0
    assert len(arrange(group_texts(ids), 2, drop_last=True, random=random_state(0))) == 2


def test_a_text_in_two_columns_is_one_text() -> None:
    ids = ids_of([0, 1, 2, 3], [1, 4, 5, 6])
    found = arrange(group_texts(ids), 2, drop_last=True, random=random_state(0))
    assert len(found) == 2
    assert meetings(ids, found) == []


def test_line_positions_are_contiguous() -> None:
    """What is dealt is each text's rows side by side, so that the cards of one text go to different batches."""
    texts = group_texts(ids_of([5, 6, 5, 6, 5, 7]))
    column = texts.columns[0].round_robin(2, random_state(1), 0)[:4]
    held = texts.ids[0][column]
    assert sum(one != other for one, other in pairwise(held)) == 1
