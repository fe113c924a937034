"""The libraries alone, with each argument that embedstep carries out itself: they ignore it, or break on it.

These are demonstrations of why there is code for it. When one fails, a release of the libraries has repaired that
argument, and our code for it can go.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer import losses
from torch.utils.data import DataLoader

from embedstep.request.arguments.table import CONTRACT
from tests.conftest import pair_rows

pytestmark = pytest.mark.baseline
Alone = Callable[..., "Noted"]


class Noted(SentenceTransformerTrainer):  # type: ignore[misc]
    """The library's trainer, which notes its batches."""

    largest_batch = 10_000

    def compute_loss(self, model: Any, inputs: Any, *arguments: Any, **options: Any) -> Any:
        """Note the texts of a training batch and the columns, and run out of memory above the largest batch."""
        if self.model.training:
            self.batches.append(inputs["anchor_input_ids"].tolist())
            self.columns = sorted(name.removesuffix("_input_ids") for name in inputs if name.endswith("_input_ids"))
            if len(self.batches[-1]) > self.largest_batch:
                raise RuntimeError("CUDA out of memory. Tried to allocate more than there is")
        return super().compute_loss(model, inputs, *arguments, **options)

    def _build_dataloader(self, *arguments: Any, **options: Any) -> DataLoader[Any]:
        self.loader = super()._build_dataloader(*arguments, **options)
        return self.loader


@pytest.fixture
def alone(tiny_model: Path, tmp_path: Path) -> Alone:
    """Build the library's own trainer, with 64 rows for training and for evaluation."""

    def build(*, columns: tuple[str, ...] = ("anchor", "positive"), loss: Any = None, **given: Any) -> Noted:
        values = {"max_steps": 4, "save_strategy": "no", "logging_steps": 1, "report_to": "none", "disable_tqdm": True}
        arguments = SentenceTransformerTrainingArguments(
            output_dir=str(tmp_path / "library"), use_cpu=True, **{**values, **given}
        )
        model = SentenceTransformer(str(tiny_model), device="cpu")
        rows = Dataset.from_list([{name: row.get(name, row["class"]) for name in columns} for row in pair_rows(64)])
        loss = loss or losses.MultipleNegativesRankingLoss
        trainer = Noted(model=model, args=arguments, train_dataset=rows, eval_dataset=rows, loss=loss(model))
        trainer.batches = []
        return trainer

    return build


def batches_of(trainer: Noted) -> list[Any]:
    """Train, and return the token ids of the anchors in each batch."""
    trainer.train()
    return list(trainer.batches)


def test_auto_find_batch_size(alone: Alone) -> None:
    trainer = alone(auto_find_batch_size=True)
    trainer.largest_batch = 5
    with pytest.raises(RuntimeError, match="No executable batch size found"):
        trainer.train()
    assert {len(batch) for batch in trainer.batches} == {8}


def test_data_seed(alone: Alone) -> None:
    """Only the default sampler on a single dataset reads it."""
    given = {"batch_sampler": "no_duplicates"}
    assert batches_of(alone(data_seed=7, **given)) == batches_of(alone(**given))


def test_batch_sampler() -> None:
    """With few answers an epoch of no_duplicates trains on rows twice, and leaves others out."""
    from sentence_transformers.base.sampler import NoDuplicatesBatchSampler

    rows = Dataset.from_list([{"anchor": f"q {row}", "positive": f"a {row * row % 13}"} for row in range(200)])
    sampler = NoDuplicatesBatchSampler(rows, batch_size=6, drop_last=True, generator=torch.Generator(), seed=0)
    seen = [row for batch in sampler for row in batch]
    assert len(set(seen)) < len(seen)


def test_train_sampling_strategy(alone: Alone) -> None:
    assert batches_of(alone(train_sampling_strategy="sequential")) == batches_of(alone())


def test_length_column_name(alone: Alone) -> None:
    """A column that is not there is not missed."""
    grouped = alone(train_sampling_strategy="group_by_length", length_column_name="bogus")
    assert batches_of(grouped) == batches_of(alone())


def test_remove_unused_columns(alone: Alone) -> None:
    """A column of texts that nobody has named is trained on."""
    trainer = alone(remove_unused_columns=True, columns=("anchor", "positive", "negative"))
    batches_of(trainer)
    assert trainer.columns == ["anchor", "negative", "positive"]


def test_dataloader_multiprocessing_context(alone: Alone) -> None:
    trainer = alone(dataloader_multiprocessing_context="forkserver", dataloader_num_workers=1)
    trainer.get_train_dataloader()
    assert trainer.loader.multiprocessing_context is None


def test_dataloader_in_order(alone: Alone) -> None:
    trainer = alone(dataloader_in_order=False, dataloader_num_workers=1)
    trainer.get_train_dataloader()
    assert trainer.loader.in_order is True


def test_label_smoothing_factor(alone: Alone) -> None:
    def loss(model: SentenceTransformer) -> torch.nn.Module:
        torch.manual_seed(0)
        return losses.SoftmaxLoss(model, 32, num_labels=2)

    data = {"columns": ("anchor", "positive", "label"), "loss": loss}
    assert alone(label_smoothing_factor=0.5, **data).train().training_loss == alone(**data).train().training_loss


def test_neftune_noise_alpha(alone: Alone) -> None:
    with pytest.raises(AttributeError, match="get_input_embeddings"):
        alone(neftune_noise_alpha=5.0).train()


@pytest.mark.parametrize("name", ["bf16_full_eval", "fp16_full_eval"])
def test_full_eval(alone: Alone, name: str) -> None:
    """While it trains nothing happens; afterwards the model has lost half of its digits for good."""
    trainer = alone(**{name: True}, eval_strategy="steps", eval_steps=4)
    trainer.train()
    half = trainer.state.log_history
    assert [log["eval_loss"] for log in half if "eval_loss" in log] == [evaluated(alone())]
    trainer.evaluate()
    assert {tensor.dtype for tensor in trainer.model.parameters()} != {torch.float32}


def evaluated(trainer: Noted) -> float:
    """Train with an evaluation after the last step, in full precision, and return its loss."""
    trainer.train()
    return float(trainer.evaluate()["eval_loss"])


def test_do_train(alone: Alone) -> None:
    assert len(batches_of(alone(do_train=False))) == 4


@pytest.mark.parametrize("name", ["do_eval", "do_predict"])
def test_do_eval_and_do_predict(alone: Alone, name: str) -> None:
    trainer = alone(**{name: True})
    trainer.train()
    assert not [log for log in trainer.state.log_history if {"eval_loss", "test_loss"} & log.keys()]


def test_resume_from_checkpoint(alone: Alone) -> None:
    assert len(batches_of(alone(resume_from_checkpoint="/no/such/checkpoint"))) == 4


def test_save_on_each_node(alone: Alone, monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers writes weights on the first of all ranks, whichever is asked; test_nodes.py has two nodes."""
    import transformers.distributed.mixin as library

    trainer = alone(save_on_each_node=True)
    monkeypatch.setattr(library, "_is_torch_distributed_initialized", lambda: True)
    monkeypatch.setattr(library, "_get_torch_distributed_rank", lambda: 1)
    assert trainer.args.should_save
    assert not trainer.model[0].model.should_save_on_this_rank(True)


@pytest.mark.filterwarnings("ignore")
def test_include_num_input_tokens_seen(alone: Alone) -> None:
    trainer = alone(include_num_input_tokens_seen="all")
    trainer.train()
    assert trainer.state.num_input_tokens_seen == 0


@pytest.mark.parametrize(
    "given",
    [
        {"overwrite_output_dir": True},
        {"save_safetensors": False},
        {"group_by_length": True},
        {"include_tokens_per_second": True},
    ],
    ids=lambda given: next(iter(given)),
)
def test_a_name_that_is_gone(given: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=f"unexpected keyword argument '{next(iter(given))}'"):
        SentenceTransformerTrainingArguments(output_dir="unused", **given)


def test_there_is_a_demonstration_for_each_implemented_argument() -> None:
    shown = Path(__file__).read_text(encoding="utf-8")
    missing = [name for name, row in CONTRACT.items() if row.support == "implemented" and name not in shown]
    assert missing == []
