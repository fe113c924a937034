"""Layers that a loss trains for itself, as the head of softmax: the library's checkpoints have the model only.

Each rank trains its own, because only the model is synchronised; so what its optimizer keeps for them is its own, too,
and the library saves that of the first rank.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

Losses: TypeAlias = nn.Module | Mapping[str, nn.Module]


def save_own_layers(losses: Losses, model: nn.Module, optimizer: Any, checkpoint: Path, rank: int) -> None:
    """Keep them with a checkpoint.

    Args:
        losses: the loss, or one for each dataset.
        model: the model, whose tensors are none of them.
        optimizer: torch's, or what accelerate makes of it.
        checkpoint: folder of the checkpoint.
        rank: of this process.
    """
    if own := _own_layers(losses, model):
        tensors = own | _moments(own, optimizer)
        save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, file_of(checkpoint, rank))


def load_own_layers(losses: Losses, model: nn.Module, optimizer: Any, checkpoint: Path, rank: int) -> None:
    """Set them to what a checkpoint holds; one of another program's has none, and they begin anew.

    Args:
        losses: as above.
        model: as above.
        optimizer: as above, with the state of the first rank.
        checkpoint: folder of the checkpoint.
        rank: of this process; one that there was not when it was written has the first one's.
    """
    own, file = _own_layers(losses, model), file_of(checkpoint, rank)
    file = file if file.exists() else file_of(checkpoint, 0)
    if not own or not file.exists():
        return
    known = own | _moments(own, optimizer)
    with torch.no_grad():
        for name, tensor in load_file(file).items():
            if name in known:  # an optimizer that goes no further has no state
                known[name].copy_(tensor)


def file_of(checkpoint: Path, rank: int) -> Path:
    """Return where a rank's are, whether they are there or not."""
    return checkpoint / f"embedstep_loss_{rank}.safetensors"


def _moments(own: Mapping[str, Tensor], optimizer: Any) -> dict[str, Tensor]:
    """Return the tensors that an optimizer keeps for these, by names of their own."""
    return {
        f"{name}, {kept}": value
        for name, tensor in own.items()
        for kept, value in optimizer.state.get(tensor, {}).items()
        if isinstance(value, Tensor)
    }


def _own_layers(losses: Losses, model: nn.Module) -> dict[str, Tensor]:
    of_model = {id(tensor) for tensor in model.state_dict(keep_vars=True).values()}
    module = losses if isinstance(losses, nn.Module) else nn.ModuleDict(dict(losses))
    return {name: tensor for name, tensor in module.state_dict(keep_vars=True).items() if id(tensor) not in of_model}
