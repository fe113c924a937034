"""Training from token ids that are kept, against sentence-transformers' own trainer, which tokenizes in each epoch.

Both sides train the same model on the same pairs with the same arguments, each in a process of its own: ours with the
variables that the launcher gives to a worker, the other with those of a script. What both do alike before (reading the
pairs, loading the model) and after (saving) is left out.
"""

import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml

from embedstep.launch.attempt import this_machine
from embedstep.launch.torchrun import build_launch_command
from embedstep.request.model import Model
from tests.benchmarks.commands import environment, timed
from tests.benchmarks.harness import Record, measure, medians
from tests.benchmarks.material import material

COLUMNS = ("query", "docstring")
BOUNDS, AGAIN = {3: 0.38, 10: 0.35}, 0.34
OF_THE_DEMO = ("per_device_train_batch_size", "learning_rate", "optim")
STATIC_REQUEST = Path("pipelines/requests/docstrings_static.yaml")
TRANSFORMER = {"per_device_train_batch_size": 32, "learning_rate": 2e-5, "optim": "adamw_torch"}
_ROWS = 256
_FEW_ROWS = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """What both sides do.

    Attributes:
        model: fields of the request's section `model`.
        pairs: Arrow file of the pairs.
        arguments: of the trainer.
    """

    model: Mapping[str, Any]
    pairs: str
    arguments: Mapping[str, Any]


def tokenize_once_3(quick: bool) -> Record:
    """Compare a static embedding over three epochs."""
    return _static(3, quick)


def tokenize_once_3_again(quick: bool) -> Record:
    """Compare a second run over three epochs, with the token ids of the first."""
    return _static(3, quick, again=True)


def tokenize_once_10(quick: bool) -> Record:
    """Compare a static embedding over ten epochs."""
    return _static(10, quick)


def tokenize_once_minilm(quick: bool) -> Record:
    """Compare MiniLM with 128 tokens over one epoch."""
    model = {"path": str(material(quick).model), "max_seq_length": 128}
    arguments = {**TRANSFORMER, "num_train_epochs": 1}
    return _compared("tokenize_once_minilm", model, arguments, 1.03, quick, _FEW_ROWS if quick else _ROWS)


def _static(epochs: int, quick: bool, *, again: bool = False) -> Record:
    model = {"static": str(material(quick).model), "initial_vectors": "word_embeddings"}
    of_the_demo = yaml.safe_load(STATIC_REQUEST.read_text())["arguments"]
    arguments = {name: of_the_demo[name] for name in OF_THE_DEMO} | {"num_train_epochs": epochs}
    arguments["learning_rate"] = float(arguments["learning_rate"])
    rows = _FEW_ROWS if quick else None
    name = f"tokenize_once_{epochs}" + "_again" * again
    return _compared(name, model, arguments, AGAIN if again else BOUNDS[epochs], quick, rows, again=again)


def _compared(
    name: str,
    model: Mapping[str, Any],
    arguments: Mapping[str, Any],
    bound: float,
    quick: bool,
    rows: int | None,
    *,
    again: bool = False,
) -> Record:
    from embedstep.data.writing import arrow_file

    with tempfile.TemporaryDirectory(prefix="embedstep-bench-") as folder:
        path = Path(folder) / "pairs.arrow"
        table = pq.read_table(material(quick).train, columns=list(COLUMNS)).slice(0, rows)
        with arrow_file(path, table.schema) as write:
            for batch in table.to_batches():
                write(batch)
        work = Path(folder) / "work.json"
        work.write_text(json.dumps(asdict(Work(model=model, pairs=str(path), arguments=arguments))))
        found: dict[str, list[dict[str, Any]]] = {"ours": [], "plain": []}

        def run(side: str, env: Mapping[str, str]) -> float:
            for file in () if again else path.parent.glob("pairs.*.*"):  # the ids of the repeat before
                file.unlink()
            timed((sys.executable, "-m", __name__, side, str(work)), env=env, folder=Path(folder))
            found[side].append(json.loads(work.with_suffix(f".{side}").read_text()))
            return float(found[side][-1]["training"])

        as_script = environment(PYTHONPATH=str(Path.cwd()), TQDM_DISABLE="1")
        as_worker = build_launch_command(
            (),
            report_to=folder,
            processes=1,
            on_cpu=True,
            devices=this_machine(),
            python=sys.executable,
            environ=as_script,
        ).env
        if again:
            run("ours", as_worker)
            found["ours"].clear()
        epochs = arguments["num_train_epochs"]
        record = measure(
            name,
            f"training from kept token ids / sentence-transformers' trainer, {epochs} epochs of {table.num_rows} pairs",
            lambda: run("ours", as_worker),
            lambda: run("plain", as_script),
            bound,
            1 if quick else 3,
        )
        weights = {repeat.pop("weights") for repeats in found.values() for repeat in repeats}
        parts = {f"{side}: {part}": took for side in found for part, took in medians(found[side]).items()}
        return replace(record, parts={**parts, "same weights": float(len(weights) == 1)})


def main(side: str, given: Path) -> None:
    """Train as one side does, and write down what took how many seconds and a digest of the weights."""
    import torch
    from datasets import Dataset
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    from embedstep.data.tokens import TokenIds
    from embedstep.worker.models import build_model
    from embedstep.worker.trainer.numerics import NumericsMonitor
    from embedstep.worker.trainer.stopping import StopController
    from embedstep.worker.trainer.tokens import tokenizing_of
    from embedstep.worker.trainer.trainer import StepTrainer

    work = Work(**json.loads(given.read_text()))
    model = Model.model_validate(work.model)
    torch.manual_seed(7)
    built = build_model(model, fetched=None, device="cpu")
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(given.parent), save_strategy="no", report_to=[], disable_tqdm=True, use_cpu=True,
        dataloader_pin_memory=False, warmup_steps=0.1, logging_strategy="no", **work.arguments,
    )  # fmt: skip
    options = {
        "model": built, "args": arguments, "train_dataset": Dataset.from_file(work.pairs),
        "loss": MultipleNegativesRankingLoss(built),
    }  # fmt: skip
    if side == "ours":
        how = tokenizing_of(built)
        assert how is not None, "a tokenizer in a file"
        rows = len(options["train_dataset"])
        ids = {column: TokenIds(Path(work.pairs), rows, column, how, None) for column in COLUMNS}
        stopping, monitor = StopController(), NumericsMonitor(lambda alarm, step: None)
        trainer = StepTrainer(
            save_safetensors=True, stopping=stopping, monitor=monitor, tokens={work.pairs: ids}, **options
        )
    else:
        trainer = SentenceTransformerTrainer(**options)
    started = time.perf_counter()
    trainer.train()
    seconds = {"training": time.perf_counter() - started}
    digest = hashlib.sha256(b"".join(weight.detach().numpy().tobytes() for weight in built.parameters())).hexdigest()
    given.with_suffix(f".{side}").write_text(json.dumps({**seconds, "weights": digest}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
