"""How a model is prepared for its scores, and how its queries are divided into slices."""

from pathlib import Path
from typing import Any

import pytest

MODEL = {"path": "base", "max_seq_length": 16, "prompts": {"query": "q: "}}


@pytest.fixture
def job_of(tiny_model: Path) -> Any:
    from embedstep.request.model import Model
    from embedstep.worker.jobs.score import ScoringJob

    def build(**changes: Any) -> ScoringJob:
        section = Model.model_validate({**MODEL, "path": str(tiny_model)}).model_dump(mode="json")
        values = {
            "model": None, "section": section, "fetched": None, "on_cpu": True, "bf16": False, "fp16": False,
            "prompts": {"query": "q: "}, "evaluators": (), "data": {}, "corpora": {}, "dimensions": (),
            "trust_remote_code": False, "to": "",
        }  # fmt: skip
        return ScoringJob(**{**values, **changes})

    return build


@pytest.mark.parametrize(
    ("changes", "length", "prompt", "precision"),
    [
        ({}, 16, "q: ", "float32"),
        ({"bf16": True}, 16, "q: ", "bfloat16"),
        ({"fp16": True}, 16, "q: ", "float16"),
    ],
    ids=["as the request says", "bf16_full_eval", "fp16_full_eval"],
)
def test_a_model_that_no_run_has_trained_is_used_as_the_request_says(
    job_of: Any, changes: dict[str, Any], length: int, prompt: str, precision: str
) -> None:
    from embedstep.worker.jobs.score import _model

    model = _model(job_of(**changes))
    assert (model.max_seq_length, model.prompts.get("query"), str(model.dtype)) == (
        length,
        prompt,
        f"torch.{precision}",
    )


def test_a_trained_model_has_its_own_settings(job_of: Any, tiny_model: Path) -> None:
    from embedstep.worker.jobs.score import _model

    model = _model(job_of(model=str(tiny_model), section=None))
    assert model.max_seq_length != 16
    assert not model.prompts.get("query")


def test_another_kind_of_model_needs_no_limit(job_of: Any, tmp_path: Path, minilm: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer

    from embedstep.request.model import Model
    from embedstep.worker.jobs.score import _model

    static = StaticEmbedding(Tokenizer.from_file(str(minilm / "tokenizer.json")), embedding_dim=4)
    SentenceTransformer(modules=[static], device="cpu").save_pretrained(str(tmp_path), create_model_card=False)
    section = Model.model_validate({"path": str(tmp_path), "max_seq_length": 16}).model_dump(mode="json")
    assert _model(job_of(model=str(tmp_path), section=section)).get_embedding_dimension() == 4


def test_the_first_row_of_an_anchor_decides_its_slice() -> None:
    from embedstep.worker.jobs.score import _slices_of_queries

    assert _slices_of_queries(["a", "b", "a"], ["de", 3, "en"]) == ["de", "3"]
