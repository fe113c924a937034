"""What a run has logged, as lines to draw: read once, and never more points than a screen can show."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_MOST_POINTS = 800


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """One metric over the run.

    Attributes:
        steps: train steps, shape (points,).
        values: its finite values, shape (points,).
        not_finite: how many values were none.
    """

    steps: NDArray[np.float64]
    values: NDArray[np.float64]
    not_finite: int = 0

    @property
    def last(self) -> float | None:
        """The last finite value."""
        return float(self.values[-1]) if len(self.values) else None


def read_series(file: Path) -> dict[str, Series]:
    """Return the metrics in a `metrics.jsonl`, thinned, in the order in which they first appear."""
    steps: dict[str, list[float]] = {}
    values: dict[str, list[float]] = {}
    for line in _lines(file):
        step = line.pop("train_step")
        for name, value in line.items():
            if name not in values:
                steps[name], values[name] = [], []
            steps[name].append(step)
            # What is not finite is written as text.
            values[name].append(float(value))
    return {name: _series(np.array(steps[name], float), np.array(some, float)) for name, some in values.items()}


def _lines(file: Path) -> Iterator[dict[str, float]]:
    if not file.exists():
        return
    with file.open(encoding="utf-8") as stream:
        for text in stream:
            if text.endswith("\n"):
                yield json.loads(text)


def _series(steps: NDArray[np.float64], values: NDArray[np.float64]) -> Series:
    finite = np.isfinite(values)
    kept, numbers = thinned(steps[finite], values[finite])
    return Series(steps=kept, values=numbers, not_finite=int((~finite).sum()))


def thinned(
    steps: NDArray[np.float64], values: NDArray[np.float64], most: int = _MOST_POINTS
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return at most `most` of the points: the least and the largest of each of equally many neighbours.

    A spike stays, which every n-th point or a mean would lose.
    """
    if len(values) <= most:
        return steps, values
    bounds = np.linspace(0, len(values), most // 2 + 1).astype(int)[:-1]
    sizes = np.diff([*bounds, len(values)])
    group = np.repeat(np.arange(len(bounds)), sizes)
    order = np.lexsort((values, group))
    ends = np.cumsum(sizes) - 1
    kept = np.unique([order[bounds], order[ends]])
    return steps[kept], values[kept]


def families(names: Mapping[str, Series]) -> dict[str, list[str]]:
    """Return the scores that belong in one picture: the cutoffs of a metric together, each other score by itself."""
    found: dict[str, list[str]] = {}
    for name in names:
        family, _, cutoff = name.rpartition("@")
        found.setdefault(family if cutoff.isdecimal() else name, []).append(name)
    return found
