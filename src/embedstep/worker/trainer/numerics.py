"""Numbers that have gone bad: a loss that is none, gradients of zero or too great, embeddings that are all one."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from transformers import TrainerCallback

from embedstep.request.launch import Alarm

_ZERO_LOGS = 3
_GREAT = 100.0
"""Times the median of the norms that were logged before."""
_KNOWN_LOGS = 5
_ONE_POINT = 0.03
"""Distance from their mean within which the unit vectors of a batch are one."""
TOLD: Mapping[Alarm, str] = {
    "not_finite": "the loss or the norm of the gradients is not a finite number; look at the learning rate, the data "
    "and half precision",
    "zero_gradients": f"the gradients were zero in {_ZERO_LOGS} logs; is all that would learn frozen, or the loss 0?",
    "exploding_gradients": f"the norm of the gradients is {_GREAT:g} times what it was; look at the learning rate and "
    "max_grad_norm",
    "collapse": "the embeddings of a batch are all one point; the model tells nothing from anything any more",
}


class _LastEmbeddings:
    """A forward hook that keeps the embeddings of the last batch in training."""

    def __init__(self) -> None:
        self.embeddings: torch.Tensor | None = None

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def __call__(self, model: SentenceTransformer, _: Any, output: Any) -> None:
        """Keep them."""
        if model.training and isinstance(output, dict) and "sentence_embedding" in output:
            self.embeddings = output["sentence_embedding"].detach()

    def __reduce__(self) -> tuple[type, tuple[()]]:
        """Go to a spawned worker of a loader with the model, and without what is kept."""
        return _LastEmbeddings, ()


class NumericsMonitor(TrainerCallback):  # type: ignore[misc]
    """Looks at each log, and before each checkpoint, for numbers that have gone bad on this rank.

    Attributes:
        alarms: what was found, and the train step of the first time.
        is_skipped: whether the optimizer has left out the last step, as it does with gradients beyond half precision.
    """

    def __init__(self, say: Callable[[Alarm, int], None]) -> None:
        """Begin.

        Args:
            say: told each alarm once, with its train step.
        """
        self.alarms: dict[Alarm, int] = {}
        self._say = say
        self._bad: torch.Tensor | None = None
        self._last = _LastEmbeddings()
        self._zeros = 0
        self.is_skipped = False
        self._norms: deque[float] = deque(maxlen=100)

    @property
    def found(self) -> dict[str, Any]:
        """What is known of the numbers so far, to be kept with a checkpoint."""
        return {"alarms": self.alarms, "zeros": self._zeros, "norms": list(self._norms)}

    def go_on_from(self, found: Mapping[str, Any]) -> None:
        """Take up what a checkpoint knows; its alarms were told."""
        self.alarms.update(found["alarms"])
        self._zeros = found["zeros"]
        self._norms.extend(found["norms"])

    def watch(self, model: SentenceTransformer) -> None:
        """Keep the embeddings of the last batch that the model is trained on."""
        model.register_forward_hook(self._last)

    def loss_of_step(self, loss: torch.Tensor) -> None:
        """Take the loss of a batch, without waiting for a GPU; the library logs a mean in place of one that is none."""
        bad = ~torch.isfinite(loss.detach()).all()
        self._bad = bad if self._bad is None else self._bad | bad

    def first_of(self, alarms: Sequence[Alarm]) -> Alarm | None:
        """Return the first of these that was found, or None."""
        return next((alarm for alarm in alarms if alarm in self.alarms), None)

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any], **kwargs: Any) -> None:
        """Look at what is logged."""
        norm = logs.get("grad_norm")
        if norm is not None:
            self._look_at_norm(float(norm), state.global_step)
        self.check(state.global_step)

    def check(self, step: int) -> None:
        """Look at the losses and the embeddings of the last batches."""
        if self._bad is not None and bool(self._bad):
            self._alarm("not_finite", step)
        if self._last.embeddings is not None and is_one_point(self._last.embeddings):
            self._alarm("collapse", step)

    def _look_at_norm(self, norm: float, step: int) -> None:
        if self.is_skipped:
            return  # half precision looks for its scale that way
        if norm != norm or norm == float("inf"):
            self._alarm("not_finite", step)
            return
        self._zeros = self._zeros + 1 if norm == 0 else 0
        if self._zeros >= _ZERO_LOGS:
            self._alarm("zero_gradients", step)
        if len(self._norms) >= _KNOWN_LOGS and norm > _GREAT * median(self._norms) > 0:
            self._alarm("exploding_gradients", step)
        self._norms.append(norm)

    def _alarm(self, alarm: Alarm, step: int) -> None:
        if alarm not in self.alarms:
            self.alarms[alarm] = step
            self._say(alarm, step)


def is_one_point(embeddings: torch.Tensor) -> bool:
    """Whether all rows point one way, or nowhere; of a single row nothing can be said.

    Args:
        embeddings: of shape (rows, dimension).
    """
    if len(embeddings) < 2:
        return False
    units = torch.nn.functional.normalize(embeddings.float(), dim=1)
    return float((units - units.mean(dim=0)).norm(dim=1).max()) < _ONE_POINT
