"""The model card: filled from the request, the base and the run, with rows only where they are asked for."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import metadata_load

from embedstep.output.result import StepResult

Build = Callable[..., dict[str, Any]]
Train = Callable[..., StepResult]


def read_card(result: StepResult) -> tuple[dict[str, Any], str]:
    assert result.exit_code == 0, result.failure
    file = Path(str(result.model)) / "README.md"
    return metadata_load(file) or {}, file.read_text()


def test_license_and_language_are_those_of_the_base(train_here: Train, evaluated: Build, minilm: Path) -> None:
    """MiniLM's own card names both."""
    static = {"static": str(minilm), "initial_vectors": "word_embeddings"}
    metadata, text = read_card(train_here(evaluated(model=static)))
    assert (metadata["license"], metadata["language"], metadata["library_name"]) == (
        "apache-2.0",
        "en",
        "sentence-transformers",
    )
    assert "Unnamed Dataset" not in text
    assert "how to" not in text  # no training row
    assert "| train.docs | train.jsonl | 130 | multiple_negatives_ranking |" in text
    assert "| docs_cosine_ndcg@10 | " in text
    assert "| metric | before | after | change | 95 % interval |" in text
    assert "inf tokens" not in text


@pytest.mark.parametrize("text", ["---\nlicense: [\n---\n", "---\nnot: a: mapping\n---\n", "no metadata"])
def test_a_base_whose_card_is_damaged_says_nothing(
    train_here: Train, evaluated: Build, tiny_model: Path, tmp_path: Path, text: str
) -> None:
    base = tmp_path / "base"
    shutil.copytree(tiny_model, base)
    (base / "README.md").write_text(text)
    metadata, _ = read_card(train_here(evaluated(model=str(base), evaluate_base=False)))
    assert "license" not in metadata


def test_the_request_has_the_last_word(train_here: Train, evaluated: Build) -> None:
    document = evaluated(
        card={"license": "mit", "language": ["de", "en"], "example_rows": 2}, tracking={"kind": "none"}
    )
    document["model"] = {"path": document["model"], "prompts": {"query": "query: "}, "max_seq_length": 32}
    metadata, text = read_card(train_here(document))
    assert (metadata["license"], metadata["language"]) == ("mit", ["de", "en"])
    assert "| prompt `query` | `query: ` |" in text
    assert "| longest text | 32 tokens |" in text
    examples = text.partition("### Examples of docs")[2].splitlines()
    assert examples[2:6] == [
        "| anchor | positive |",
        "|---|---|",
        "| open file 0 | how to open a file number 0 |",
        "| close file 1 | how to close a file number 1 |",
    ]


def test_without_an_evaluation_of_the_base_the_metrics_stand_alone(train_here: Train, evaluated: Build) -> None:
    _, text = read_card(train_here(evaluated(evaluate_base=False)))
    assert "| metric | value |" in text
    assert "| before |" not in text
