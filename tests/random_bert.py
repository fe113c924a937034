"""BERT models of any size with random weights: nothing is downloaded."""

from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from transformers import AutoTokenizer, BertConfig, BertModel


def save_bert(
    folder: Path, tokenizer: Path, *, layers: int, width: int, heads: int = 2, feed_forward: int = 2, tokens: int = 32
) -> Path:
    """Save a BERT with mean pooling and return the folder of the model.

    Args:
        folder: folder to write to.
        tokenizer: folder of a model with 30,522 tokens, whose tokenizer it gets.
        layers: number of layers.
        width: hidden dimensions, which the embeddings have.
        heads: attention heads of a layer.
        feed_forward: inner dimensions of a feed-forward layer, as a multiple of the width.
        tokens: longest text, in tokens.
    """
    torch.manual_seed(7)
    config = BertConfig(
        vocab_size=30522, hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads,
        intermediate_size=feed_forward * width,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder / "bert")
    AutoTokenizer.from_pretrained(tokenizer).save_pretrained(folder / "bert")
    modules = [Transformer(str(folder / "bert"), max_seq_length=tokens), Pooling(width)]
    SentenceTransformer(modules=modules, device="cpu").save_pretrained(str(folder / "model"))
    return folder / "model"
