"""What the facts of Parquet files cost to write, and what a plan by them saves.

The other side is `embedstep plan` on the same files, which reads all texts. The rows have 12 and 80 words.
"""

import tempfile
from pathlib import Path

import pyarrow.parquet as pq
import yaml

from tests.benchmarks.command_line import console_script
from tests.benchmarks.commands import environment, timed
from tests.benchmarks.first_step import write_rows
from tests.benchmarks.harness import Record, measure
from tests.benchmarks.material import minilm

_ROWS, _FEW_ROWS = 1_000_000, 4_000
_FILES = 4


def plan_by_facts(quick: bool) -> Record:
    """Time a plan by facts."""
    return _compared("plan_by_facts", "plan of {rows:,} rows by their facts / by reading them", 0.35, quick)


def write_facts(quick: bool) -> Record:
    """Time the writing of facts."""
    return _compared("write_facts", "writing the facts of {rows:,} rows / a plan that reads them", 1.3, quick)


def _compared(name: str, compares: str, bound: float, quick: bool) -> Record:
    rows = _FEW_ROWS if quick else _ROWS
    with tempfile.TemporaryDirectory(prefix="embedstep-bench-") as place:
        folder, env = Path(place), environment()
        _write_files(folder, rows)
        files = [f"rows/{number}.parquet" for number in range(_FILES)]
        facts = [console_script(), "facts", *files]
        timed(facts, env=env, folder=folder)

        def planned(read: str) -> float:
            return timed(
                [console_script(), "plan", "request.yaml", "--set", f"data.read={read}"], env=env, folder=folder
            )

        def ours() -> float:
            return planned("per_node") if name == "plan_by_facts" else timed(facts, env=env, folder=folder)

        return measure(name, compares.format(rows=rows), ours, lambda: planned("first_node"), bound, 1 if quick else 5)


def _write_files(folder: Path, rows: int) -> None:
    """Write a request, and its rows in several files."""
    model = minilm()
    request = {
        "model": {"path": str(model)},
        "data": {"train": {"docs": {"path": "rows/*.parquet", "columns": {"anchor": "query", "positive": "text"}}}},
        "loss": "multiple_negatives_ranking",
        "arguments": {"batch_sampler": "no_duplicates", "per_device_train_batch_size": 64, "use_cpu": True},
        "tracking": {"kind": "none"},
    }
    (folder / "request.yaml").write_text(yaml.safe_dump(request))
    (folder / "rows").mkdir()
    write_rows(folder / "all.parquet", rows, model)
    table = pq.read_table(folder / "all.parquet")
    for number in range(_FILES):
        pq.write_table(table.slice(number * rows // _FILES, rows // _FILES), folder / f"rows/{number}.parquet")
    (folder / "all.parquet").unlink()
