"""A saved adapter names its base, and says which weights that had."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from embedstep.data.model_facts import read_model_facts
from embedstep.data.parameters import saved_parameters
from embedstep.output.adapters import record_base, saved_adapter, transformer_folder, weights_folder
from embedstep.output.weights import base_digest, read_space, weights_digest
from tests.model_files import MODULES, TENSORS, write_model, write_safetensors


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A model of 8 dimensions."""
    return write_model(tmp_path / "base")


@pytest.fixture
def adapter_of(tmp_path: Path) -> Callable[[str], Path]:
    """Write an adapter that was saved with a pooling by the first token, and return its folder."""

    def write(base: str, digest: str | None = None) -> Path:
        folder = write_model(tmp_path / "adapter", pooling={"pooling_mode": "cls"})
        (folder / "config.json").unlink()
        (folder / "model.safetensors").unlink()
        (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 2}))
        write_safetensors(folder / "adapter_model.safetensors", {"lora_A.weight": ("F32", (2, 8))})
        record_base(folder, base, "main", digest)
        return folder

    return write


def test_an_adapter_has_the_facts_of_its_base_and_its_own_pooling(base: Path, adapter_of: Callable[..., Path]) -> None:
    folder = adapter_of(str(base))
    facts = read_model_facts(folder)
    assert (facts.adapter_of, facts.pooling, facts.dimension, facts.max_tokens) == (str(base), "cls", 8, 64)
    assert facts.parameters == read_model_facts(base).parameters
    assert saved_parameters(folder) == saved_parameters(base)
    assert weights_folder(folder) == base
    assert weights_folder(base) == base
    assert transformer_folder(folder) == folder


def test_a_base_that_has_changed_is_named(base: Path, adapter_of: Callable[..., Path]) -> None:
    then = base_digest(base)
    adapter = saved_adapter(adapter_of(str(base), then))
    assert adapter is not None
    assert adapter.mismatch(base) == ""
    write_safetensors(base / "model.safetensors", {**TENSORS, "further": ("F32", (1,))})
    now = base_digest(base)
    assert adapter.mismatch(base) == (
        f"is an adapter of {base}, whose weights or tokenizer have changed since it was trained (SHA-256 {then[:12]} "
        f"then, {now[:12]} now); restore them, or train the adapter again"
    )


def test_of_an_adapter_of_another_program_the_base_is_not_known(base: Path, adapter_of: Callable[..., Path]) -> None:
    adapter = saved_adapter(adapter_of(str(base)))
    assert adapter is not None
    assert (adapter.digest, adapter.mismatch(base)) == (None, "")


def test_a_base_that_is_not_here_is_read_as_unknown(adapter_of: Callable[..., Path]) -> None:
    folder = adapter_of("org/base")
    adapter = saved_adapter(folder)
    assert adapter is not None
    assert (adapter.base, adapter.revision, adapter.local_base) == ("org/base", "main", None)
    facts = read_model_facts(folder)
    assert (facts.adapter_of, facts.modules, facts.dimension) == ("org/base", ("Transformer", "Pooling"), None)


def test_a_model_with_its_own_weights_is_no_adapter(base: Path) -> None:
    """Nor is a folder that PEFT alone has saved, which says nothing of pooling."""
    assert saved_adapter(base) is None
    (base / "adapter_config.json").write_text("{}")
    assert saved_adapter(base) is None  # weights of a base with an adapter inside
    (base / "config.json").unlink()
    (base / "modules.json").unlink()
    assert saved_adapter(base) is None


def test_the_space_of_an_adapter_is_that_of_its_base_too(base: Path, adapter_of: Callable[..., Path]) -> None:
    folder = adapter_of(str(base), "a" * 64)
    first = weights_digest(folder)
    record_base(folder, str(base), None, "b" * 64)
    assert weights_digest(folder) != first
    assert read_space(folder, 8).modules == (("Pooling", {"pooling_mode": "cls", "include_prompt": True}),)
    assert len(MODULES) == 2
