"""The logged metrics of a run as series to draw, thinned to as many points as a screen can show."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_MAX_POINTS = 800


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """One metric over the run.

    Attributes:
        steps: train steps, or minutes for a metric of the machine, shape (points,).
        values: finite values, shape (points,).
        not_finite: number of values that were not finite.
    """

    steps: NDArray[np.float64]
    values: NDArray[np.float64]
    not_finite: int = 0

    @property
    def last(self) -> float | None:
        """The last finite value."""
        return float(self.values[-1]) if len(self.values) else None


def read_series(file: Path) -> dict[str, Series]:
    """Read the metrics of a `metrics.jsonl`, thinned, in order of first appearance."""
    points: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    for line in _lines(file):
        step = line.pop("train_step")
        for name, value in line.items():
            # Values that are not finite are written as text.
            points[name].append((step, float(value)))
    return {name: _series(*np.array(some, float).T) for name, some in points.items()}


def series_over_time(points: Mapping[str, Sequence[tuple[int, float]]]) -> dict[str, Series]:
    """Return metrics of the machine, thinned, over the minutes since the first of them was read.

    Args:
        points: milliseconds since 1970 and finite values of each metric.
    """
    start = min((at for some in points.values() for at, _ in some), default=0)
    return {
        name: _series(*np.array([((at - start) / 60_000, value) for at, value in some]).T)
        for name, some in points.items()
    }


def _lines(file: Path) -> Iterator[dict[str, float]]:
    if not file.exists():
        return
    with file.open(encoding="utf-8") as stream:
        for text in stream:
            if text.endswith("\n"):
                yield json.loads(text)


def _series(steps: NDArray[np.float64], values: NDArray[np.float64]) -> Series:
    finite = np.isfinite(values)
    kept, numbers = thin(steps[finite], values[finite])
    return Series(steps=kept, values=numbers, not_finite=int((~finite).sum()))


def thin(
    steps: NDArray[np.float64], values: NDArray[np.float64], limit: int = _MAX_POINTS
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Keep at most `limit` points: the minimum and the maximum of each of `limit / 2` equal groups of neighbours.

    This keeps spikes, which taking every n-th point or means would lose.
    """
    if len(values) <= limit:
        return steps, values
    bounds = np.linspace(0, len(values), limit // 2 + 1).astype(int)[:-1]
    sizes = np.diff([*bounds, len(values)])
    group = np.repeat(np.arange(len(bounds)), sizes)
    order = np.lexsort((values, group))
    ends = np.cumsum(sizes) - 1
    kept = np.unique([order[bounds], order[ends]])
    return steps[kept], values[kept]


def group_by_cutoff(names: Mapping[str, Series]) -> dict[str, list[str]]:
    """Group scores by chart: all cutoffs of a metric together, every other score by itself."""
    found: dict[str, list[str]] = {}
    for name in names:
        family, _, cutoff = name.rpartition("@")
        found.setdefault(family if cutoff.isdecimal() else name, []).append(name)
    return found
