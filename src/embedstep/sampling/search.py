"""Search sorted ranges of integers."""

from collections.abc import Callable


def binary_search(low: int, high: int, is_feasible: Callable[[int], bool]) -> int:
    """Return the largest feasible number from `low` to `high`.

    Args:
        low: a number that is feasible without being tried.
        high: the largest number to consider.
        is_feasible: whether a number is; with each one, all smaller ones are feasible, too.
    """
    while low < high:
        middle = (low + high + 1) // 2
        if is_feasible(middle):
            low = middle
        else:
            high = middle - 1
    return low
