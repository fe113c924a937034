"""A package that extends embedstep with one of each kind, as its users' packages do. Nothing here imports torch."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa

from embedstep import (
    BatchSamplerKind,
    EvaluatorKind,
    Label,
    LossKind,
    ModuleKind,
    RowFunctionKind,
    RowSourceKind,
    RunInfo,
    RunTracker,
    Takes,
    TrackerKind,
    TransformKind,
    options,
)

SCORE = Label(words="a score from 0 to 1", kinds=("integer", "number"), low=0, high=1)

margin_cosine = LossKind(
    name="margin_cosine",
    class_name="birdsong.heavy:MarginCosineLoss",
    takes=(Takes(least=2, most=2, label=SCORE),),
    options={"margin": options.number(0.1, least=0)},
)

mean_cosine = EvaluatorKind(
    name="mean_cosine",
    class_name="birdsong.heavy:MeanCosineEvaluator",
    roles=("anchor", "positive"),
    options={"batch_size": options.integer(16, least=1)},
    metrics=lambda values, similarity: ["mean", "least"],
    primary=lambda values, similarity: "mean",
)

scaling = ModuleKind(
    name="scaling",
    class_name="birdsong.heavy:Scaling",
    takes=("a sentence embedding",),
    options={"dimension": options.integer(None, least=1), "start": options.number(1.0, above=0)},
    input_width="dimension",
    parameters=lambda values, before: {"scale": before.width},
)


def _shuffled_blocks(*, rows: int, batch_size: int, seed: int, epoch: int, **_: Any) -> Iterator[Any]:
    """Neighbouring rows in one batch, the batches in another order in each epoch; the last rows are left out."""
    order = np.random.RandomState([seed, epoch]).permutation(rows // batch_size)
    return (np.arange(block * batch_size, (block + 1) * batch_size) for block in order)


blocks = BatchSamplerKind(name="blocks", function=_shuffled_blocks)


def _one_label(*, labels: Any, batch_size: int, seed: int, epoch: int, **_: Any) -> Iterator[Any]:
    """Batches of one label each."""
    for label in np.random.RandomState([seed, epoch]).permutation(np.unique(labels)):
        rows = np.flatnonzero(labels == label)
        yield from rows[: len(rows) // batch_size * batch_size].reshape(-1, batch_size)


one_label = BatchSamplerKind(name="one_label", function=_one_label, reads=("labels",))


def _opposites(rows: pa.Table | None, repeat: int) -> pa.Table:
    """Each text with the one on the other side of the table."""
    texts = [] if rows is None else rows.column("text").to_pylist()
    return pa.table({"question": texts * repeat, "answer": texts[::-1] * repeat})


opposites = RowSourceKind(name="opposites", function=_opposites, options={"repeat": options.integer(1, least=1)})


def _sentences(row: Mapping[str, Any], least: int) -> list[dict[str, Any]]:
    """A row for each sentence of the body that is long enough."""
    found = [text.strip() for text in (row["body"] or "").split(".")]
    return [{"question": row["title"], "answer": text} for text in found if len(text) >= least]


sentences = RowFunctionKind(
    name="sentences",
    function=_sentences,
    reads=("title", "body"),
    makes={"question": "text", "answer": "text"},
    options={"least": options.integer(1, least=1)},
)


def _swap_words(row: Mapping[str, Any], random: Random, draw_row: Any, times: int) -> dict[str, Any]:
    """Swap neighbouring words."""
    words = row["anchor"].split()
    for _ in range(times):
        place = int(random.random() * (len(words) - 1))
        words[place : place + 2] = words[place : place + 2][::-1]
    return {"anchor": " ".join(words)}


swapping = TransformKind(
    name="swap_words",
    function=_swap_words,
    reads=("anchor",),
    gives={"anchor": "text"},
    options={"times": options.integer(1, least=1)},
)


class TextFile(RunTracker):
    """Writes everything into one text file."""

    def open_run(self, run: RunInfo) -> str:
        """Begin the file."""
        self._file = Path(run.uri or run.output / "birdsong.txt")
        self._write(f"run {run.id} {run.experiment} {run.name}")
        return str(self._file)

    def log_parameters(self, values: Mapping[str, str]) -> None:
        """Write a line for each parameter."""
        for name, text in values.items():
            self._write(f"parameter {name} {text}")

    def log_metrics(self, values: Mapping[str, float], step: int, seconds: float) -> None:
        """Write a line for each metric."""
        for name, value in values.items():
            self._write(f"metric {step} {name} {value}")

    def log_file(self, file: Path) -> None:
        """Write the name of the file."""
        self._write(f"file {file.name}")

    def end_run(self, status: str) -> None:
        """Write the last line."""
        self._write(f"end {status}")

    def _write(self, line: str) -> None:
        with self._file.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


text_file = TrackerKind(name="text_file", class_name="birdsong:TextFile")
not_a_declaration = "margin_cosine"
