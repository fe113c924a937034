"""How far a training has moved the model: a training that changed nothing looks like any other until it serves.

Adapters that were not merged, a model that is frozen as a whole, or weights too coarse for their updates end in a model
with the vectors of its base. The published files are compared with the model as it was before the first step.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from embedstep.errors import TrainingFailedError
from embedstep.output.result import Movement
from embedstep.planning.plan import Plan
from embedstep.request.schema import TrainRequest
from embedstep.runtime.text import count
from embedstep.worker.trainer.build import rows_of

_TEXTS = 256
_CHARACTERS = 200
"""Texts are cut here: their vectors need not be good ones, only the same twice."""
_CPU_WORK = 8e8
"""Parameters times texts to compute on a CPU, before the first step: a few tenths of a second."""
_SAME = 1e-7
"""Distance from a cosine of 1 that rounding explains."""
_SAMPLED = 4096
"""Weights of each tensor that are compared, evenly spaced: the copy of all would double the memory of a large model."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """The model before training.

    Attributes:
        weights: sampled weights by the name of their tensor, each of shape (n,) with n of at most 4,096.
        texts: texts of the training data.
        embeddings: their embeddings, shape (texts, dimension).
    """

    weights: dict[str, torch.Tensor]
    texts: tuple[str, ...]
    embeddings: NDArray[np.float64]


def take_snapshot(model: SentenceTransformer, plan: Plan) -> Snapshot:
    """Take the snapshot to compare with after the training.

    Args:
        model: the model before training.
        plan: the plan, whose training rows have the texts.
    """
    parameters = sum(parameter.numel() for parameter in model.parameters())
    most = _TEXTS if model.device.type != "cpu" else min(_TEXTS, max(16, int(_CPU_WORK / max(parameters, 1))))
    texts = tuple(_texts(plan, most))
    return Snapshot(weights=dict(_sampled_weights(model)), texts=texts, embeddings=_embed(model, texts))


def measure_movement(before: Snapshot, published: SentenceTransformer) -> Movement:
    """Compare a model, loaded from the files that are published, with the snapshot.

    Args:
        before: the snapshot before training.
        published: the model after training.
    """
    changed = compared = 0
    moved_square = norm_square = 0.0
    for name, after in _sampled_weights(published):
        if (former := before.weights.get(name)) is not None and former.shape == after.shape:
            changed += int((former != after).sum())
            compared += after.numel()
            moved_square += float(((after - former) ** 2).sum())
            norm_square += float((former**2).sum())
    embeddings = _embed(published, before.texts)
    cosine = _mean_cosine(before.embeddings, embeddings)
    # The sample may miss the few weights that changed, and a GPU may give other last bits to the same weights.
    is_same = cosine is None or cosine > 1 - _SAME
    return Movement(
        weights_changed=changed / compared if compared else None,
        weights_moved=(moved_square / norm_square) ** 0.5 if norm_square else None,
        mean_cosine=cosine,
        texts=len(before.texts),
        is_still=(not changed and is_same) or (len(embeddings) > 0 and np.array_equal(before.embeddings, embeddings)),
    )


def require_movement(request: TrainRequest, plan: Plan, movement: Movement, trainable: int) -> None:
    """Check that a training has changed something, unless its learning rate is to be 0.

    Args:
        request: the request.
        plan: its plan.
        movement: how far the published model moved.
        trainable: number of parameters that were trained.

    Raises:
        TrainingFailedError: nothing has changed, with the likely reason.
    """
    if not movement.is_still or not plan.train_steps or request.arguments.learning_rate == 0:
        return
    precision = plan.model.precision if plan.model is not None else "float32"
    if not trainable:
        reason = "all of its parameters are frozen"
    elif plan.warmup_steps >= plan.train_steps:
        steps = count(plan.train_steps, "step")
        reason = f"the learning rate was still near 0: warm-up takes {plan.warmup_steps} of {steps}"
    elif precision in ("bfloat16", "float16"):
        reason = f"{precision} is too coarse for updates of this size; train in float32 with arguments.bf16: true"
    else:
        reason = f"the learning rate {request.arguments.learning_rate:g} is too small, or the loss has no gradient"
    raise TrainingFailedError(f"the training changed nothing: the model gives the vectors of its base; {reason}")


def _texts(plan: Plan, most: int) -> Iterator[str]:
    """Yield texts of the first text column of each training dataset, evenly spaced."""
    train = [item for item in plan.datasets if item.split == "train"]
    each = max(1, most // max(len(train), 1))
    for item in train:
        rows = rows_of(item)
        column = next((name for name in item.columns if rows.features[name].dtype in ("string", "large_string")), None)
        if column is not None:
            places = np.linspace(0, len(rows) - 1, min(each, len(rows)), dtype=int)
            yield from (str(text)[:_CHARACTERS] for text in rows.select(places.tolist())[column])


def _embed(model: SentenceTransformer, texts: Sequence[str]) -> NDArray[np.float64]:
    if not texts:
        return np.zeros((0, 1))
    with torch.inference_mode():
        return np.asarray(model.encode(list(texts), show_progress_bar=False), dtype=np.float64)


def _sampled_weights(model: SentenceTransformer) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield some weights of each parameter, copied to the CPU in float32."""
    for name, parameter in model.named_parameters():
        flat = parameter.detach().reshape(-1)
        yield name, flat[:: max(1, flat.numel() // _SAMPLED)][:_SAMPLED].float().cpu().clone()


def _mean_cosine(one: NDArray[np.float64], other: NDArray[np.float64]) -> float | None:
    """Return the mean cosine of the rows; None for other dimensions, and where all embeddings are zero."""
    if one.shape != other.shape or not len(one):
        return None
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    cosines = (one * other).sum(axis=1)[norms > 0] / norms[norms > 0]
    return float(cosines.mean()) if len(cosines) else None
