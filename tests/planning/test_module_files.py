"""What the files of modules say, and what is refused of them."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embedstep.planning.model_checks import check_model
from embedstep.request.schema import TrainRequest
from tests.planning.plans import kind


@pytest.mark.parametrize(
    ("model", "problems"),
    [
        ({"modules": [kind("transformer", path="nowhere"), "pooling"]},
         ["model.modules.0.options.path: nowhere is not a folder on this machine"]),
        ({"modules": [kind("static_embedding", path="org/model")]},
         ["model.modules.0.options.path: org/model is not a folder or file on this machine; a model on the hub can be "
          "model.path, download others"]),
        ({"modules": [kind("word_embeddings", path="weights.json"), kind("lstm", hidden_dim=4), "pooling"]},
         ["model.modules.0.options.path: weights.json does not hold a word and its vector on each line"]),
        ({"modules": [kind("word_embeddings", path="nowhere"), kind("lstm", hidden_dim=4), "pooling"]},
         ["model.modules.0.options.path: nowhere is not a file of words and their vectors on this machine"]),
        ({"modules": [kind("bow", vocab="empty.txt", word_weights="list.json"), kind("dense", out_features=2)]},
         ["model.modules.0.options.word_weights: list.json is not a JSON file with a number for each word",
          "model.modules.0.options.vocab: empty.txt holds no words"]),
        ({"path": "BARE", "modules": ["clip"]},
         ["model.path: BARE is a bert model, and no CLIP; write transformer, and then pooling"]),
        ({"modules": [kind("static_embedding", path="weights.json")]},
         ["model.modules.0.options.path: weights.json is a tokenizer and holds no vectors; give embedding_dim for "
          "random ones"]),
    ],
)  # fmt: skip
def test_a_file_that_is_no_such_module_is_refused(
    request_with: Callable[..., TrainRequest], tiny_model: Path, model: dict[str, Any], problems: list[str]
) -> None:
    found = [str(problem) for problem in check_model(request_with(model))]
    assert found == [problem.replace("BARE", str(tiny_model.parent / "bert")) for problem in problems]


def test_word_vectors_may_be_packed(request_with: Callable[..., TrainRequest], tmp_path: Path) -> None:
    with gzip.open(tmp_path / "vectors.txt.gz", "wt") as file:
        file.write("open 1 2 3\n")
    model = {"modules": [kind("word_embeddings", path="vectors.txt.gz"), kind("lstm", hidden_dim=2), "pooling"]}
    assert list(check_model(request_with(model))) == []
