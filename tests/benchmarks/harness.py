"""Two ways to do the same thing, timed next to each other: what `make bench` runs, shows and writes down.

One side is ours, the other what a person would use without embedstep. What counts is their ratio. It is taken within
each repeat, where both sides run one after the other and in turns first, so that a machine that gets slower or faster
meanwhile hits both; the median over the repeats leaves single outliers out.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

import click

OUTPUT = Path("build/bench.json")
QUICK = "--quick"
UNKNOWN = 2
_DIGITS = 4

Side = Callable[[], float | None]
"""Does the thing once. Returns its own seconds, or None to have the call timed from outside."""


class BenchmarkError(Exception):
    """A side did not do its work, so that there is no time to compare."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """What a benchmark found.

    Attributes:
        name: name of the benchmark.
        compares: both sides in words, ours first.
        ours: median seconds of our side.
        other: median seconds of the other side.
        ratio: median over the repeats of ours divided by other.
        bound: the largest ratio that we allow ourselves.
        repeats: times that both sides ran.
        parts: where the time goes, in seconds, and findings about what came out.
    """

    name: str
    compares: str
    ours: float
    other: float
    ratio: float
    bound: float
    repeats: int
    parts: Mapping[str, float] = field(default_factory=dict)

    @property
    def is_within(self) -> bool:
        """Whether the ratio is within the bound."""
        return self.ratio <= self.bound


Benchmark = Callable[[bool], Record]
"""Runs one benchmark; True shortens it until it only shows that it works."""


def measure(name: str, compares: str, ours: Side, other: Side, bound: float, repeats: int) -> Record:
    """Time both sides.

    Args:
        name: name of the benchmark.
        compares: both sides in words, ours first.
        ours: our side.
        other: the other side.
        bound: the largest ratio that we allow ourselves.
        repeats: times to run both sides.
    """
    pairs = [_pair(ours, other, ours_first=number % 2 == 0) for number in range(repeats)]
    return Record(
        name=name,
        compares=compares,
        ours=median(mine for mine, _ in pairs),
        other=median(others for _, others in pairs),
        ratio=median(mine / others for mine, others in pairs),
        bound=bound,
        repeats=repeats,
    )


def _pair(ours: Side, other: Side, *, ours_first: bool) -> tuple[float, float]:
    """Time each side once and return the seconds of ours, then of the other."""
    if ours_first:
        mine = seconds_of(ours)
        return mine, seconds_of(other)
    others = seconds_of(other)
    return seconds_of(ours), others


def seconds_of(side: Side) -> float:
    """Run a side once and return its seconds."""
    started = time.perf_counter()
    own = side()
    return time.perf_counter() - started if own is None else own


def medians(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the median of each part over several runs that all have the same parts."""
    return {name: median(run[name] for run in runs) for name in runs[0]}


def main(argv: Sequence[str], benchmarks: Mapping[str, Benchmark], output: Path = OUTPUT) -> int:
    """Run benchmarks, show them as they come, and write them down. A missed bound is shown and is no failure.

    Args:
        argv: names of benchmarks, all of them when there is none, and `--quick` for a short look.
        benchmarks: the benchmarks by name, in the order of the table.
        output: JSON file; what it holds about benchmarks that do not run now stays.

    Returns:
        0, 1 if a side of a benchmark failed, or 2 for a name that is not known.
    """
    names = [argument for argument in argv if argument != QUICK] or list(benchmarks)
    if unknown := [name for name in names if name not in benchmarks]:
        click.echo(f"no benchmark is named {', '.join(unknown)}; there are {', '.join(benchmarks)}", err=True)
        return UNKNOWN
    click.echo(_HEADER)
    failed = [name for name in benchmarks if name in names and not _run(name, benchmarks, QUICK in argv, output)]
    return 1 if failed else 0


def _run(name: str, benchmarks: Mapping[str, Benchmark], quick: bool, output: Path) -> bool:
    """Run one benchmark to its line in the table and in the file, and return whether it came to an end."""
    try:
        record = benchmarks[name](quick)
    except BenchmarkError as error:
        click.echo(f"{name} failed: {error}", err=True)
        return False
    click.echo("\n".join(table_lines(record)))
    records = {**recorded(output), name: record}
    # A benchmark that is gone or has another name now would otherwise stay in the file for ever.
    write_records(output, [records[known] for known in benchmarks if known in records])
    return True


def _row(*cells: str) -> str:
    name, compares, *numbers = cells
    return f"{name:<21}{compares:<62}" + "".join(f"{number:>9}" for number in numbers)


_HEADER = _row("name", "compares", "ours", "other", "ratio", "bound", "within", "repeats")


def _shown(ratio: float) -> str:
    """A ratio of one in ten thousand is to be read as one, not as none."""
    return f"{ratio:.3f}" if ratio >= 0.01 else f"{ratio:.2g}"


def table_lines(record: Record) -> list[str]:
    """Return the line of a record, and one for each of its parts."""
    numbers = (f"{record.ours:.3f}", f"{record.other:.3f}", _shown(record.ratio), f"{record.bound:.3g}")
    within = "yes" if record.is_within else "no"
    parts = [f"    {name:<40}{value:>9.3f}" for name, value in record.parts.items()]
    return [_row(record.name, record.compares, *numbers, within, str(record.repeats)), *parts]


def recorded(file: Path) -> dict[str, Record]:
    """Read the records of earlier runs by name; none when there is no file."""
    if not file.exists():
        return {}
    return {item["name"]: Record(**item) for item in json.loads(file.read_text())}


def write_records(file: Path, records: Sequence[Record]) -> None:
    """Write the records as a JSON list, the whole new file or the old one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    staged = file.with_name(f".{file.name}.part")
    staged.write_text(json.dumps([_rounded(asdict(record)) for record in records], indent=2) + "\n")
    staged.replace(file)


def _rounded(value: object) -> object:
    """Round every number of nested data: more digits than a clock gives would only look exact."""
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    return float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value
