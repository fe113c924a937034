"""Search sorted ranges of integers."""

from bisect import bisect_left
from collections.abc import Callable


def binary_search(low: int, high: int, is_feasible: Callable[[int], bool]) -> int:
    """Return the largest feasible number from `low` to `high`.

    Args:
        low: a number that is feasible without being tried.
        high: the largest number to consider.
        is_feasible: whether a number is; with each one, all smaller ones are feasible, too.
    """
    return low + bisect_left(range(low + 1, high + 1), True, key=lambda number: not is_feasible(number))
