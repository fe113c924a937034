"""The training script that a careful person would write without embedstep: the other side of `run_overhead`.

    torchrun --standalone --nproc-per-node=N tests/benchmarks/plain_torchrun.py WORK OUTPUT

WORK is a JSON file with what such a script would have in its text. It trains on one set of pairs, evaluates on another
with the trainer's own evaluation, reports to MLflow with the trainer's own callback, saves the model, and logs it. It
knows nothing of embedstep. The seconds of its parts go to OUTPUT/seconds.json.
"""

import time

_BEGAN = time.perf_counter()

import json  # noqa: E402 - the clock starts before the imports, which are a part of the whole
import sys  # noqa: E402
from importlib.metadata import version  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import mlflow  # noqa: E402
from datasets import Dataset, load_dataset  # noqa: E402
from sentence_transformers import (  # noqa: E402
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator  # noqa: E402
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss  # noqa: E402
from transformers import set_seed  # noqa: E402

_REQUIRED = ("sentence-transformers", "transformers", "torch", "numpy")


def main(work: dict[str, Any], output: Path) -> dict[str, float]:
    """Train, evaluate, save and log.

    Args:
        work: model, files and arguments.
        output: folder for the trainer and the model.

    Returns:
        The seconds of the parts.
    """
    marks = [_BEGAN, time.perf_counter()]
    trainer = build_trainer(work, output)
    marks.append(time.perf_counter())
    trainer.train()
    marks.append(time.perf_counter())
    if trainer.is_world_process_zero():
        if work["peft"]:
            trainer.model[0].model = trainer.model[0].model.merge_and_unload()
        trainer.model.save_pretrained(str(output / "model"))
        marks.append(time.perf_counter())
        if work["arguments"]["report_to"] == "mlflow":
            log_model(trainer.model, work["example"])
        marks.append(time.perf_counter())
    names = ("imports", "start", "train", "save", "log model")
    # Another process than the first has fewer marks.
    return {name: after - before for name, before, after in zip(names, marks, marks[1:], strict=False)}


def build_trainer(work: dict[str, Any], output: Path) -> Any:
    """Load model and data and put them into the trainer."""
    arguments = SentenceTransformerTrainingArguments(output_dir=str(output / "trainer"), **work["arguments"])
    model = SentenceTransformer(work["model"], device=str(arguments.device))
    model.max_seq_length = work["max_seq_length"]
    if work["peft"]:
        from peft import get_peft_config, get_peft_model  # as a script does that has an adapter

        set_seed(arguments.seed)
        model[0].model = get_peft_model(model[0].model, get_peft_config({**work["peft"]}))
    return SentenceTransformerTrainer(
        model=model,
        args=arguments,
        train_dataset=_pairs(work["train"]),
        loss=MultipleNegativesRankingLoss(model),
        evaluator=evaluator_of(_pairs(work["evaluation"]).select(range(work["evaluation_rows"]))),
    )


def _pairs(file: str) -> Dataset:
    return load_dataset("parquet", data_files=file, split="train").select_columns(["query", "docstring"])


def evaluator_of(rows: Dataset) -> InformationRetrievalEvaluator:
    """Let each query look for its docstring among all."""
    numbers = {text: str(number) for number, text in enumerate(rows["docstring"])}
    return InformationRetrievalEvaluator(
        queries={query: query for query in rows["query"]},
        corpus={number: text for text, number in numbers.items()},
        relevant_docs={row["query"]: {numbers[row["docstring"]]} for row in rows},
        name="docs",
        write_csv=False,
    )


def log_model(model: SentenceTransformer, example: list[str]) -> None:
    """Log the model in the run of the trainer's callback, which that one has ended."""
    run = mlflow.last_active_run()
    with mlflow.start_run(run_id=run.info.run_id):
        mlflow.sentence_transformers.log_model(
            model,
            name="model",
            signature=mlflow.models.infer_signature(example, model.encode(example, show_progress_bar=False)),
            input_example=example,
            pip_requirements=[f"{name}=={version(name).partition('+')[0]}" for name in _REQUIRED],
        )


if __name__ == "__main__":
    seconds = main(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
    if "log model" in seconds:
        Path(sys.argv[2], "seconds.json").write_text(json.dumps(seconds))
