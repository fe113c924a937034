"""Where the library's loop stands between two steps: what its own checkpoints leave out, on each rank.

Without it the first loss that is logged after a checkpoint would be of fewer steps than the others, and an evaluation
that was cut, or due at the end of an epoch, would be missing.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import torch

from embedstep.output.result import read_json, write_json
from embedstep.worker.trainer import loss_parameters

_FORMAT = "embedstep.loop/1"


@dataclass(frozen=True, kw_only=True, slots=True)
class LoopState:
    """What is carried from one step to the next.

    Attributes:
        loss: sum of this rank's losses since the last log.
        total_loss: sum of the losses before, over the ranks' mean.
        summed_from: train step from which on losses are in these sums.
        logged: train step of the last log.
        grad_norm: norm of the gradients of the last step, as it is logged.
        learning_rate: learning rate of the last step, as it is logged.
        evaluate: an evaluation is due after this step.
        save: a checkpoint of the request's own is due after this step.
        end_epoch: what is due at the end of the epoch is still to be done.
        numbers: what is known of this rank's numbers (`NumericsMonitor.found`); None where nobody looks.
    """

    loss: float
    total_loss: float
    summed_from: int
    logged: int
    grad_norm: float | None
    learning_rate: float | None
    evaluate: bool
    save: bool
    end_epoch: bool
    numbers: Mapping[str, Any] | None = None

    def write(self, checkpoint: Path, rank: int) -> None:
        """Keep it with a checkpoint."""
        values = {name: str(value) if _is_no_number(value) else value for name, value in asdict(self).items()}
        write_json(_file(checkpoint, rank), {"format": _FORMAT, **values})


def loop_state_of(checkpoint: Path, rank: int) -> LoopState | None:
    """Return that of a checkpoint; one that another program wrote has none.

    A rank that there was not when it was written has the first one's, less its losses.
    """
    own = _file(checkpoint, rank)
    file = own if own.exists() else _file(checkpoint, 0)
    if not file.exists() or (found := read_json(file)).pop("format") != _FORMAT:
        return None
    norm = found.pop("grad_norm")
    loss = float(found.pop("loss")) if own.exists() else 0.0
    total = float(found.pop("total_loss"))
    return LoopState(**found, loss=loss, total_loss=total, grad_norm=None if norm is None else float(norm))


def share_states(checkpoint: Path, rank: int, *, writes: bool) -> None:
    """Leave the states of all ranks in the checkpoint of each node: those of its own ranks are there already.

    Args:
        checkpoint: the folder.
        rank: of this process.
        writes: whether this process writes for its node.
    """
    own = [checkpoint / f"rng_state_{rank}.pth", _file(checkpoint, rank), loss_parameters.file_of(checkpoint, rank)]
    found: list[dict[str, bytes]] = [{}] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(found, {file.name: file.read_bytes() for file in own if file.exists()})
    for name, content in (item for states in found for item in states.items() if writes):
        if not (checkpoint / name).exists():
            (checkpoint / name).write_bytes(content)


def _is_no_number(value: object) -> bool:
    """Whether it is a float that JSON has no word for: the norm of a step that half precision has skipped is."""
    return isinstance(value, float) and not isfinite(value)


def _file(checkpoint: Path, rank: int) -> Path:
    return checkpoint / f"embedstep_loop_{rank}.json"
