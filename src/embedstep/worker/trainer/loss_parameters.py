"""Parameters of a loss, such as the classifier of softmax: the library's checkpoints hold only those of the model.

Each rank trains its own, because only the model is synchronized. Their optimizer state differs between ranks too, and
the library saves that of rank 0.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

Losses: TypeAlias = nn.Module | Mapping[str, nn.Module]


def save_loss_parameters(losses: Losses, model: nn.Module, optimizer: Any, checkpoint: Path, rank: int) -> None:
    """Write the loss's parameters and their optimizer state into a checkpoint, if it has any.

    Args:
        losses: the loss, or one for each dataset.
        model: the model; its tensors are excluded, since every loss holds the model.
        optimizer: torch's, or accelerate's wrapper of it.
        checkpoint: folder of the checkpoint.
        rank: rank of this process.
    """
    if own := _loss_tensors(losses, model):
        tensors = own | _optimizer_state(own, optimizer)
        save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, loss_file(checkpoint, rank))


def load_loss_parameters(losses: Losses, model: nn.Module, optimizer: Any, checkpoint: Path, rank: int) -> None:
    """Restore the loss's parameters from a checkpoint; they keep their initial values if it holds none.

    Args:
        losses: the loss, or one for each dataset.
        model: the model.
        optimizer: the optimizer, already with the state of rank 0.
        checkpoint: folder of the checkpoint.
        rank: rank of this process; one missing from the checkpoint uses rank 0's.
    """
    own, file = _loss_tensors(losses, model), loss_file(checkpoint, rank)
    file = file if file.exists() else loss_file(checkpoint, 0)
    if not own or not file.exists():
        return
    known = own | _optimizer_state(own, optimizer)
    with torch.no_grad():
        for name, tensor in load_file(file).items():
            if name in known:  # after the last step the optimizer has no state
                known[name].copy_(tensor)


def loss_file(checkpoint: Path, rank: int) -> Path:
    """Return the file of a rank, whether it exists or not."""
    return checkpoint / f"embedstep_loss_{rank}.safetensors"


def _optimizer_state(own: Mapping[str, Tensor], optimizer: Any) -> dict[str, Tensor]:
    """Return the tensors that an optimizer keeps for these parameters, as `<parameter>, <state>`."""
    return {
        f"{name}, {kept}": value
        for name, tensor in own.items()
        for kept, value in optimizer.state.get(tensor, {}).items()
        if isinstance(value, Tensor)
    }


def _loss_tensors(losses: Losses, model: nn.Module) -> dict[str, Tensor]:
    """Return parameters and buffers of the losses that are not the model's.

    Of tied ones, such as the bias of a decoder, only the first is returned: safetensors takes no tensors that share
    memory.
    """
    seen = {id(tensor) for tensor in model.state_dict(keep_vars=True).values()}
    module = losses if isinstance(losses, nn.Module) else nn.ModuleDict(dict(losses))
    found = {}
    for name, tensor in module.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            found[name] = tensor
    return found
