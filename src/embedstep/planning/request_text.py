"""The text of a proposed request: YAML in which each choice has its reason as a comment."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from embedstep.data.profile import RowsProfile
from embedstep.data.split_files import SplitFiles
from embedstep.planning.column_roles import ANCHOR, LABEL, NEGATIVE, POSITIVE, ColumnRole
from embedstep.planning.proposals import Task
from embedstep.planning.proposed_sizes import Sizes, negatives_to_take
from embedstep.runtime.text import count

_PLAIN = re.compile(r"(?!(?:null|true|false)$)[A-Za-z_][\w./@-]*|\.{0,2}/[\w./-]+")
"""Texts that YAML reads as texts without quotes."""
_OF_NO_DATASET = {"train", "training", "data", "dataset", "rows", "of", "part"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Surroundings:
    """What a request takes from the model and the machine.

    Attributes:
        model: folder or hub id.
        is_static: whether the model is a static embedding.
        similarity: the model's similarity function.
        gpus: visible GPUs.
        has_bfloat16: whether all of them compute in bfloat16.
        has_mlflow: whether MLflow is installed.
    """

    model: str
    is_static: bool = False
    similarity: str = "cosine"
    gpus: int = 0
    has_bfloat16: bool = False
    has_mlflow: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """The files, and what they show.

    Attributes:
        splits: files by split.
        profile: what the files for training show.
        eval_columns: columns of the files for evaluation.
        notes: what is not certain or not used of the files.
    """

    splits: Mapping[str, SplitFiles]
    profile: RowsProfile
    eval_columns: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()

    @property
    def has_eval(self) -> bool:
        """Whether there are files for evaluation."""
        return "eval" in self.splits


def dataset_name(splits: Mapping[str, SplitFiles]) -> str:
    """Return a name for a dataset, by that of its first file or folder."""
    path = PurePosixPath(splits["train"].paths[0].split("?")[0])
    for part in (path.name.partition(".")[0], path.parent.name):
        words = [word for word in re.findall(r"[A-Za-z][A-Za-z0-9]*", part) if word.lower() not in _OF_NO_DATASET]
        if words:
            return "_".join(words).lower()[:64]
    return "docs"


def request_text(task: Task, sizes: Sizes, found: Found, around: Surroundings) -> str:
    """Return the text of a request.

    Args:
        task: the training.
        sizes: its numbers.
        found: the files.
        around: the model and the machine.
    """
    name = dataset_name(found.splits)
    has_eval = found.has_eval or sizes.share is not None
    parts = (
        _head(found),
        ["# A folder with a model, or the id of one on the Hugging Face hub.", f"model: {scalar(around.model)}"],
        _data(task, sizes, found, name),
        _loss(task),
        _evaluators(task, name) if has_eval and task.evaluator else (),
        _arguments(task, sizes, around, task.best_metric(name, around.similarity) if has_eval else None),
        _processes(task, around),
        () if around.has_mlflow else ["# MLflow is not installed: records are in the output folder only.",
                                      "tracking: {kind: none}"],
    )  # fmt: skip
    return "\n".join(line for part in parts for line in part) + "\n"


def scalar(text: str) -> str:
    """Return a text as YAML reads it: in quotes where it needs them."""
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)


def _head(found: Found) -> Iterator[str]:
    yield "# Written by `embedstep init`. After a change, `embedstep check` says whether it is valid."
    yield from (f"# {note}." for note in found.notes)


def _data(task: Task, sizes: Sizes, found: Found, name: str) -> Iterator[str]:
    profile, train = found.profile, found.splits["train"]
    about = "" if profile.is_counted else "about "
    yield from ("data:", "  train:", f"    {name}:")
    yield from _source(train, profile, f"  # {profile.counted_rows}")
    yield from (f"      # {note}" for note in task.notes)
    yield from _columns(task)
    if task.transform is not None:
        yield f"      transform: {task.transform}"
    by = "      hold_out: {share: " + f"{sizes.share or 0:g}" + ", by: anchor}"
    if not found.has_eval and sizes.share is not None:
        kept = f"{sizes.share * 100:g}% of the {about}{sizes.anchors:,} anchors"
        yield f"      # {kept} are kept for evaluation, as data.eval.{name}."
        yield by
    elif not found.has_eval:
        yield f"      # Only {sizes.anchors} different anchors: too few to keep some for evaluation."
    if found.has_eval:
        yield from ("  eval:", f"    {name}:")
        yield from _source(found.splits["eval"], profile, "")
        yield from _columns(task, with_reasons=False)
    elif task.transform is not None and sizes.share is not None:
        # What is held out has no transform of its own unless it is written.
        yield from ("  eval:", f"    {name}:")
        yield from _source(train, profile, "")
        yield from (*_columns(task, with_reasons=False), f"      transform: {task.transform}", by)
    if drops := _columns_with_gaps(task):
        yield f"  # Rows with an empty cell are left out: {drops}."
        yield "  drop_incomplete_rows: true"


def _source(split: SplitFiles, profile: RowsProfile, comment: str) -> Iterator[str]:
    paths = [scalar(path) for path in split.paths]
    yield f"      path: {paths[0] if len(paths) == 1 else '[' + ', '.join(paths) + ']'}{comment}"
    if split.split is not None:
        yield f"      split: {scalar(split.split)}"
    if profile.csv:
        yield f"      {profile.csv}"


def _columns(task: Task, *, with_reasons: bool = True) -> Iterator[str]:
    yield "      columns:"
    for role, text, found in _written_roles(task):
        others = f"; could also be: {', '.join(found.others)}" if found.others else ""
        yield f"        {role}: {text}" + (f"  # {found.reason}{others}" if with_reasons else "")


def _written_roles(task: Task) -> Iterator[tuple[str, str, ColumnRole]]:
    roles = task.roles
    if roles.anchor is not None:
        yield ANCHOR, scalar(roles.anchor.column.name), roles.anchor
        if task.transform is not None:
            yield POSITIVE, scalar(roles.anchor.column.name), ColumnRole(columns=(), reason="the text to restore")
    if roles.positive is not None:
        column = roles.positive.column
        text = f"{{list: {scalar(column.name)}, each: row}}" if column.kind == "texts" else scalar(column.name)
        yield POSITIVE, text, roles.positive
    if roles.negative is not None:
        column, names = roles.negative.column, [scalar(one.name) for one in roles.negative.columns]
        if column.kind == "texts":
            take = negatives_to_take(column)
            yield NEGATIVE, f"{{list: {names[0]}, take: {take}, otherwise: repeat}}", roles.negative
        else:
            yield NEGATIVE, names[0] if len(names) == 1 else f"[{', '.join(names)}]", roles.negative
    if roles.label is not None:
        yield LABEL, scalar(roles.label.column.name), roles.label


def _columns_with_gaps(task: Task) -> str:
    """Return the columns in use with empty cells, and how many."""
    roles = (task.roles.anchor, task.roles.positive, task.roles.negative, task.roles.label)
    columns = [one for role in roles if role is not None for one in role.columns]
    return ", ".join(f"{one.name} has {_percent(1 - one.filled)}" for one in columns if one.filled < 1)


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.01 else "fewer than 1%"


def _loss(task: Task) -> Iterator[str]:
    yield f"# {task.reason}"
    if task.options:
        options = ", ".join(f"{name}: {value}" for name, value in task.options.items())
        yield f"loss: {{kind: {task.loss}, options: {{{options}}}}}"
    else:
        yield f"loss: {task.loss}"


def _evaluators(task: Task, name: str) -> Iterator[str]:
    yield f"# {task.measures}"
    yield f"evaluators: [{{kind: {task.evaluator}, name: {name}, dataset: {name}}}]"


def _arguments(task: Task, sizes: Sizes, around: Surroundings, metric: str | None) -> Iterator[str]:
    yield "arguments:"
    few = "few rows are read several times" if sizes.epochs > 1 else "of many rows, once is enough to begin with"
    yield f"  num_train_epochs: {sizes.epochs}  # {few}"
    steps = f"about {count(sizes.steps, 'train step')} an epoch with one process"
    yield f"  per_device_train_batch_size: {sizes.batch_size}  # {steps}; more if the memory allows"
    yield f"  per_device_eval_batch_size: {sizes.batch_size}"
    kind = "a static embedding" if around.is_static else "fine-tuning a transformer"
    yield f"  learning_rate: {_number(sizes.learning_rate)}  # usual for {kind}"
    yield "  warmup_steps: 0.1  # share of all train steps"
    if task.sampler == "no_duplicates":
        yield "  batch_sampler: no_duplicates  # a text that is twice in a batch would count as wrong"
    elif task.sampler is not None:
        yield f"  batch_sampler: {task.sampler}  # the loss needs rows that share a label in each batch"
    if around.has_bfloat16 and not around.is_static:
        yield "  bf16: true  # the GPU here computes in it: faster, and the weights stay in float32"
    elif around.gpus and not around.is_static:
        yield "  # bf16: true  # faster on a GPU with compute capability 8.0 or more"
    yield "  logging_steps: 0.05  # share of all train steps"
    if metric is None:
        yield "  save_strategy: no  # the model is saved at the end"
    else:
        yield from _evaluation(sizes, metric)


def _evaluation(sizes: Sizes, metric: str) -> Iterator[str]:
    yield "  eval_on_start: true  # the score before the training, to compare with"
    yield "  eval_strategy: epoch"
    yield "  save_total_limit: 1"
    if sizes.epochs == 1:
        yield from ("  save_strategy: steps", "  save_steps: 0.25  # share of all train steps; a retry resumes there")
        return
    yield "  save_strategy: epoch"
    yield "  load_best_model_at_end: true  # the model is the best checkpoint, not the last"
    yield f"  metric_for_best_model: {scalar(metric)}"


def _number(value: float) -> str:
    return f"{value:.0e}".replace("e-0", "e-")


def _processes(task: Task, around: Surroundings) -> Iterator[str]:
    if not task.averages_gradients:
        yield "# Several processes cannot train together with this loss."
        yield "launch: {processes_per_node: 1}"
        return
    here = f"{around.gpus} on the GPUs here" if around.gpus else "here one on the CPU"
    yield f"# One process for each visible GPU: {here}."
    yield "launch: {processes_per_node: auto}"
