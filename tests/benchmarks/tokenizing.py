"""Training from token ids that are kept, beside sentence-transformers' own trainer, which tokenizes in each epoch.

Both sides train the same model on the same pairs with the same arguments in this process. Ours begins with making the
token ids; what both do alike before (reading the pairs, loading the model) and after (saving) is left out.
"""

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow.parquet as pq
import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

from embedstep.data.writing import arrow_file
from embedstep.request.schema import Model
from embedstep.tokenizing import TokenizerFile, TokenMaker, tokenizer_of
from embedstep.worker.models import build_model
from embedstep.worker.trainer import StepTrainer
from tests.benchmarks.harness import Record, measure
from tests.benchmarks.material import material

COLUMNS = ("query", "docstring")
BOUNDS = {3: 0.6, 10: 0.35}
STATIC = {"per_device_train_batch_size": 128, "learning_rate": 2e-2}
TRANSFORMER = {"per_device_train_batch_size": 32, "learning_rate": 2e-5}
_ROWS = 1_024
_FEW_ROWS = 64


def tokenize_once_3(quick: bool) -> Record:
    """Compare a static embedding over three epochs."""
    return _static(3, quick)


def tokenize_once_10(quick: bool) -> Record:
    """Compare a static embedding over ten epochs."""
    return _static(10, quick)


def tokenize_once_minilm(quick: bool) -> Record:
    """Compare MiniLM with 128 tokens over one epoch."""
    model = Model(path=str(material(quick).model), max_seq_length=128)
    return _compared(
        "tokenize_once_minilm", model, TRANSFORMER, 1, 1.03, 1 if quick else 3, _FEW_ROWS if quick else _ROWS
    )


def _static(epochs: int, quick: bool) -> Record:
    model = Model(static=str(material(quick).model), initial_vectors="word_embeddings")
    rows = _FEW_ROWS if quick else None
    return _compared(f"tokenize_once_{epochs}", model, STATIC, epochs, BOUNDS[epochs], 1 if quick else 3, rows)


def _compared(
    name: str, model: Model, arguments: Mapping[str, Any], epochs: int, bound: float, repeats: int, rows: int | None
) -> Record:
    with tempfile.TemporaryDirectory(prefix="embedstep-bench-") as folder:
        path = Path(folder) / "pairs.arrow"
        table = pq.read_table(material(rows == _FEW_ROWS).train, columns=list(COLUMNS)).slice(0, rows)
        with arrow_file(path, table.schema) as write:
            for batch in table.to_batches():
                write(batch)
        tokenizer = tokenizer_of(model, Path(str(model.path or model.static)))
        assert isinstance(tokenizer, TokenizerFile), tokenizer
        making: list[float] = []
        weights: dict[str, list[torch.Tensor]] = {}

        def build(kind: Callable[..., Any], **more: Any) -> Any:
            torch.manual_seed(7)
            built = build_model(model, fetched=None, device="cpu")
            given = SentenceTransformerTrainingArguments(
                output_dir=folder, num_train_epochs=epochs, save_strategy="no", report_to=[], disable_tqdm=True,
                use_cpu=True, dataloader_pin_memory=False, optim="adamw_torch", warmup_steps=0.1, logging_strategy="no",
                **arguments,
            )  # fmt: skip
            loss = MultipleNegativesRankingLoss(built)
            return kind(model=built, args=given, train_dataset=Dataset.from_file(str(path)), loss=loss, **more)

        def ours() -> float:
            for file in path.parent.glob("pairs.*.*"):
                file.unlink()
            started = time.perf_counter()
            maker = TokenMaker(tokenizer.read, None, by_dataset=False)
            ids = {column: maker.ids("docs", path, "", column) for column in COLUMNS}
            making.append(time.perf_counter() - started)
            return making[-1] + trained("ours", build(StepTrainer, save_safetensors=True, tokens={"train": [ids]}))

        def plain() -> float:
            return trained("plain", build(SentenceTransformerTrainer))

        def trained(side: str, trainer: Any) -> float:
            started = time.perf_counter()
            trainer.train()
            seconds = time.perf_counter() - started
            weights[side] = [parameter.detach().clone() for parameter in trainer.model.parameters()]
            return seconds

        words = (
            f"training from kept token ids / sentence-transformers' trainer, {epochs} epochs of {table.num_rows} pairs"
        )
        record = measure(name, words, ours, plain, bound, repeats)
        same = all(map(torch.equal, weights["ours"], weights["plain"]))
        return replace(record, parts={"ours: tokenizing": median(making), "same weights": float(same)})
