"""State of the training loop between two steps that the library's checkpoints leave out, one file per rank.

Without it, the first loss logged after resuming would cover fewer steps than the others, and an evaluation that was
interrupted, or due at the end of an epoch, would be missing.
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
    """What the loop carries from one step to the next. The names are keys of the file.

    Attributes:
        loss: sum of this rank's losses since the last log.
        total_loss: sum of the earlier losses, each the mean of the ranks.
        summed_from: train step after which losses are in these sums.
        logged: train step of the last log.
        grad_norm: gradient norm of the last step, as logged.
        learning_rate: learning rate of the last step, as logged.
        evaluate: an evaluation is due after this step.
        save: a checkpoint by `save_strategy` is due after this step.
        end_epoch: the actions of the end of the epoch are still due.
        without_gain: evaluations in a row without a gain, for `early_stopping`.
        numbers: `NumericsMonitor.state` of this rank; None in a checkpoint that has none.
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
    without_gain: int = 0
    numbers: Mapping[str, Any] | None = None

    def write(self, checkpoint: Path, rank: int) -> None:
        """Write it into the folder of a checkpoint."""
        values = {name: str(value) if _is_not_finite(value) else value for name, value in asdict(self).items()}
        write_json(_file(checkpoint, rank), {"format": _FORMAT, **values})


def read_loop_state(checkpoint: Path, rank: int) -> LoopState | None:
    """Return the state in a checkpoint, or None if another program wrote the checkpoint.

    Ranks missing from the checkpoint use rank 0's state, with the loss sum reset.
    """
    own = _file(checkpoint, rank)
    file = own if own.exists() else _file(checkpoint, 0)
    if not file.exists() or (found := read_json(file)).pop("format") != _FORMAT:
        return None
    norm, loss, total = (found.pop(name) for name in ("grad_norm", "loss", "total_loss"))
    return LoopState(
        **found,
        loss=float(loss) if own.exists() else 0.0,
        total_loss=float(total),
        grad_norm=None if norm is None else float(norm),
    )


def exchange_states(checkpoint: Path, rank: int, *, writes: bool) -> None:
    """Write the states of all ranks into the checkpoint of every node, so that any node's disk is enough to resume.

    Args:
        checkpoint: folder of the checkpoint, with the states of this node's ranks.
        rank: rank of this process.
        writes: whether this process writes for its node.
    """
    own = [checkpoint / f"rng_state_{rank}.pth", _file(checkpoint, rank), loss_parameters.loss_file(checkpoint, rank)]
    found: list[dict[str, bytes]] = [{}] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(found, {file.name: file.read_bytes() for file in own if file.exists()})
    for name, content in (item for states in found for item in states.items() if writes):
        if not (checkpoint / name).exists():
            (checkpoint / name).write_bytes(content)


def _is_not_finite(value: object) -> bool:
    """Whether JSON cannot hold a value, such as the norm of a step that half precision has skipped."""
    return isinstance(value, float) and not isfinite(value)


def _file(checkpoint: Path, rank: int) -> Path:
    return checkpoint / f"embedstep_loop_{rank}.json"
