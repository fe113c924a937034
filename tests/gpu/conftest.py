"""Trainings on one GPU, in this process, with what they leave: `prove` is that of tests/effects."""

import gc
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from embedstep.runtime.devices import listed_gpus
from tests.conftest import ACTIONS, TOPICS
from tests.effects.conftest import Proof, Train, prove
from tests.gpu.needs import GPUS

__all__ = ["prove"]

Measure = Callable[..., tuple[Proof, int]]
_WITHOUT_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
"""Masks of dropout differ between precisions and kernels, and would hide what the two do to the loss."""


@pytest.fixture(autouse=True)
def _one_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let CUDA see one GPU, as a launcher does for one process, and leave the memory of a test to the next."""
    import torch

    first, *_ = listed_gpus(os.environ, GPUS)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", first)
    yield
    gc.collect()
    torch.cuda.empty_cache()


@pytest.fixture
def plain_model(tiny_model: Path) -> Callable[..., dict[str, Any]]:
    """Return the section of the small model without dropout; keyword arguments are further fields."""
    return lambda **fields: {"path": str(tiny_model), "config_kwargs": _WITHOUT_DROPOUT, **fields}


@pytest.fixture(scope="session")
def deep_model(minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of 14 million parameters: a batch of long texts takes several times the memory of the weights."""
    from tests.random_bert import save_bert  # torch takes seconds to import

    size = {"layers": 8, "width": 256, "heads": 4, "feed_forward": 4, "tokens": 128}
    return save_bert(tmp_path_factory.mktemp("deep"), minilm, **size)


@pytest.fixture(scope="session")
def long_texts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A data section with 256 pairs of 120 words."""
    rows = [{"anchor": _long(number, 3), "positive": _long(number, 5)} for number in range(256)]
    file = tmp_path_factory.mktemp("long") / "long.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"train": {"docs": {"path": str(file), "columns": {"anchor": "anchor", "positive": "positive"}}}}


def _long(number: int, shift: int) -> str:
    words = (*ACTIONS, *TOPICS)
    return " ".join(words[(number * shift + place) % len(words)] for place in range(119)) + f" {number}"


@pytest.fixture
def measure(prove: Train, deep_model: Path, long_texts: dict[str, Any]) -> Measure:
    """Train the deep model on batches of 64 long texts, and return the bytes that were added at the peak, too."""
    import torch

    def run(**given: Any) -> tuple[Proof, int]:
        arguments = {"per_device_train_batch_size": 64, "max_steps": 2, "logging_steps": 1, **given}
        sections = {"model": {"path": str(deep_model), "config_kwargs": _WITHOUT_DROPOUT}, "data": long_texts}
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        seen = prove(**arguments, sections=sections)
        return seen, torch.cuda.max_memory_allocated() - before

    return run


@pytest.fixture
def limit_memory() -> Iterator[Callable[[float], None]]:
    """Return the function that leaves so many bytes of the GPU to this process, as a smaller GPU would."""
    import torch

    def limit(size: float) -> None:
        gc.collect()
        torch.cuda.empty_cache()
        _, total = torch.cuda.mem_get_info()
        torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + size) / total)

    yield limit
    torch.cuda.set_per_process_memory_fraction(1.0)


def losses(seen: Proof) -> list[float]:
    """The loss at each step of a training that logs every one."""
    return [log["loss"] for log in seen.logs if "loss" in log]
