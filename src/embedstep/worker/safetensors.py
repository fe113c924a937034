"""Weights as files: as torch's own where somebody still reads only those, and on the first rank of each node."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import load_file


def rewrite_as_bin(folder: Path) -> None:
    """Replace each `model.safetensors` under `folder` by a `pytorch_model.bin` (`save_safetensors: false`).

    The installed transformers writes safetensors alone, and reads both.
    """
    for file in sorted(folder.rglob("model.safetensors")):
        torch.save(load_file(file), file.with_name("pytorch_model.bin"))
        file.unlink()


@contextmanager
def writing_here(model: torch.nn.Module) -> Iterator[None]:
    """Let this rank write the weights of transformers' models: alone they do so on the first rank of all nodes only."""
    models = [module for module in model.modules() if hasattr(module, "should_save_on_this_rank")]
    for module in models:
        module.should_save_on_this_rank = lambda is_main_process: is_main_process
    try:
        yield
    finally:
        for module in models:
            del module.should_save_on_this_rank
