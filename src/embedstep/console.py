"""What a person sees: tables that line up, colour only on a terminal."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from embedstep.plan import Plan
from embedstep.result import StepResult
from embedstep.secrets import redact

_MOST_STEPS_SHOWN = 6


def in_one_line(plan: Plan) -> str:
    """Return the plan in one line."""
    rows = sum(item.rows for item in plan.datasets if item.split == "train")
    processes = f"{plan.world_size} process{'es' if plan.world_size > 1 else ''}"
    return f"{rows:,} rows, {plan.train_steps:,} train steps of {plan.global_batch_size:,} rows on {processes}"


def show_plan(plan: Plan) -> None:
    """Print the plan as tables on standard output."""
    console = _console()
    console.print(_dataset_table(plan))
    console.print(_pairs_table("training", _training_facts(plan)))
    ledger = _table("arguments", "argument", "value", "from", "why")
    for entry in plan.ledger:
        if entry.source != "default":
            ledger.add_row(entry.name, str(entry.value), entry.source, entry.note)
    console.print(ledger)
    console.print(Text("metrics", style="bold"))
    for name in plan.metrics:
        console.print(f"  {name}", highlight=False)


def _dataset_table(plan: Plan) -> Table:
    table = _table("data", "dataset", "rows", "dropped", "columns", "loss", "batches", "share", "unseen", "negatives")
    total = sum(item.batches or 0 for item in plan.datasets if item.split == "train")
    for item in plan.datasets:
        share = f"{(item.batches or 0) / total:.0%}" if item.split == "train" and total else ""
        table.add_row(
            f"{item.split}.{item.name}",
            f"{item.rows:,}",
            f"{item.dropped_rows:,}",
            ", ".join(item.columns),
            item.loss or "",
            "" if item.batches is None else f"{item.batches:,}",
            share,
            f"{item.rows_unseen:,}",
            "" if item.negatives_per_anchor is None else f"{item.negatives_per_anchor:,}",
        )
    for column in (1, 2, 5, 6, 7, 8):
        table.columns[column].justify = "right"
    return table


def _training_facts(plan: Plan) -> Mapping[str, str]:
    return {
        "processes": f"{plan.world_size} on {f'{plan.gpus} GPUs' if plan.gpus else 'the CPU'}",
        "global batch": f"{plan.global_batch_size:,} rows",
        "train steps": f"{plan.train_steps:,} ({plan.epochs:g} epochs of {plan.steps_per_epoch:,})",
        "warm-up": f"{plan.warmup_steps:,} train steps",
        "evaluations": _steps(plan.evaluations),
        "checkpoints": _steps(plan.checkpoints),
        "fingerprint": plan.request_fingerprint,
    }


def _steps(steps: Sequence[int]) -> str:
    if not steps:
        return "none"
    shown = ", ".join(f"{step:,}" for step in steps[:_MOST_STEPS_SHOWN])
    if len(steps) > _MOST_STEPS_SHOWN:
        shown += f", … {steps[-1]:,}"
    return f"{len(steps)}, after train step{'s' if len(steps) > 1 else ''} {shown}"


def show_result(result: StepResult, request: str) -> None:
    """Print how a step ended: to standard output when it succeeded, else to standard error."""
    if result.failure is not None:
        lines = result.failure.problems or (result.failure.message,)
        where = f"rank {result.failure.rank}: " if result.failure.rank is not None else ""
        show_problems(request, [f"{where}{line}" for line in lines])
        outcome = f"{result.outcome.replace('_', ' ')}, exit code {result.exit_code}"
        details = Path(result.output) / "error.json"
        _console(stderr=True).print(f"{outcome}; more in {details}", highlight=False, soft_wrap=True)
        return
    facts = {name: f"{value:.4f}" for name, value in result.metrics.items() if _is_score(name)}
    facts["model"] = str(result.model)
    if result.run_id:
        facts["MLflow run"] = result.run_id
        facts["MLflow page"] = f"mlflow ui --backend-store-uri {result.tracking_uri}"
    facts["seconds"] = f"{result.seconds.get('total', 0):.1f}"
    console = _console()
    console.print(_pairs_table("result", facts))
    for complaint in result.incomplete_tracking:
        console.print(f"not recorded: {complaint}", style="yellow", highlight=False)


def _is_score(name: str) -> bool:
    return name.startswith("eval_") and not name.endswith(("_runtime", "_per_second"))


def show_problems(request: str, problems: Sequence[Any]) -> None:
    """Print every problem on standard error, one a line, under the name of the request."""
    console = _console(stderr=True)
    count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
    console.print(Text(f"{request}: {count}", style="bold red"), soft_wrap=True)
    for problem in problems:
        console.print(Text(f"  {redact(str(problem), os.environ)}"), soft_wrap=True)


def _console(*, stderr: bool = False) -> Console:
    """A console as wide as the terminal, and wide enough for whole lines where there is none."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else 160)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold", header_style="dim")
    return table


def _pairs_table(title: str, facts: Mapping[str, str]) -> Table:
    table = _table(title, "", "")
    table.show_header = False
    for name, value in facts.items():
        table.add_row(name, value)
    return table
