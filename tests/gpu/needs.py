"""What the tests here need of a machine; the reason why one is skipped says what is missing."""

import os
from importlib.util import find_spec

import pytest

from embedstep.runtime.devices import visible_gpus


def _missing() -> str:
    """Return why nothing can be trained on a GPU, without a call of CUDA, which would read its variables now."""
    if not visible_gpus(os.environ):
        return "no GPU is visible"
    import torch

    return "" if torch.version.cuda else f"torch {torch.__version__} is not built for CUDA"


GPUS = visible_gpus(os.environ)
MISSING = _missing()
GPU = [
    pytest.mark.gpu,
    pytest.mark.skipif(bool(MISSING), reason=MISSING),
    # Which warnings the drivers and kernels of a machine give says nothing about this package.
    pytest.mark.filterwarnings("default"),
]
"""Marks of every test here."""


def package(name: str) -> pytest.MarkDecorator:
    """Skip a test where a package is not installed."""
    return _needs(find_spec(name) is None, f"{name} is not installed")


def _needs(is_missing: bool, reason: str) -> pytest.MarkDecorator:
    """Skip a test for a reason of its own, unless there is no GPU at all."""
    return pytest.mark.skipif(is_missing and not MISSING, reason=reason)


TWO_GPUS = _needs(GPUS < 2, "needs two GPUs, and one is visible")
