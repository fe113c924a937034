"""Folders that look like saved models to a reader of their files: JSON, and safetensors with a header and zeros."""

import json
import struct
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8}
TENSORS = {
    "embeddings.word_embeddings.weight": ("F32", (100, 8)),
    "embeddings.position_embeddings.weight": ("F32", (64, 8)),
    "encoder.layer.0.dense.weight": ("F32", (8, 8)),
}
CONFIG = {"architectures": ["BertModel"], "model_type": "bert", "hidden_size": 8, "max_position_embeddings": 64}
MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
]


def write_safetensors(file: Path, tensors: Mapping[str, tuple[str, tuple[int, ...]]]) -> None:
    """Write a file with these tensors, all zero."""
    header, end = {}, 0
    for name, (dtype, shape) in tensors.items():
        begin, end = end, end + BYTES[dtype] * prod(shape)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + bytes(end))


def write_model(
    folder: Path,
    *,
    config: Mapping[str, Any] = CONFIG,
    tensors: Mapping[str, tuple[str, tuple[int, ...]]] = TENSORS,
    modules: list[dict[str, Any]] | None = MODULES,
    pooling: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    tokenizer: Mapping[str, Any] | None = None,
    vocabulary: int = 100,
    limit: int | None = 32,
) -> Path:
    """Write the files of a BERT of 8 dimensions, 64 positions and 100 tokens, with these differences."""
    folder.mkdir(parents=True, exist_ok=True)
    files: dict[str, Any] = {
        "config.json": config,
        "tokenizer.json": {"model": {"vocab": {f"t{index}": index for index in range(vocabulary)}}, "added_tokens": []},
        "tokenizer_config.json": {"pad_token": "t0"} if tokenizer is None else tokenizer,
    }
    if modules is not None:
        (folder / "1_Pooling").mkdir(exist_ok=True)
        files |= {"modules.json": modules, "1_Pooling/config.json": pooling or {"pooling_mode": "mean"}}
    if settings is not None:
        files["config_sentence_transformers.json"] = settings
    if limit is not None:
        files["sentence_bert_config.json"] = {"max_seq_length": limit}
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
    write_safetensors(folder / "model.safetensors", tensors)
    return folder
