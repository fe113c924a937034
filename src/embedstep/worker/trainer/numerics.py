"""Alarms of a training that diverges: a loss that is not finite, zero or exploding gradients, collapsed embeddings."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from transformers import TrainerCallback

from embedstep.request.launch import Alarm

_ZERO_LOGS = 3
_EXPLOSION = 100.0
"""Ratio to the median of the norms logged before."""
_MIN_NORMS = 5
"""Logged norms that a median needs."""
_COLLAPSE_DISTANCE = 0.03
"""Largest distance of unit vectors from their mean at which a batch has collapsed."""
ALARM_MESSAGES: Mapping[Alarm, str] = {
    "not_finite": "the loss or the gradient norm is not a finite number; check the learning rate, the data and half "
    "precision",
    "zero_gradients": f"the gradients were zero in {_ZERO_LOGS} logs; are all parameters frozen, or is the loss 0?",
    "exploding_gradients": f"the gradient norm is more than {_EXPLOSION:g} times its median; check the learning rate "
    "and max_grad_norm",
    "collapse": "all embeddings of a batch are the same; the model no longer distinguishes texts",
}


class _LastEmbeddings:
    """A forward hook that keeps the embeddings of the last training batch."""

    def __init__(self) -> None:
        self.embeddings: torch.Tensor | None = None

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def __call__(self, model: SentenceTransformer, _: Any, output: Any) -> None:
        """Keep them, shape (rows, dimension)."""
        if model.training and isinstance(output, dict) and "sentence_embedding" in output:
            self.embeddings = output["sentence_embedding"].detach()

    def __reduce__(self) -> tuple[type, tuple[()]]:
        """Drop the tensor when the model is pickled for a spawned loader worker."""
        return _LastEmbeddings, ()


class NumericsMonitor(TrainerCallback):  # type: ignore[misc]
    """Checks losses, gradient norms and embeddings of this rank at each log and before each checkpoint.

    Attributes:
        alarms: alarms with the train step of their first occurrence.
        step_was_skipped: whether the optimizer skipped the last step, as it does when half precision overflows.
    """

    def __init__(self, report: Callable[[Alarm, int], None]) -> None:
        """Start without alarms.

        Args:
            report: called once for each alarm, with its train step.
        """
        self.alarms: dict[Alarm, int] = {}
        self._report = report
        self._not_finite: torch.Tensor | None = None
        self._loss_sum: torch.Tensor | None = None
        self._steps = 0
        self._last = _LastEmbeddings()
        self._zeros = 0
        self.step_was_skipped = False
        self._norms: deque[float] = deque(maxlen=100)

    @property
    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps of it."""
        return {"alarms": self.alarms, "zeros": self._zeros, "norms": list(self._norms)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from the state in a checkpoint; its alarms are not reported again."""
        self.alarms.update(state["alarms"])
        self._zeros = state["zeros"]
        self._norms.extend(state["norms"])

    def attach(self, model: SentenceTransformer) -> None:
        """Keep the embeddings of the last batch of this model."""
        model.register_forward_hook(self._last)

    def record_loss(self, loss: torch.Tensor) -> None:
        """Note whether a loss is finite without waiting for the GPU; the library would log a mean in its place."""
        self._loss_sum = loss.detach() if self._loss_sum is None else self._loss_sum + loss.detach()
        not_finite = ~torch.isfinite(loss.detach()).all()
        self._not_finite = not_finite if self._not_finite is None else self._not_finite | not_finite

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Count the steps of the sum of losses."""
        self._steps += 1

    def read_loss(self) -> float | None:
        """Return the mean loss of the train steps since the last call; None if there were none. Waits for the GPU."""
        if self._loss_sum is None or not self._steps:
            return None
        mean = float(self._loss_sum) / self._steps
        self._loss_sum, self._steps = None, 0
        return mean

    def first_alarm(self, alarms: Sequence[Alarm]) -> Alarm | None:
        """Return the first of these that has occurred, or None."""
        return next((alarm for alarm in alarms if alarm in self.alarms), None)

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any], **kwargs: Any) -> None:
        """Check what is logged."""
        norm = logs.get("grad_norm")
        if norm is not None:
            self._check_norm(float(norm), state.global_step)
        self.check(state.global_step)

    def check(self, step: int) -> None:
        """Check the losses since the start and the embeddings of the last batch."""
        if self._not_finite is not None and bool(self._not_finite):
            self._alarm("not_finite", step)
        if self._last.embeddings is not None and is_collapsed(self._last.embeddings):
            self._alarm("collapse", step)

    def _check_norm(self, norm: float, step: int) -> None:
        if self.step_was_skipped:
            return  # an overflow that lowers the loss scale of half precision
        if norm != norm or norm == float("inf"):
            self._alarm("not_finite", step)
            return
        self._zeros = self._zeros + 1 if norm == 0 else 0
        if self._zeros >= _ZERO_LOGS:
            self._alarm("zero_gradients", step)
        if len(self._norms) >= _MIN_NORMS and norm > _EXPLOSION * median(self._norms) > 0:
            self._alarm("exploding_gradients", step)
        self._norms.append(norm)

    def _alarm(self, alarm: Alarm, step: int) -> None:
        if alarm not in self.alarms:
            self.alarms[alarm] = step
            self._report(alarm, step)


def is_collapsed(embeddings: torch.Tensor) -> bool:
    """Whether all rows have one direction, or are zero; a single row cannot show that.

    Args:
        embeddings: of shape (rows, dimension).
    """
    if len(embeddings) < 2:
        return False
    units = torch.nn.functional.normalize(embeddings.float(), dim=1)
    return float((units - units.mean(dim=0)).norm(dim=1).max()) < _COLLAPSE_DISTANCE
