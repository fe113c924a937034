"""Numbers of a proposed training, by the number of the rows and the length of their texts."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from embedstep.data.profile import SAMPLED_ROWS, ColumnProfile, RowsProfile
from embedstep.planning.column_roles import ColumnRole, ColumnRoles
from embedstep.planning.proposals import Task

_FEWEST_ANCHORS = 20
"""Different anchors below which none are held out: their scores would be chance."""
_FEW_ANCHORS, _SOME_ANCHORS, _MOST_HELD_OUT = 1_000, 10_000, 5_000
_FEW_ROWS = 10_000
_STEPS = 20
"""Steps that an epoch of few rows should have."""
_SMALLEST_BATCH = 8
_LONG = 1_000
"""Characters above which half as many texts are in a batch."""
_SEEN = 0.05
"""Share of different values below which the first rows have all of them."""
_MOST_NEGATIVES, _SOME_NEGATIVES = 5, 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    """Numbers of a training.

    Attributes:
        share: share of the anchors to hold out; None where there are too few.
        anchors: different anchors, as far as the first rows show.
        epochs: epochs.
        batch_size: rows of a batch in each process.
        steps: train steps of an epoch with one process.
        learning_rate: learning rate.
    """

    share: float | None
    anchors: int
    epochs: int
    batch_size: int
    steps: int
    learning_rate: float


def propose_sizes(task: Task, profile: RowsProfile, *, is_static: bool, on_gpu: bool) -> Sizes:
    """Return the numbers of a training by the number of its rows and the length of their texts.

    Args:
        task: the training.
        profile: the rows.
        is_static: whether the model is a static embedding.
        on_gpu: whether a GPU is visible.
    """
    assert task.roles.anchor is not None
    rows = profile.rows
    anchors = different_values(task.roles.anchor.column, rows)
    if task.roles.positive is not None and task.roles.positive.column.kind == "texts":
        rows *= max(sum(task.roles.positive.column.texts) // 2, 1)
    most = 256 if is_static else 64 if on_gpu else 32
    longest = max(one.length for role in _text_roles(task.roles) for one in role.columns)
    most = most // 2 if longest > _LONG and not is_static else most
    if task.sampler == "no_duplicates" and task.roles.positive is not None:
        # A batch has no text twice.
        most = min(most, max(different_values(task.roles.positive.column, profile.rows), 2))
    share = held_out_share(anchors)
    trained = int(rows * (1 - (share or 0)))
    batch_size = _power_of_two(min(max(trained // _STEPS, _SMALLEST_BATCH), most))
    return Sizes(
        share=share,
        anchors=anchors,
        epochs=3 if rows < _FEW_ROWS else 1,
        batch_size=batch_size,
        steps=max(trained // batch_size, 1),
        learning_rate=2e-2 if is_static else 3e-5 if task.transform else 2e-5,
    )


def held_out_share(anchors: int) -> float | None:
    """Return the share of anchors to hold out: enough to measure by, and at most about 5,000.

    Args:
        anchors: different anchors.
    """
    if anchors < _FEWEST_ANCHORS:
        return None
    if anchors < _FEW_ANCHORS:
        return 0.2
    if anchors < _SOME_ANCHORS:
        return 0.1
    if anchors * 0.05 <= _MOST_HELD_OUT:
        return 0.05
    share = _MOST_HELD_OUT / anchors
    digits = -math.floor(math.log10(share))
    return float(math.floor(share * 10**digits) / 10**digits)


def negatives_to_take(column: ColumnProfile) -> int:
    """Return how many texts to take of each list: as many as all have, or a few if some have one or none."""
    fewest, most = column.texts
    return min(_MOST_NEGATIVES, fewest) if fewest > 1 else min(_SOME_NEGATIVES, most)


def different_values(column: ColumnProfile, rows: int) -> int:
    """Estimate how many different values all rows have; exact if the first rows are all."""
    if column.distinct < _SEEN:
        return column.values
    if column.distinct < 0.5:
        # Many values have been seen.
        return max(column.values, int(column.values * min(rows * column.filled / SAMPLED_ROWS, 2)))
    return int(rows * column.filled * column.distinct)


def _power_of_two(number: int) -> int:
    return 1 << (number.bit_length() - 1)


def _text_roles(roles: ColumnRoles) -> Iterator[ColumnRole]:
    yield from (role for role in (roles.anchor, roles.positive, roles.negative) if role is not None)
