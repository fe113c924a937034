"""Real models, scored in real processes, by what a person types."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from embedstep.output.weights import read_space
from embedstep.promotion.scoring import score_models, shorter_dimensions
from embedstep.request.loading import load_request
from embedstep.request.schema import Loss

Build = Callable[..., dict[str, Any]]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def another(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with other weights, in the place of an output folder."""
    import torch
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(tiny_model), device="cpu")
    torch.manual_seed(1)
    with torch.no_grad():
        for weights in model.parameters():
            weights.add_(torch.randn_like(weights), alpha=0.05)
    output = tmp_path_factory.mktemp("another")
    model.save_pretrained(str(output / "model"))
    return output


def evaluate(document: dict[str, Any], folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    (folder / "request.yaml").write_text(yaml.safe_dump(document))
    return subprocess.run(
        [sys.executable, "-m", "embedstep", "evaluate", "request.yaml", *words],
        cwd=folder, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip


def test_models_stand_side_by_side_with_what_one_gains(
    evaluated: Build, tiny_model: Path, another: Path, tmp_path: Path
) -> None:
    process = evaluate(evaluated(), tmp_path, "--model", f"now={tiny_model}", "--model", f"new={another}")
    assert process.returncode == 0, process.stderr
    lines = process.stdout.splitlines()
    assert lines[0] == "scores"
    assert lines[1].split() == ["metric", "now", "new", "gain"]
    (ndcg,) = [line.split() for line in lines if line.strip().startswith("docs_cosine_ndcg@10 ")]
    now, new, gain, low, to, high = ndcg[1:]
    assert float(gain) == pytest.approx(float(new) - float(now), abs=2e-4)
    assert to == "to"
    assert float(low.strip("(")) <= float(gain) <= float(high.strip(")"))
    (dimension,) = [line.split() for line in lines if line.strip().startswith("dimension")]
    assert dimension == ["dimension", "32", "32"]


def test_the_mean_over_the_queries_is_the_library_s_metric_at_every_dimension(
    evaluated: Build, tiny_model: Path
) -> None:
    loss = {"kind": "matryoshka", "options": {"matryoshka_dims": [32, 8]}, "loss": "multiple_negatives_ranking"}
    request = load_request(yaml.safe_dump(evaluated(loss=loss)))
    scored = score_models(request, {"tiny": str(tiny_model)})
    scores = scored.models["tiny"]
    assert set(scores.of_queries) == set(scores.metrics)
    assert {name.partition(":")[0] for name in scores.metrics if ":" in name} == {"8", "32"}
    for name, values in scores.of_queries.items():
        assert values.shape == (40,)
        assert values.mean() == pytest.approx(scores.metrics[name], abs=1e-9), name
    np.testing.assert_array_equal(scores.of_queries["docs_cosine_ndcg@10"], scores.of_queries["32:docs_cosine_ndcg@10"])
    assert scored.gain("docs_cosine_ndcg@10", "tiny", "tiny").low == 0  # type: ignore[union-attr]
    assert scores.bytes > 10_000
    assert scores.documents == 40
    assert scores.sample.shape == scores.queries.shape == (40, 32)
    assert scores.milliseconds is not None
    assert scores.milliseconds > 0
    assert scores.documents_per_second > 0
    assert scores.space is not None
    assert scores.space["fingerprint"] == read_space(tiny_model, 32).fingerprint
    texts = scores.texts["docs"]
    assert texts[0]["query"].startswith("open file")
    perfect = scores.of_queries["docs_cosine_accuracy@1"] == 1
    assert [text["found"] == text["relevant"] for text in texts] == perfect.tolist()
    assert list(scored.data) == ["docs"]
    assert len(scored.data["docs"]) == 64


def test_the_scores_as_json(evaluated: Build, tiny_model: Path, tmp_path: Path) -> None:
    document = evaluated(arguments={"eval_strategy": "epoch"})
    document["data"]["eval"]["docs"]["columns"]["negative"] = "negative"
    document["evaluators"] = [{"kind": "triplet", "name": "near", "dataset": "docs"}]
    process = evaluate(document, tmp_path, "--model", f"tiny={tiny_model}", "--json")
    assert process.returncode == 0, process.stderr
    found = json.loads(process.stdout)
    assert found["format"] == "embedstep.scores/1"
    assert set(found["models"]["tiny"]) == {
        "metrics", "dimension", "bytes", "seconds", "milliseconds", "documents_per_second", "space"
    }  # fmt: skip
    assert 0 <= found["models"]["tiny"]["metrics"]["near_cosine_accuracy"] <= 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "tiny"], "--model: needs NAME=MODEL; tiny was given"),
        (["--model", "a=./x", "--model", "a=./y"], "--model: uses a name twice; give each model its own name"),
        (["--model", "a=./nowhere"], "--model a: ./nowhere does not exist"),
        (["--model", "a=."], "--model a: . contains no model"),
    ],
)
def test_a_mistake_is_reported(evaluated: Build, tmp_path: Path, words: list[str], message: str) -> None:
    process = evaluate(evaluated(), tmp_path, *words)
    assert process.returncode == 2
    assert message in process.stderr
    assert "Traceback" not in process.stderr


def test_something_to_score_by_is_needed(request_of: Build, tmp_path: Path) -> None:
    process = evaluate(request_of(), tmp_path, "--model", "a=.")
    assert process.returncode == 2
    assert "evaluators: is empty; name an evaluator, such as information_retrieval" in process.stderr


def test_a_model_that_cannot_be_loaded_is_reported(evaluated: Build, tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/modules.json").write_text("[")
    process = evaluate(evaluated(), tmp_path, "--model", "a=broken")
    assert process.returncode == 2
    assert "  --model: broken cannot be loaded: " in process.stderr


def test_dimensions_are_those_of_every_loss() -> None:
    nested = {
        "kind": "adaptive_layer",
        "loss": {"kind": "matryoshka", "options": {"matryoshka_dims": [64, 16]}, "loss": "cosent"},
    }
    plain = {"kind": "matryoshka", "options": {"matryoshka_dims": [32]}, "loss": "cosent"}
    assert shorter_dimensions([Loss.model_validate(loss) for loss in (nested, plain, "cosent")]) == [64, 32, 16]


def test_models_are_scored_on_what_the_request_holds_out(request_of: Build, tiny_model: Path) -> None:
    retrieval = {"kind": "information_retrieval", "name": "docs", "dataset": "docs"}
    document = request_of(evaluators=[retrieval])
    document["data"]["train"]["docs"]["hold_out"] = {"share": 0.2}
    scored = score_models(load_request(yaml.safe_dump(document)), {"tiny": str(tiny_model)})
    assert scored.models["tiny"].of_queries["docs_cosine_ndcg@10"].shape == (31,)
    assert list(scored.data) == ["docs"]


@pytest.mark.parametrize("model", [None, "org/model"])
def test_what_is_on_the_hub_is_fetched_for_the_scores(
    evaluated: Build, tiny_model: Path, tmp_path: Path, model: str | None
) -> None:
    """There is no hub here, and the answer is that of the process that asks it."""
    document = evaluated(model={"static": str(tiny_model / "tokenizer.json"), "dimension": 8})
    if model is None:
        columns = {"anchor": "anchor", "positive": "positive"}
        document["data"]["eval"]["docs"] = {"hub": "org/rows", "split": "test", "columns": columns}
    process = evaluate(document, tmp_path, "--model", f"tiny={model or tiny_model}")
    assert process.returncode == 3
    asked = "model.path: org/model is not a local folder and" if model else "data.eval.docs.hub: org/rows"
    assert f"{asked} could" in process.stderr or f"{asked} cannot" in process.stderr, process.stderr


def test_a_corpus_of_its_own_is_searched(evaluated: Build, tiny_model: Path, tmp_path: Path) -> None:
    """A document that is the query itself, and answers nothing, is found first by any model."""
    (tmp_path / "rows.csv").write_text("q,a\nopen a file,return a stream\n")
    (tmp_path / "documents.csv").write_text("a\nopen a file\nreturn a stream\nclose it\n")
    found = []
    for corpus in (None, str(tmp_path / "documents.csv")):
        document = evaluated()
        rows = {"path": str(tmp_path / "rows.csv"), "columns": {"anchor": "q", "positive": "a"}, "corpus": corpus}
        document["data"]["eval"] = {"docs": rows}
        scored = score_models(load_request(yaml.safe_dump(document)), {"tiny": str(tiny_model)})
        scores = scored.models["tiny"]
        metrics = [round(scores.metrics[f"docs_cosine_{name}"], 4) for name in ("accuracy@1", "ndcg@10")]
        found.append((scores.documents, metrics, scored.data["docs"]))
    (alone, *first, data), (searched, *second, other) = found
    assert (alone, first, searched, second) == (1, [[1.0, 1.0]], 3, [[0.0, 0.6309]])
    assert data != other
