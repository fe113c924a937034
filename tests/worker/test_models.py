"""The model that a run starts from."""

from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer
from transformers import AutoModel

from embedstep.errors import InvalidRequestError
from embedstep.request.model import Model
from embedstep.worker.models import build_model


def test_a_static_model_starts_from_the_word_vectors(minilm: Path) -> None:
    section = Model.model_validate({"static": str(minilm), "initial_vectors": "word_embeddings"})
    model = build_model(section, fetched=None, device="cpu")
    word = AutoModel.from_pretrained(minilm).get_input_embeddings().weight.detach().numpy()
    token = model.tokenizer.encode("matrix", add_special_tokens=False).ids[0]
    np.testing.assert_allclose(model.encode("matrix"), word[token], rtol=1e-6)


def test_a_static_embedding_that_was_saved_takes_no_token_limit(minilm: Path, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    tokenizer = Tokenizer.from_file(str(minilm / "tokenizer.json"))
    SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=4)], device="cpu").save(str(tmp_path / "m"))
    section = Model(path=str(tmp_path / "m"), max_seq_length=16)
    with pytest.raises(
        InvalidRequestError, match=r"model\.max_seq_length: a StaticEmbedding has no token limit; remove it"
    ):
        build_model(section, fetched=None, device="cpu")


def test_a_folder_that_holds_no_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match=rf"model\.path: {tmp_path} cannot be loaded: "):
        build_model(Model(path=str(tmp_path)), fetched=None, device="cpu")
