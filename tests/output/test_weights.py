"""The fingerprint of an embedding space."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from embedstep.output.weights import base_digest, read_space


def changed(model: Path, folder: Path, file: str, **settings: Any) -> Path:
    shutil.copytree(model, folder)
    found = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps({**found, **settings}))
    return folder


def test_a_copy_has_the_same_space(tiny_model: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_model, tmp_path / "copy")
    (tmp_path / "copy/README.md").write_text("another card")
    space = read_space(tiny_model, 32)
    assert read_space(tmp_path / "copy", 32) == space
    assert len(space.fingerprint) == 64
    assert space.is_normalized is False


def test_a_model_that_ends_in_normalize_is_normalized(minilm: Path) -> None:
    assert read_space(minilm, 384).is_normalized is True


@pytest.mark.parametrize("which", ["tiny_model", "minilm"])
def test_a_model_that_is_saved_again_has_the_same_space(
    which: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """The files of MiniLM are those of an older release, which today's writes in another way."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(request.getfixturevalue(which)), device="cpu")
    for folder in ("one", "two"):
        model.save_pretrained(str(tmp_path / folder))
        model = SentenceTransformer(str(tmp_path / folder), device="cpu")
    spaces = [read_space(tmp_path / folder, 32) for folder in ("one", "two")]
    before = read_space(request.getfixturevalue(which), 32)
    assert spaces[0] == spaces[1]
    assert (spaces[0].modules, spaces[0].prompts) == (before.modules, before.prompts)


@pytest.mark.parametrize(
    ("file", "settings"),
    [
        ("config_sentence_transformers.json", {"prompts": {"query": "query: "}}),
        ("config_sentence_transformers.json", {"default_prompt_name": "query"}),
        ("1_Pooling/config.json", {"pooling_mode": "cls"}),
    ],
)
def test_what_changes_vectors_changes_the_space(
    tiny_model: Path, tmp_path: Path, file: str, settings: dict[str, Any]
) -> None:
    other = changed(tiny_model, tmp_path / "other", file, **settings)
    assert read_space(other, 32).fingerprint != read_space(tiny_model, 32).fingerprint
    assert read_space(other, 32).weights == read_space(tiny_model, 32).weights


def test_one_bit_of_the_weights_changes_the_space(tiny_model: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_model, tmp_path / "other")
    file = tmp_path / "other/model.safetensors"
    weights = bytearray(file.read_bytes())
    weights[-1] ^= 1
    file.write_bytes(weights)
    assert read_space(tmp_path / "other", 32).weights != read_space(tiny_model, 32).weights
    assert read_space(tiny_model, 16).fingerprint != read_space(tiny_model, 32).fingerprint


def test_each_file_that_a_model_is_built_from_is_in_the_digest_of_its_base(tiny_model: Path, tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("open\n")
    one, both = base_digest(tiny_model), base_digest(tiny_model, words)
    words.write_text("close\n")
    assert len({one, both, base_digest(tiny_model, words), base_digest(words), base_digest()}) == 5
