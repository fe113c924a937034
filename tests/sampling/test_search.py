import pytest

from embedstep.sampling.search import binary_search


@pytest.mark.parametrize("largest", range(-3, 8))
def test_the_largest_feasible_number_is_found(largest: int) -> None:
    assert binary_search(-3, 7, lambda number: number <= largest) == largest


def test_the_lowest_number_is_not_tried() -> None:
    assert binary_search(2, 2, lambda number: number < 2) == 2
