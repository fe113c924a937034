"""Whether an index must be rebuilt, and how long that takes."""

from types import SimpleNamespace
from typing import Any

import numpy as np

from embedstep.promotion.reindex import compare_spaces

SPACE: dict[str, Any] = {
    "fingerprint": "a", "dimension": 2, "is_normalized": True, "prompts": {"prompts": {}}, "modules": [],
}  # fmt: skip
ANGLES = np.linspace(0, np.pi, 40)
VECTORS = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1).astype(np.float32)


def scores(sample: Any = VECTORS, queries: Any = VECTORS[:5], **space: Any) -> Any:
    return SimpleNamespace(
        space={**SPACE, **space}, sample=sample, queries=queries, documents=40, documents_per_second=20.0
    )


def test_the_same_space_needs_no_new_index() -> None:
    found = compare_spaces(scores(), scores(), 1_000_000)
    assert (found.needed, found.documents, found.seconds, found.neighbours) == (False, 0, 0.0, 1.0)


def test_other_weights_with_the_same_neighbours() -> None:
    """Turned by a quarter, all vectors are others, and every query finds what it found."""
    turned = VECTORS[:, ::-1] * np.array([-1, 1], np.float32)
    found = compare_spaces(scores(), scores(turned, turned[:5], fingerprint="b"), 1_000_000)
    assert found.needed
    assert found.reasons == ("only the weights differ",)
    assert (found.neighbours, found.documents, found.seconds) == (1.0, 1_000_000, 50_000.0)


def test_what_differs_is_reported() -> None:
    other = scores(
        VECTORS[::-1], VECTORS[:5], fingerprint="b", dimension=3, is_normalized=False,
        prompts={"prompts": {"query": "query: "}}, modules=[["Pooling", {"pooling_mode": "cls"}]],
    )  # fmt: skip
    found = compare_spaces(scores(), other, None)
    assert found.reasons == (
        "vectors have 3 dimensions in place of 2, so the index must be rebuilt",
        "vectors are no longer normalised",
        "prompts differ; change them where queries are embedded",
        "pooling or another module after the transformer differs",
    )
    assert (found.neighbours, found.documents, found.seconds) == (0.0, 40, 2.0)


def test_without_queries_there_are_no_neighbours() -> None:
    empty = np.empty((0, 0), np.float32)
    assert compare_spaces(scores(), scores(empty, empty, fingerprint="b"), None).neighbours is None
