"""The content of a report, from top to bottom, and the file that it is written to."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from embedstep.errors import OUTCOMES, group_alike
from embedstep.output.attempts import Attempt, cost_unit
from embedstep.output.folder import OutputFolder
from embedstep.output.result import Change, Movement, is_score, with_current_names, worse_metrics, write_atomically
from embedstep.report.charts import draw_bars, draw_curves, draw_intervals
from embedstep.report.run import GPU_METRICS, Run, describe_sources, read_run
from embedstep.report.series import Series, group_by_cutoff
from embedstep.runtime.text import count, shorten, show_count

_TONES = {"promote": "good", "hold": "even", "reject": "bad"}
_TRAINING = {"loss": "loss", "learning_rate": "learning rate", "grad_norm": "gradient norm"}
_MAX_LINES = 5
_MAX_TEXT = 140


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart with its title.

    Attributes:
        title: title above the chart.
        svg: the chart.
        note: text below the chart.
        is_wide: whether it takes a whole row of the page.
    """

    title: str
    svg: Markup
    note: str = ""
    is_wide: bool = False


def write_report(output: Path) -> Path:
    """Write the report of the run in an output folder, and return its file.

    Raises:
        InvalidRequestError: there is no run in the folder.
    """
    run = read_run(output)
    environment = Environment(
        loader=PackageLoader("embedstep.report", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    text = environment.get_template("page.html").render(**build_content(run))
    file = OutputFolder(output).report
    write_atomically(file, text)
    return file


def build_content(run: Run) -> dict[str, Any]:
    """Return the variables of the template."""
    ledger = run.result.get("ledger") or run.plan["ledger"]
    return {
        "title": run.name,
        "subtitle": f"{_base(run)}, {count(run.plan['world_size'], 'process')}",
        "outcome": _outcome(run),
        "verdict": _verdict(run) if run.verdict else None,
        "tiles": list(_tiles(run)),
        "remarks": list(_remarks(run)),
        "error": run.error,
        "training": list(_training(run)),
        "evaluation": list(_evaluation(run)),
        "changes": [_change_row(name, Change(**one)) for name, one in run.result.get("changes", {}).items()],
        "has_champion": bool(run.champion),
        "datasets": [_dataset_row(item) for item in run.plan["datasets"]],
        "batches": [*_padding(run), *group_alike(run.plan["notes"])],
        "labels": list(_labels(run)),
        "cost": [*_cost(run), *_gpus(run)],
        "attempts": [_attempt_row(number, item) for number, item in enumerate(run.attempts, 1)],
        "unit": _unit(run),
        "chosen": [_ledger_row(entry) for entry in ledger if entry["source"] != "default"],
        "defaults": [_ledger_row(entry) for entry in ledger if entry["source"] == "default"],
        "lineage": list(_lineage(run)),
        "environment": list(_environment(run)),
        "replay": _replay(run),
    }


def _base(run: Run) -> str:
    model = run.request.get("model", {})
    return Path(str(model.get("path") or model.get("static") or "")).name


def _outcome(run: Run) -> dict[str, str]:
    code = run.error.get("exit_code", run.result.get("exit_code"))
    if code is None:
        return {"word": "running", "tone": "even"}
    return {"word": OUTCOMES[code].replace("_", " "), "tone": "bad" if code else "good"}


def _tiles(run: Run) -> Iterator[tuple[str, str]]:
    scores = {name: series for name, series in run.series.items() if is_score(name) and series.last is not None}
    asked = f"eval_{run.verdict.get('metric', '')}"
    best = asked if asked in scores else next((name for name in scores if "ndcg" in name or "spearman" in name), None)
    if best is not None:
        yield best.removeprefix("eval_"), f"{scores[best].last:.4f}"
    if best in run.result.get("changes", {}):
        yield "base model", f"{run.result['changes'][best]['before']:.4f}"
    if best in run.champion:
        yield "champion", f"{run.champion[str(best)]:.4f}"
    yield "train steps", f"{run.plan['train_steps']:,}"
    yield "training rows", f"{sum(item['rows'] for item in run.plan['datasets'] if item['split'] == 'train'):,}"
    if speed := run.result.get("metrics", {}).get("train_samples_per_second"):
        yield "rows per second", f"{speed:,.0f}"
    if run.attempts:
        yield _unit(run), f"{sum(attempt.hours for attempt in run.attempts):.3f}"


def _remarks(run: Run) -> Iterator[str]:
    if worse := worse_metrics({name: Change(**one) for name, one in run.result.get("changes", {}).items()}):
        yield worse
    if run.result.get("stop_reason"):
        yield run.result["stop_reason"]
    if run.result.get("movement"):
        yield Movement(**run.result["movement"]).text
    for name, series in run.series.items():
        if series.not_finite:
            yield f"{name} was not finite {series.not_finite:,} times"


def _change_row(name: str, change: Change) -> tuple[str, ...]:
    values = (f"{change.before:.4f}", f"{change.after:.4f}", f"{change.after - change.before:+.4f}")
    return (name.removeprefix("eval_"), *values, change.interval)


def _verdict(run: Run) -> dict[str, Any]:
    found = run.verdict
    return {
        "word": found["verdict"],
        "tone": _TONES[found["verdict"]],
        "reasons": found["reasons"],
        "charts": list(_gain_charts(found)),
        "gains": [_gain_row(name, gain) for name, gain in {**found["gains"], **_others(found)}.items()],
        "index": _index(found["reindex"]),
        "examples": [
            ("Queries won", [_example_row(one) for one in found["examples"]["won"]]),
            ("Queries lost", [_example_row(one) for one in found["examples"]["lost"]]),
        ],
    }


def _others(verdict: Mapping[str, Any]) -> dict[str, Any]:
    slices = {f"slice {name}": gain for name, gain in verdict["slices"].items()}
    return slices | {f"{size} dimensions": gain for size, gain in verdict["dimensions"].items()}


def _gain_charts(verdict: Mapping[str, Any]) -> Iterator[Chart]:
    for key, title, gains in (
        ("gains", "Gain by metric", verdict["gains"]),
        ("slices", f"{verdict['metric']} by slice", verdict["slices"]),
        ("dimensions", f"{verdict['metric']} by dimension", verdict["dimensions"]),
    ):
        if gains:
            yield Chart(title, Markup(draw_intervals(key, gains)), is_wide=True)


def _gain_row(name: str, gain: Mapping[str, float]) -> tuple[str, ...]:
    interval = f"{gain['low']:+.4f} to {gain['high']:+.4f}"
    return (name, f"{gain['champion']:.4f}", f"{gain['challenger']:.4f}", f"{gain['gain']:+.4f}", interval)


def _index(reindex: Mapping[str, Any] | None) -> list[str]:
    if reindex is None:
        return []
    lines = list(reindex["reasons"])
    if reindex["needed"]:
        minutes = reindex["seconds"] / 60
        lines.append(f"{reindex['documents']:,} documents to embed again, about {minutes:,.1f} minutes on one machine")
        if reindex["neighbours"] is not None:
            lines.append(f"{reindex['neighbours']:.0%} of the 10 nearest documents of a query stay the same")
    return lines


def _example_row(one: Mapping[str, Any]) -> tuple[str, ...]:
    query, relevant, before, now = (
        shorten(one[key], _MAX_TEXT) for key in ("query", "relevant", "champion_found", "challenger_found")
    )
    return (query, relevant, before, f"{one['champion']:.2f}", now, f"{one['challenger']:.2f}")


def _training(run: Run) -> Iterator[Chart]:
    for name, title in _TRAINING.items():
        lines = {name: run.series[name]} if name in run.series else {}
        if name == "loss":
            lines |= {
                key: series for key, series in run.series.items() if key.endswith("_loss") and key != "train_loss"
            }
        if shown := _with_values(lines):
            left = len(shown) - _MAX_LINES
            note = f"{left} more in metrics.jsonl" if left > 0 else ""
            yield Chart(title, Markup(draw_curves(f"training-{name}", dict(list(shown.items())[:_MAX_LINES]))), note)


def _evaluation(run: Run) -> Iterator[Chart]:
    scores = {
        name: series for name, series in run.series.items()
        if is_score(name) and not name.endswith("_loss") and name != "eval_sequential_score"
    }  # fmt: skip
    for number, (family, names) in enumerate(group_by_cutoff(_with_values(scores)).items()):
        # The title has the common part of the names, and the legend the rest.
        left = len(family) if len(names) > 1 else 0
        lines = {name[left:]: scores[name] for name in names[:_MAX_LINES]}
        champion = {name[left:]: run.champion[name] for name in names if name in run.champion}
        title = (family if left else names[0]).removeprefix("eval_")
        yield Chart(title, Markup(draw_curves(f"evaluation-{number}", lines, champion=champion)))


def _with_values(lines: Mapping[str, Series]) -> dict[str, Series]:
    return {name: series for name, series in lines.items() if len(series.values)}


def _dataset_row(item: Mapping[str, Any]) -> tuple[str, ...]:
    keys = ("rows", "dropped_rows", "duplicate_rows", "overlapping_rows", "batches", "rows_unreached")
    numbers = [show_count(item[key]) for key in (*keys, "negatives_per_anchor")]
    return (f"{item['split']}.{item['name']}", *numbers, item["loss"] or "")


def _padding(run: Run) -> Iterator[str]:
    if (share := run.result.get("padding_share")) is not None:
        yield f"{share:.1%} of the tokens in the batches were padding"


def _labels(run: Run) -> Iterator[Chart]:
    for number, item in enumerate(run.plan["datasets"]):
        if item["labels"]:
            title = f"labels of {item['split']}.{item['name']}"
            yield Chart(title, Markup(draw_bars(f"labels-{number}", item["labels"], unit="rows")))


def _cost(run: Run) -> Iterator[Chart]:
    seconds = {name: value for name, value in run.result.get("seconds", {}).items() if name != "total"}
    if seconds:
        yield Chart("Time by phase", Markup(draw_bars("seconds", seconds, unit="seconds")))


def _gpus(run: Run) -> Iterator[Chart]:
    note = "of the last attempt" if len(run.attempts) > 1 else ""
    for end, title in GPU_METRICS.items():
        lines = {
            name.removeprefix("system/").removesuffix(f"_{end}"): series
            for name, series in run.gpus.items()
            if name.endswith(end)
        }
        if lines:
            yield Chart(title, Markup(draw_curves(f"machine-{end}", lines, unit="minutes")), note)


def _unit(run: Run) -> str:
    return cost_unit(on_cpu=not run.attempts or run.attempts[-1].device == "CPU")


def _attempt_row(number: int, item: Attempt) -> tuple[str, ...]:
    end = "killed" if item.exit_code is None else OUTCOMES[item.exit_code].replace("_", " ")
    started = item.started.replace("T", " ").removesuffix("+00:00")
    return (str(number), started, str(item.processes), f"{item.seconds:,.1f}", f"{item.hours:.4f}", end)


def _ledger_row(entry: Mapping[str, Any]) -> tuple[str, ...]:
    return (entry["name"], str(entry["value"]), entry["source"], with_current_names(entry)["support"], entry["effect"])


def _lineage(run: Run) -> Iterator[tuple[str, ...]]:
    fingerprints = [item["fingerprint"] for item in run.plan["datasets"]]
    for (name, source), fingerprint in zip(describe_sources(run), fingerprints, strict=True):
        yield (name, source, fingerprint)
    if moment := run.request.get("data", {}).get("as_of"):
        yield ("as of", moment, "")


def _environment(run: Run) -> Iterator[tuple[str, str]]:
    yield from run.result.get("versions", {}).items()
    names = {
        "embedstep.python": "Python",
        "embedstep.hardware": "machine",
        "mlflow.source.git.commit": "git commit",
        "embedstep.git.changed": "uncommitted changes",
    }
    yield from ((label, run.tags[name]) for name, label in names.items() if name in run.tags)
    yield ("visible GPUs", str(run.plan["gpus"]))
    yield ("request", run.plan["request_fingerprint"])
    for key, label in (("weights_sha256", "weights"), ("embedding_space_id", "embedding space")):
        if run.result.get(key):
            yield (label, run.result[key])


def _replay(run: Run) -> Sequence[str]:
    by_folder = f"embedstep replay {run.name}"
    return (by_folder, f"embedstep replay {run.run_id}") if run.run_id else (by_folder,)
