"""What another model costs the index that serves: whether its vectors still fit, and how long new ones would take."""

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
    """Whether documents have to be embedded again.

    Attributes:
        needed: the vectors of the two models cannot stand in one index.
        reasons: what differs, a sentence each.
        neighbours: share of each query's 10 nearest documents of the sample that the other model finds too.
        documents: how many documents there are to embed.
        seconds: time to embed them, by the speed on the machine that decides.
    """

    needed: bool
    reasons: tuple[str, ...]
    neighbours: float | None = None
    documents: int = 0
    seconds: float = 0.0


def reindex_of(champion: Any, challenger: Any, documents: int | None) -> Reindex:
    """Compare the embedding spaces of two scored models.

    Args:
        champion: the scores of the model whose vectors the index holds.
        challenger: the scores of the other one.
        documents: documents in the index; those of the evaluation where nobody has said.
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
    told = []
    if old["dimension"] != new["dimension"]:
        told.append(f"vectors have {new['dimension']} numbers in place of {old['dimension']}: the index is made anew")
    if old["is_normalized"] != new["is_normalized"]:
        told.append(f"vectors are {'normalised now' if new['is_normalized'] else 'no longer normalised'}")
    if old["prompts"] != new["prompts"]:
        told.append("prompts differ: whoever embeds queries has to put others before them")
    if old["modules"] != new["modules"]:
        told.append("pooling or another module behind the transformer differs")
    return told or ["the weights differ, and nothing else"]


def _overlap(champion: Any, challenger: Any) -> float | None:
    if not len(champion.queries) or not len(challenger.queries):
        return None
    one, other = (_nearest(model.queries, model.sample) for model in (champion, challenger))
    shared = [len(np.intersect1d(a, b)) / len(a) for a, b in zip(one, other, strict=True)]
    return round(float(np.mean(shared)), 4)


def _nearest(queries: Vectors, documents: Vectors) -> NDArray[np.int64]:
    """Return the numbers of the nearest documents of each query by the cosine, shape (queries, up to 10)."""
    similarity = _unit(queries) @ _unit(documents).T
    return np.argsort(-similarity, axis=1, kind="stable")[:, :_NEIGHBOURS]


def _unit(vectors: Vectors) -> Vectors:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths == 0, 1, lengths), np.float32)
