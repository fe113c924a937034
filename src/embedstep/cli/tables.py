"""Console output: what a command prints, in tables, with colours where the output is a terminal."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from embedstep.cli.layout import aligned, wrap_lines
from embedstep.errors import group_alike
from embedstep.runtime.log import log_format, say
from embedstep.runtime.secrets import redact
from embedstep.runtime.text import count, format_bytes, shorten, show_count

if TYPE_CHECKING:
    from embedstep.cli.estimate import Estimate
    from embedstep.orchestration.mine_negatives import MinedDataset
    from embedstep.orchestration.prepare import Prepared
    from embedstep.planning.plan import Plan, PlannedDataset, PlannedModel
    from embedstep.promotion.decision import Decision
    from embedstep.promotion.reindex import Reindex
    from embedstep.promotion.scoring import ScoredModels
    from embedstep.replay import Replay
    from embedstep.tracking.spool import Sent

_MAX_STEPS = 6
_MAX_CELL = 48
_SHOWN_DIGEST = 12


def show_plan(plan: "Plan", cost: "Estimate | None" = None) -> None:
    """Print the plan as tables, with the estimated cost if there is one."""
    show_section("data", aligned(_dataset_rows(plan), right=frozenset({1, 2, 5, 6, 7, 8})), header=True)
    estimate = {"cost": f"about {cost.hours:.3g} {cost.unit}, estimated from {cost.basis}"} if cost else {}
    if plan.model is not None:
        show_section("model", aligned(list(_model_facts(plan.model).items())))
    show_section("training", aligned(list({**_training_facts(plan), **estimate}.items())))
    show_section("arguments", aligned(_ledger_rows(plan)), header=True)
    show_section("metrics", plan.metrics or ["none: data.eval is empty"])
    if plan.notes:
        show_section("notes", wrap_lines(group_alike(plan.notes)))
    for item in plan.preview:
        for rank, rows in enumerate(item["ranks"]):
            title = f"step {item['step']}, data.train.{item['dataset']}, process {rank}"
            names = list(rows[0])
            cells = [[_format_cell(row[name]) for name in names] for row in rows]
            show_section(title, aligned([names, *cells]), header=True)
    click.secho("embedstep explain WORD says what a word of this plan means.", dim=True)


def _format_cell(cell: Any) -> str:
    """Return a cell as one short line."""
    text = " | ".join(cell) if isinstance(cell, list) and cell and isinstance(cell[0], str) else str(cell)
    return shorten(text, _MAX_CELL)


def show_section(title: str, lines: Sequence[str], *, header: bool = False) -> None:
    """Print a title and indented lines; a header is dimmed."""
    click.secho(title, bold=True)
    for number, line in enumerate(lines):
        click.echo(click.style(f"  {line}", dim=True) if header and number == 0 else f"  {line}")


def _dataset_rows(plan: "Plan") -> list[tuple[str, ...]]:
    header = ("dataset", "rows", "dropped", "columns", "loss", "batches", "batch share", "unreached", "negatives")
    total = sum(item.batches or 0 for item in plan.datasets if item.split == "train")
    return [header, *(_dataset_row(item, total) for item in plan.datasets)]


def _model_facts(model: "PlannedModel") -> Mapping[str, str]:
    pooling = model.pooling or (("lasttoken" if model.is_decoder else "mean") if model.is_bare else "")
    memory = model.memory_bytes
    found = {
        "modules": ", ".join(model.modules) + (f" ({model.architecture})" if model.architecture else ""),
        "parameters": "" if model.parameters is None else f"{model.parameters:,} in {model.precision}{_frozen(model)}",
        "adapter": model.adapter,
        "memory": "" if memory is None else f"about {format_bytes(memory)} for weights, gradients and optimizer",
        "attention": model.attention,
        "pooling": pooling,
        "longest text": "" if model.max_seq_length is None else f"{model.max_seq_length:,} tokens",
        "dimensions": "" if model.dimension is None else f"{model.dimension:,}",
        "prompts": ", ".join(f"{name} {shorten(repr(text), 40)}" for name, text in model.prompts.items()),
    }
    return {name: text for name, text in found.items() if text}


def _dataset_row(item: "PlannedDataset", train_batches: int) -> tuple[str, ...]:
    return (
        f"{item.split}.{item.name}",
        show_count(item.rows),
        show_count(item.dropped_rows),
        ", ".join(item.loss_columns),
        item.loss or "",
        show_count(item.batches),
        f"{(item.batches or 0) / train_batches:.0%}" if item.split == "train" and train_batches else "",
        show_count(item.rows_unreached),
        show_count(item.negatives_per_anchor),
    )


def _frozen(model: "PlannedModel") -> str:
    return "" if model.trainable in (None, model.parameters) else f", of which {model.trainable:,} train"


def _training_facts(plan: "Plan") -> Mapping[str, str]:
    dropped = {name for item in plan.datasets for name in item.dropped_columns}
    seconds = plan.sampling_seconds
    forming = (
        {} if seconds is None else {"forming batches": f"about {max(seconds, 0.01):.2g} s per epoch, in each process"}
    )
    return {
        "processes": f"{plan.world_size} on {_devices(plan)}",
        "global batch": count(plan.global_batch_size, "row"),
        "train steps": f"{plan.train_steps:,} ({_epochs(plan.epochs)} of {plan.steps_per_epoch:,})"
        if plan.train_steps
        else "none: do_train is false",
        **forming,
        "warm-up": count(plan.warmup_steps, "train step"),
        "evaluations": _steps(plan.evaluations),
        "checkpoints": _steps(plan.checkpoints),
        "columns left out": ", ".join(sorted(dropped)) or "none",
        "fingerprint": plan.request_fingerprint,
    }


def _devices(plan: "Plan") -> str:
    """Name the devices: a GPU for each process, or the CPU for all."""
    return "the CPU" if plan.on_cpu else count(plan.world_size, "GPU")


def _epochs(epochs: float) -> str:
    return count(int(epochs), "epoch") if epochs == int(epochs) else f"{epochs:g} epochs"


def _steps(steps: Sequence[int]) -> str:
    if not steps:
        return "none"
    shown = ", ".join(f"{step:,}" for step in steps[:_MAX_STEPS])
    if len(steps) > _MAX_STEPS:
        shown += f", … {steps[-1]:,}"
    return f"{len(steps)}, after train step{'s' if len(steps) > 1 else ''} {shown}"


def _ledger_rows(plan: "Plan") -> list[tuple[str, ...]]:
    entries = [entry for entry in plan.ledger if entry.source != "default"]
    rows = [(entry.name, str(entry.value), entry.source, entry.effect) for entry in entries]
    return [("argument", "value", "from", "what it does"), *rows]


def show_prepared(prepared: "Prepared") -> None:
    """Print the row counts of each prepared dataset."""
    rows = [("dataset", "rows", "duplicates", "overlapping", "split off", "fingerprint")]
    rows += [
        (f"{item.split} {item.name}", f"{item.rows:,}", f"{item.duplicate_rows:,}", f"{item.overlapping_rows:,}",
         f"{item.split_off_rows:,}", item.fingerprint[:_SHOWN_DIGEST])
        for item in prepared.datasets
    ]  # fmt: skip
    show_section("prepared", aligned(rows, right=frozenset({1, 2, 3, 4})), header=True)


def show_mined(mined: Sequence["MinedDataset"]) -> None:
    """Print the row counts of each mined dataset."""
    rows = [("dataset", "rows", "with negatives", "negatives per row", "documents")]
    rows += [
        (item.name, f"{item.rows:,}", f"{item.mined_rows:,}", str(item.negatives), f"{item.documents:,}")
        for item in mined
    ]
    show_section("mined", aligned(rows, right=frozenset({1, 2, 3, 4})), header=True)


def show_scores(scored: "ScoredModels") -> None:
    """Print the metrics of all models, and their gain over the first with its 95 % confidence interval."""
    first, *others = scored.models
    rows = [("metric", *(part for name in scored.models for part in ((name,) if name == first else (name, "gain"))))]
    for metric, value in scored.models[first].metrics.items():
        cells = [metric, f"{value:.4f}"]
        for name in others:
            gain = scored.gain(metric, name, first)
            cells.append(f"{scored.models[name].metrics[metric]:.4f}")
            cells.append("" if gain is None else f"{gain.gain:+.4f} ({gain.low:+.4f} to {gain.high:+.4f})")
        rows.append(tuple(cells))
    sizes = [("dimension", *(str(scores.dimension) for scores in scored.models.values()))]
    sizes += [("megabytes", *(f"{scores.bytes / 1e6:.1f}" for scores in scored.models.values()))]
    sizes += [("seconds", *(f"{scores.seconds:.1f}" for scores in scored.models.values()))]
    show_section("scores", aligned(rows))
    show_section("models", aligned([("", *scored.models), *sizes]))
    if scored.notes:
        show_section("notes", scored.notes)


def show_decision(decision: "Decision") -> None:
    """Print a verdict, its reasons, and the gains."""
    colour = {"promote": "green", "hold": "yellow", "reject": "red"}[decision.action]
    click.secho(decision.action, fg=colour, bold=True)
    for reason in decision.reasons:
        click.echo(f"  {reason}")
    if (change := decision.changes.get(f"eval_{decision.metric}")) is not None:
        click.echo(f"  its training changed {decision.metric} from {change.before:.4f} to {change.after:.4f}")
    gains = {f"slice {name}": gain for name, gain in decision.slices.items()}
    gains |= {f"{size} dimensions": gain for size, gain in decision.dimensions.items()}
    if gains:
        rows = [("", "queries", "champion", "challenger", "gain", "interval")]
        rows += [
            (name, f"{gain.queries:,}", f"{gain.champion:.4f}", f"{gain.challenger:.4f}", f"{gain.gain:+.4f}",
             f"{gain.low:+.4f} to {gain.high:+.4f}")
            for name, gain in gains.items()
        ]  # fmt: skip
        show_section(decision.metric, aligned(rows))
    if decision.reindex is not None:
        show_section("index", _reindex_lines(decision.reindex))
    show_missing(decision.missing)


def _reindex_lines(reindex: "Reindex") -> list[str]:
    if not reindex.needed:
        return [f"can be kept: {reindex.reasons[0]}"]
    lines = [f"must be rebuilt: {reason}" for reason in reindex.reasons]
    if reindex.neighbours is not None:
        lines.append(f"{reindex.neighbours:.0%} of the 10 nearest documents are the same")
    return [
        *lines,
        f"{count(reindex.documents, 'document')}, about {reindex.seconds / 60:,.1f} minutes on this machine",
    ]


def show_replay(found: "Replay") -> None:
    """Print whether the weights are the same, and what may have changed them."""
    then, now = (digest[:_SHOWN_DIGEST] for digest in found.weights)
    if found.is_equal:
        click.secho(f"equal: all weights are bit-identical to those of {found.run} ({now})", fg="green")
    else:
        click.secho(f"not equal: the weights of {found.run} were {then} and are now {now}", fg="yellow")
    rows = [(name, *both) for name, both in found.versions.items()]
    if rows:
        show_section("versions", aligned([("library", "then", "now"), *rows]), header=True)
    elif not found.is_equal and not found.is_of_same_base:
        click.echo("  the base model has changed")
    elif not found.is_equal:
        click.echo("  the libraries are the same; another kind of CPU or GPU rounds differently")


def show_sent(output: Path, sent: "Sequence[Sent]") -> None:
    """Print what `embedstep sync` has sent, one line for each attempt."""
    if not sent:
        click.echo(f"{output}: everything has arrived")
    for one in sent:
        click.echo(f"{output}: sent to the run {one.run_id} at {one.uri}")
        show_missing((*one.not_recorded, *(why for _, _, why in one.deferred)))


def show_missing(messages: Sequence[str]) -> None:
    """Print what could not be recorded."""
    for message in messages:
        click.secho(f"not recorded: {message}", fg="yellow")


def show_problems(request: str, problems: Sequence[Any]) -> None:
    """Print all problems to standard error, one on each line, under the name of the request."""
    say_error(f"{request}: {count(len(problems), 'problem')}", fg="red", bold=True)
    for line in group_alike(map(str, problems)):
        say_error(f"  {redact(line, os.environ)}")


def say_error(text: str, **style: Any) -> None:
    """Print a line to standard error, which `quiet` does not suppress; as JSON where that is the format.

    Args:
        text: the line.
        style: arguments of `click.style`.
    """
    if log_format(os.environ) == "json":
        say(text.strip(), level="error")
    else:
        click.secho(text, err=True, **style)
