import math
from pathlib import Path

import numpy as np
import pytest

from embedstep.errors import TrainingFailedError
from embedstep.worker.verification import SMALLEST_COSINE, TEXTS, embed_fixed_texts, smallest_cosine, verify


@pytest.mark.parametrize(
    ("one", "other", "cosine"),
    [
        ([[1, 0]], [[1, 0]], 1.0),
        ([[1, 0]], [[7, 0]], 1.0),
        ([[1, 0]], [[-1, 0]], -1.0),
        ([[1, 0]], [[0, 1]], 0.0),
        ([[3, 4]], [[4, 3]], 0.96),
        ([[1, 0], [3, 4], [0, 1]], [[1, 0], [4, 3], [0, 2]], 0.96),
        ([[0, 0]], [[0, 0]], 1.0),
        ([[0, 0]], [[1, 0]], 0.0),
        ([[1, 0]], [[0, 0]], 0.0),
        ([[0, 0], [1, 0]], [[0, 0], [-1, 0]], -1.0),
    ],
)  # fmt: skip
def test_the_smallest_cosine_of_the_rows(one: list[list[float]], other: list[list[float]], cosine: float) -> None:
    assert smallest_cosine(np.array(one, dtype=float), np.array(other, dtype=float)) == pytest.approx(cosine)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([[1.0, math.nan]], [[1.0, 0.0]]),
        ([[1.0, 0.0]], [[math.nan, 0.0]]),
        ([[1.0, 0.0], [math.nan, 0.0]], [[1.0, 0.0], [math.nan, 0.0]]),
        ([[0.0, 0.0]], [[math.nan, 0.0]]),
        ([[1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]),
        ([[1.0, 0.0]], [[1.0, 0.0, 0.0]]),
    ],
)
def test_embeddings_that_cannot_be_compared_do_not_pass(one: list[list[float]], other: list[list[float]]) -> None:
    cosine = smallest_cosine(np.array(one), np.array(other))
    assert math.isnan(cosine)
    assert not cosine >= SMALLEST_COSINE


def test_a_saved_model_passes_against_itself_and_no_other(tiny_model: Path) -> None:
    from sentence_transformers import SentenceTransformer

    expected = embed_fixed_texts(SentenceTransformer(str(tiny_model), device="cpu"))
    assert expected.shape == (8, 32) == (len(TEXTS), 32)
    cosine, loaded = verify(tiny_model, expected, device="cpu", trust_remote_code=False)
    assert cosine == pytest.approx(1.0)
    assert isinstance(loaded, SentenceTransformer)
    with pytest.raises(TrainingFailedError, match=r"have a cosine of -?0\.\d{6}, and at least 0\.9999 is required"):
        verify(tiny_model, np.roll(expected, 1, axis=1), device="cpu", trust_remote_code=False)
    with pytest.raises(TrainingFailedError, match=r"differs from the trained one.* have a cosine of nan"):
        verify(tiny_model, expected[:, :16], device="cpu", trust_remote_code=False)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_embeddings_that_are_not_finite_are_refused_before_loading(tmp_path: Path, value: float) -> None:
    with pytest.raises(TrainingFailedError, match="not finite; check the learning rate"):
        verify(tmp_path / "none", np.array([[1.0, value]]), device="cpu", trust_remote_code=False)
