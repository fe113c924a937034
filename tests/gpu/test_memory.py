"""The memory of a GPU: less of it by gradient checkpointing, a smaller batch where it ends, and how a run then ends."""

from collections.abc import Callable

import pytest

from tests.gpu.conftest import Measure, losses
from tests.gpu.needs import GPU

pytestmark = GPU
LITTLE = 1.2e9
"""Bytes that hold the deep model and what its optimizer keeps five times, and a batch of 64 long texts not once."""


def test_gradient_checkpointing_takes_less_memory_for_the_same_losses(measure: Measure) -> None:
    plain, most = measure()
    recomputed, less = measure(gradient_checkpointing=True)
    assert losses(recomputed) == pytest.approx(losses(plain), rel=5e-3)
    assert less < 0.6 * most


def test_half_precision_takes_less_memory(measure: Measure) -> None:
    _, most = measure()
    _, less = measure(bf16=True)
    assert less < 0.8 * most


def test_auto_find_batch_size_finds_one_that_fits(measure: Measure, limit_memory: Callable[[float], None]) -> None:
    """An optimizer's moments are made after the first step, in which alone the size is reduced; plain SGD has none."""
    limit_memory(LITTLE)
    seen, _ = measure(auto_find_batch_size=True, optim="sgd")
    found = seen.trainer.batch_size_found
    assert 1 <= found < 64
    assert seen.batches == [found, found]
    (entry,) = (entry for entry in seen.result.ledger if entry["name"] == "auto_find_batch_size")
    assert entry["effect"] == f"{found} rows fit"


def test_a_gpu_without_enough_memory_ends_a_run_with_code_4(
    measure: Measure, limit_memory: Callable[[float], None]
) -> None:
    limit_memory(LITTLE)
    seen, _ = measure(expect=4)
    assert seen.result.failure is not None
    assert seen.result.failure.kind == "OutOfMemoryError"
