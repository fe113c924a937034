"""The folder of a published model: what is in it, who can read it, and that it says nothing of this machine."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from embedstep.output.provenance import read_provenance
from embedstep.output.result import StepResult

Build = Callable[..., dict[str, Any]]
Train = Callable[..., StepResult]


def texts(model: Path) -> dict[str, str]:
    """The text files of a model by their names."""
    return {file.name: file.read_text() for file in model.rglob("*") if file.suffix in (".json", ".md", ".txt")}


def test_a_model_says_what_it_was_trained_from(
    train_here: Train, evaluated: Build, tmp_path: Path, data_folder: Path, tiny_model: Path
) -> None:
    result = train_here(evaluated())
    assert result.exit_code == 0, result.failure
    model = Path(str(result.model))
    assert {oct(file.stat().st_mode & 0o777) for file in model.rglob("*") if file.is_file()} == {"0o644"}
    assert {oct(place.stat().st_mode & 0o777) for place in (model, *model.rglob("*")) if place.is_dir()} == {"0o755"}
    found = read_provenance(model)
    assert found is not None
    assert found["request"]["data"]["train"]["docs"]["path"] == ["train.jsonl"]
    assert found["request"]["model"]["path"] == tiny_model.name
    assert (found["weights_sha256"], found["embedding_space_id"]) == (result.weights_sha256, result.embedding_space_id)
    assert found["request_fingerprint"] == result.request_fingerprint
    assert [(item["split"], item["name"], item["rows"]) for item in found["data"]] == [
        ("train", "docs", 130),
        ("eval", "docs", 40),
    ]
    assert found["changes"]["eval_docs_cosine_ndcg@10"]["after"] == result.metrics["eval_docs_cosine_ndcg@10"]
    assert found["versions"].keys() >= {"embedstep", "torch", "sentence-transformers", "python"}
    for name, text in texts(model).items():
        for place in (tmp_path, data_folder, tiny_model.parent):
            assert str(place) not in text, name


def test_a_second_run_leaves_the_same_files_but_for_its_date(train_here: Train, evaluated: Build) -> None:
    one, other = (Path(str(train_here(evaluated(), folder).model)) for folder in ("one", "other"))
    names = sorted(str(file.relative_to(one)) for file in one.rglob("*") if file.is_file())
    assert names == sorted(str(file.relative_to(other)) for file in other.rglob("*") if file.is_file())
    differing = [name for name in names if (one / name).read_bytes() != (other / name).read_bytes()]
    assert differing in ([], ["embedstep.json"])
    first, second = (json.loads((model / "embedstep.json").read_text()) for model in (one, other))
    assert first.pop("run").keys() == second.pop("run").keys() == {"id", "created"}
    assert first == second
