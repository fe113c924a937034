"""Kept token ids in training: the same features and the same weights as from texts, to the bit."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer

from embedstep.output.result import StepResult
from embedstep.request.model import Model
from embedstep.worker.models import build_model
from embedstep.worker.trainer import build
from embedstep.worker.trainer.tokens import Padding

Train = Callable[[Mapping[str, Any]], StepResult]
Build = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def transformer(tiny_model: Path) -> SentenceTransformer:
    return SentenceTransformer(str(tiny_model), device="cpu")


@given(
    texts=st.lists(st.text(max_size=80), min_size=1, max_size=9),
    prompt=st.sampled_from([None, "query: "]),
    side=st.sampled_from(["left", "right"]),
)
def test_padding_is_that_of_the_model(
    transformer: SentenceTransformer, texts: list[str], prompt: str | None, side: str
) -> None:
    transformer.tokenizer.padding_side = side
    alone = [transformer.preprocess([text], prompt=prompt)["input_ids"][0].numpy() for text in texts]
    found = Padding(transformer)([ids.astype(np.int32) for ids in alone], prompt=prompt)
    expected = transformer.preprocess(texts, prompt=prompt)
    assert list(found) == list(expected)
    for name, value in expected.items():
        if isinstance(value, torch.Tensor):
            assert found[name].dtype == value.dtype
            assert torch.equal(found[name], value)
        else:
            assert found[name] == value


def weights(output: Path) -> bytes:
    return next((output / "model").rglob("model.safetensors")).read_bytes()


def trained(train: Train, document: dict[str, Any], output: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[bytes, int]:
    """Train, and return the weights and how many texts of batches went through the model's own preprocessing."""
    count = 0
    preprocess = SentenceTransformer.preprocess

    def spy(self: Any, inputs: Any, *arguments: Any, **options: Any) -> Any:
        nonlocal count
        count += len(inputs)
        return preprocess(self, inputs, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(SentenceTransformer, "preprocess", spy)
        assert train({**document, "arguments": {**document["arguments"], "overwrite_output_dir": True}}).exit_code == 0
    return weights(output), count


CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "no_duplicates": {"batch_sampler": "no_duplicates", "dataloader_drop_last": True},
    "prompts": {"prompts": {"anchor": "query: ", "positive": "passage: "}},
    "workers": {"dataloader_num_workers": 2},
}


@pytest.mark.parametrize("model", ["transformer", "static"])
@pytest.mark.parametrize("case", CASES)
def test_the_weights_are_the_same_to_the_bit(
    train_here: Train, request_of: Build, minilm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    model: str, case: str,
) -> None:  # fmt: skip
    arguments = {"max_steps": -1, "num_train_epochs": 2, "per_device_train_batch_size": 16, **CASES[case]}
    document = request_of(arguments=arguments)
    if model == "static":
        document["model"] = {"static": str(minilm / "tokenizer.json"), "dimension": 16}
    kept, few = trained(train_here, document, tmp_path / "output", monkeypatch)
    monkeypatch.setattr(build, "token_ids", lambda *arguments: {})
    as_they_come, many = trained(train_here, document, tmp_path / "output", monkeypatch)
    assert kept == as_they_come
    if "dataloader_num_workers" not in arguments:
        # 130 pairs in each of two epochs; what is left is the look at the first rows, the prompts and the last check.
        assert many - few > 400


def test_eval_rows_and_several_datasets_are_tokenized_once_too(
    train_here: Train, request_of: Build, data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = {"anchor": "anchor", "positive": "positive"}
    named = {
        name: {"path": str(data_folder / f"{name}.jsonl"), "columns": columns} for name in ("train", "more", "eval")
    }
    document = request_of(
        data={"train": {"docs": named["train"], "more": named["more"]}, "eval": {"docs": named["eval"]}},
        loss={"docs": "multiple_negatives_ranking", "more": "multiple_negatives_ranking"},
        arguments={
            "max_steps": -1, "num_train_epochs": 2, "eval_strategy": "epoch",
            "prompts": {"docs": {"anchor": "query: "}, "more": {"anchor": "other: "}},
        },
    )  # fmt: skip
    kept, few = trained(train_here, document, tmp_path / "output", monkeypatch)
    monkeypatch.setattr(build, "token_ids", lambda *arguments: {})
    as_they_come, many = trained(train_here, document, tmp_path / "output", monkeypatch)
    assert kept == as_they_come
    # Two epochs of 180 pairs and two evaluations of 40.
    assert many - few > 2 * (360 + 80) - 300


def test_a_model_with_features_of_its_own_tokenizes_itself(
    train_here: Train, request_of: Build, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    preprocess = SentenceTransformer.preprocess

    def with_more(self: Any, inputs: Any, *arguments: Any, **options: Any) -> Any:
        return {**preprocess(self, inputs, *arguments, **options), "more": torch.zeros(len(inputs))}

    monkeypatch.setattr(SentenceTransformer, "preprocess", with_more)
    with caplog.at_level(logging.WARNING):
        assert train_here(request_of(arguments={"max_steps": 2})).exit_code == 0
    assert "the texts of docs are tokenized each time: only the model itself makes its features" in caplog.text


def test_a_static_embedding_gets_its_offsets(minilm: Path) -> None:
    model = build_model(Model(static=str(minilm / "tokenizer.json"), dimension=8), fetched=None, device="cpu")
    texts = ["open a file", "", "a"]
    tokenizer: Tokenizer = model[0].tokenizer
    ids = [np.array(tokenizer.encode(text, add_special_tokens=False).ids, np.int32) for text in texts]
    found, expected = Padding(model)(ids), model.preprocess(texts)
    assert list(found) == list(expected) == ["input_ids", "offsets"]
    for name in found:
        assert found[name].dtype == expected[name].dtype
        assert torch.equal(found[name], expected[name])
    assert found["offsets"].tolist() == [0, 3, 3]
