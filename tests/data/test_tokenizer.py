"""The tokenizer from a model's files is that of the loaded model."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from embedstep.data.tokenizer import MODEL_NOT_LOCAL, TokenizerFile, find_tokenizer
from embedstep.request.model import Model
from embedstep.worker.models import build_model
from embedstep.worker.trainer.tokens import tokenizing_of

ENDS = ["transformer", "pooling"]


@pytest.fixture(scope="session")
def models(tiny_model: Path, minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    """A model of each kind whose texts are tokenized beforehand."""
    folder = tmp_path_factory.mktemp("models")
    static = Model(static=str(minilm / "tokenizer.json"), dimension=8)
    build_model(static, fetched=None, device="cpu").save_pretrained(str(folder / "static"))
    plain = folder / "plain"
    shutil.copytree(tiny_model, plain, ignore=shutil.ignore_patterns("modules.json", "sentence_bert_config.json"))
    left = folder / "left"
    shutil.copytree(tiny_model, left)
    settings = left / "tokenizer_config.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "truncation_side": "left"}))
    return {
        "transformer": Model(path=str(tiny_model)),
        "shorter": Model(path=str(tiny_model), max_seq_length=7),
        "older files": Model(path=str(minilm)),
        "folder of transformers": Model(path=str(plain)),
        "cut on the left": Model(path=str(left)),
        "static from a tokenizer": static,
        "static from a model": Model(static=str(minilm), initial_vectors="word_embeddings"),
        "saved static": Model(path=str(folder / "static")),
        "modules": Model.model_validate({"path": str(tiny_model), "max_seq_length": 9, "modules": ENDS}),
        "modules of their own": Model.model_validate(
            {"modules": [{"kind": "Transformer", "options": {"path": str(plain)}}, "pooling"]}
        ),
    }


KINDS = [
    "transformer", "shorter", "older files", "folder of transformers", "cut on the left", "static from a tokenizer",
    "static from a model", "saved static", "modules", "modules of their own",
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:No sentence-transformers model found")
@pytest.mark.parametrize("kind", KINDS)
def test_the_files_give_the_tokenizer_of_the_loaded_model(models: dict[str, Model], kind: str) -> None:
    model = models[kind]
    found = find_tokenizer(model, Path(model.source))
    assert isinstance(found, TokenizerFile)
    assert found.read() == tokenizing_of(build_model(model, fetched=None, device="cpu"))


@pytest.mark.parametrize(
    ("first", "name"),
    [
        ("static_embedding", "static_embedding"),
        ({"kind": "bow", "options": {"vocab": ["a"]}}, "bow"),
        ({"kind": "transformer", "options": {"max_seq_length": 8}}, "transformer"),
        (
            {"kind": "router", "routes": {"query": ["static_embedding"], "document": ["transformer", "pooling"]}},
            "router",
        ),
    ],
)
def test_no_tokenizer_of_the_base_is_taken_for_a_model_of_other_modules(
    tiny_model: Path, first: Any, name: str
) -> None:
    model = Model.model_validate({"path": str(tiny_model), "modules": [first, "pooling"]})
    expected = f"model.modules begins with {name}, whose tokenizer is known once the model is built"
    assert find_tokenizer(model, tiny_model) == expected


def test_why_texts_are_tokenized_as_they_come(tiny_model: Path, tmp_path: Path) -> None:
    path = str(tiny_model)
    assert find_tokenizer(Model(path="some/model"), tmp_path / "missing") == MODEL_NOT_LOCAL
    own_code = Model(path=path, trust_remote_code=True)
    assert find_tokenizer(own_code, tiny_model) == "the model may have its own code (model.trust_remote_code)"
    modules = tmp_path / "modules.json"
    for kind, reason in (
        ("sentence_transformers.models.CLIPModel", "the model's first module is CLIPModel"),
        ("custom.code.Transformer", "the model's first module is custom.code.Transformer"),
    ):
        modules.write_text(json.dumps([{"idx": 0, "name": "0", "path": "", "type": kind}]))
        expected = f"{reason}, which preprocesses texts itself"
        assert find_tokenizer(Model(path=str(tmp_path)), tmp_path) == expected
    modules.unlink()
    assert find_tokenizer(Model(path=str(tmp_path)), tmp_path) == "the model has no tokenizer.json"
