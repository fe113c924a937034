"""Weights as torch's own files instead of safetensors, for what still reads only those (`save_safetensors: false`)."""

from pathlib import Path

import torch
from safetensors.torch import load_file


def rewrite_as_bin(folder: Path) -> None:
    """Replace each `model.safetensors` under `folder` by a `pytorch_model.bin` with the same tensors.

    The installed transformers writes safetensors alone, and reads both.
    """
    for file in sorted(folder.rglob("model.safetensors")):
        torch.save(load_file(file), file.with_name("pytorch_model.bin"))
        file.unlink()
