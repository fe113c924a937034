"""A saved model counts only when its files alone give the same embeddings again."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from embedstep.errors import TrainingFailedError
from embedstep.output.folder import OutputFolder
from embedstep.output.weights import Space, space_of
from embedstep.request.schema import TrainRequest
from embedstep.worker.trainer.saving import complete_saved

TEXTS = (
    "open a file and read its lines",
    "The quick brown fox jumps over the lazy dog.",
    "Wie wird das Wetter morgen?",
    "def add(a: int, b: int) -> int: return a + b",
    "42",
    "retrain the embedding model every Monday at three in the morning",
    "a",
    "naïve café, 東京, Ελλάδα",
)
SMALLEST_COSINE = 0.9999


def embed_fixed_texts(model: SentenceTransformer) -> NDArray[np.float64]:
    """Return the embeddings of the fixed texts, shape (8, dimension), on the model's own device and precision."""
    with torch.inference_mode():
        embeddings = model.encode(list(TEXTS), batch_size=len(TEXTS), show_progress_bar=False)
    return np.asarray(embeddings, dtype=np.float64)


def smallest_cosine(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Return the smallest cosine between the rows of two arrays of shape (n, dimension); NaN if any value is."""
    if one.shape != other.shape:
        return float("nan")
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    both_zero = (np.linalg.norm(one, axis=1) == 0) & (np.linalg.norm(other, axis=1) == 0)
    cosines = np.where(both_zero, 1.0, (one * other).sum(axis=1) / np.where(norms == 0, 1.0, norms))
    return float(cosines.min())


def verify(folder: Path, expected: NDArray[np.float64], *, device: str, trust_remote_code: bool) -> float:
    """Load the model from `folder` and compare it with the embeddings that the trained one gave.

    Returns:
        The smallest cosine over the fixed texts.

    Raises:
        TrainingFailedError: the embeddings differ, or are not finite.
    """
    if not np.isfinite(expected).all():
        raise TrainingFailedError("the trained model gives embeddings that are not finite; look at the learning rate")
    loaded = SentenceTransformer(str(folder), device=device, local_files_only=True, trust_remote_code=trust_remote_code)
    cosine = smallest_cosine(expected, embed_fixed_texts(loaded))
    if not cosine >= SMALLEST_COSINE:
        raise TrainingFailedError(
            f"the saved model is not the trained one: loaded again, its embeddings have a cosine of {cosine:.6f}, "
            f"and {SMALLEST_COSINE} is needed"
        )
    return cosine


class Verified(NamedTuple):
    """What a saved model was found to be.

    Attributes:
        cosine: smallest one between the embeddings of fixed texts before saving and after loading.
        space: its embedding space.
    """

    cosine: float
    space: Space


def save_verified(
    model: SentenceTransformer,
    request: TrainRequest,
    output: OutputFolder,
    on_saved: Callable[[int], None] = lambda dimension: None,
) -> Verified:
    """Save the model for the launcher to publish, load it from its files alone, and compare.

    Args:
        model: the trained model.
        request: the request.
        output: the output folder.
        on_saved: called with the dimension of the embeddings when the files are there.

    Raises:
        TrainingFailedError: the loaded model gives other embeddings.
    """
    model = model.eval()
    expected = embed_fixed_texts(model)
    model.save_pretrained(str(output.verified_model))
    complete_saved(output.verified_model, safetensors=request.arguments.save_safetensors)
    on_saved(expected.shape[1])
    trust = request.model.trust_remote_code
    cosine = verify(output.verified_model, expected, device=str(model.device), trust_remote_code=trust)
    return Verified(cosine=cosine, space=space_of(output.verified_model, expected.shape[1]))
