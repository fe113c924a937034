"""Whether the index must be rebuilt for a new model, and how long embedding the documents would take."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
"""Embeddings, shape (texts, dimension)."""
_NEIGHBOURS = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Reindex:
    """Whether documents must be embedded again.

    Attributes:
        needed: the vectors of the two models cannot share an index.
        reasons: what differs, one sentence each.
        neighbours: mean overlap of the 10 nearest documents of a query, in a sample.
        documents: number of documents to embed.
        seconds: time to embed them, at the speed of this machine.
    """

    needed: bool
    reasons: tuple[str, ...]
    neighbours: float | None = None
    documents: int = 0
    seconds: float = 0.0


def compare_spaces(champion: Any, challenger: Any, documents: int | None) -> Reindex:
    """Compare the embedding spaces of two scored models.

    Args:
        champion: scores of the model whose vectors are in the index.
        challenger: scores of the new model.
        documents: number of documents in the index; None for that of the evaluation data.
    """
    old, new = champion.space, challenger.space
    if old["fingerprint"] == new["fingerprint"]:
        return Reindex(needed=False, reasons=("both models have the same embedding space",), neighbours=1.0)
    count = documents or challenger.documents
    return Reindex(
        needed=True,
        reasons=tuple(_differences(old, new)),
        neighbours=_overlap(champion, challenger),
        documents=count,
        seconds=round(count / challenger.documents_per_second, 1) if challenger.documents_per_second else 0.0,
    )


def _differences(old: dict[str, Any], new: dict[str, Any]) -> Sequence[str]:
    differences = []
    if old["dimension"] != new["dimension"]:
        differences.append(
            f"vectors have {new['dimension']} dimensions in place of {old['dimension']}, so the index must be rebuilt"
        )
    if old["is_normalized"] != new["is_normalized"]:
        differences.append(f"vectors are {'normalised now' if new['is_normalized'] else 'no longer normalised'}")
    if old["prompts"] != new["prompts"]:
        differences.append("prompts differ; change them where queries are embedded")
    if old["modules"] != new["modules"]:
        differences.append("pooling or another module after the transformer differs")
    return differences or ["only the weights differ"]


def _overlap(champion: Any, challenger: Any) -> float | None:
    if not len(champion.queries) or not len(challenger.queries):
        return None
    one, other = (_nearest(model.queries, model.sample) for model in (champion, challenger))
    shared = [len(np.intersect1d(a, b)) / len(a) for a, b in zip(one, other, strict=True)]
    return round(float(np.mean(shared)), 4)


def _nearest(queries: Vectors, documents: Vectors) -> NDArray[np.int64]:
    """Return the indices of the documents nearest by cosine to each query, shape (queries, up to 10)."""
    similarity = _unit(queries) @ _unit(documents).T
    return np.argsort(-similarity, axis=1, kind="stable")[:, :_NEIGHBOURS]


def _unit(vectors: Vectors) -> Vectors:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths == 0, 1, lengths), np.float32)
