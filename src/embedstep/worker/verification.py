"""Verifies a saved model: loaded from its files alone, it must give the same embeddings."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from embedstep.errors import TrainingFailedError
from embedstep.worker.models import load_saved
from embedstep.worker.prompts import prompts_of

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
    """Return the embeddings of the fixed texts, with the model's device and precision.

    Returns:
        Shape (8, dimension); with prompts (24, dimension), of the texts alone, as queries and as documents.
    """
    encoders = [model.encode]
    if prompts_of(model) is not None:
        encoders += [model.encode_query, model.encode_document]
    with torch.inference_mode():
        found = [encode(list(TEXTS), batch_size=len(TEXTS), show_progress_bar=False) for encode in encoders]
    return np.concatenate(found).astype(np.float64)


def smallest_cosine(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Return the smallest cosine between the rows of two arrays of shape (n, dimension); NaN if any value is."""
    if one.shape != other.shape:
        return float("nan")
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    both_zero = (np.linalg.norm(one, axis=1) == 0) & (np.linalg.norm(other, axis=1) == 0)
    cosines = np.where(both_zero, 1.0, (one * other).sum(axis=1) / np.where(norms == 0, 1.0, norms))
    return float(cosines.min())


def verify(
    folder: Path, expected: NDArray[np.float64], *, device: str, trust_remote_code: bool
) -> tuple[float, SentenceTransformer]:
    """Load the model from `folder` and compare its embeddings with those of the trained model.

    Returns:
        The smallest cosine over the fixed texts, and the loaded model.

    Raises:
        TrainingFailedError: the embeddings differ, or are not finite.
    """
    if not np.isfinite(expected).all():
        raise TrainingFailedError("the trained model gives embeddings that are not finite; check the learning rate")
    loaded = load_saved(str(folder), device=device, trust_remote_code=trust_remote_code)
    cosine = smallest_cosine(expected, embed_fixed_texts(loaded))
    if not cosine >= SMALLEST_COSINE:
        raise TrainingFailedError(
            "the saved model differs from the trained one: after reloading, its embeddings have a cosine of "
            f"{cosine:.6f}, and at least {SMALLEST_COSINE} is required"
        )
    return cosine, loaded
