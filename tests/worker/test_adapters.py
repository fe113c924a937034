"""Adapters train, are saved alone in checkpoints, and end in a whole model or alone with the digest of their base."""

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedstep.output.result import StepResult
from embedstep.planning.adapter_kinds import ADAPTER_TYPES, CANNOT_MERGE
from embedstep.promotion.gate import promote
from embedstep.request.loading import load_request
from embedstep.step import plan_step

pytest.importorskip("peft")
Build = Callable[..., dict[str, Any]]
Train = Callable[..., StepResult]
LORA = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "lora_dropout": 0.1, "target_modules": ["query", "value"]}
STEPS = {"max_steps": 3, "save_strategy": "steps", "save_steps": 1}


def plain_lora(model: Path, rows: Path, folder: Path) -> Path:
    """Train with PEFT as a script would, which knows nothing of embedstep; return the folder of the merged model."""
    from tests.distributed import plain_script

    arguments = {**STEPS, "learning_rate": 1e-3, "report_to": "none"}
    with warnings.catch_warnings():  # PEFT reads a name that transformers has deprecated
        warnings.simplefilter("ignore", FutureWarning)
        plain_script.main(str(model), str(rows), str(folder), json.dumps(arguments), json.dumps(LORA))
    return folder / "model"


@pytest.fixture
def lora(request_of: Build, tiny_model: Path) -> Build:
    """Build a request that trains LoRA; keyword arguments go into `model.peft`."""

    def build(arguments: dict[str, Any] = STEPS, **peft: Any) -> dict[str, Any]:
        return request_of(model={"path": str(tiny_model), "peft": {**LORA, **peft}}, arguments=arguments)

    return build


def test_the_merged_model_is_that_of_a_script_with_peft(
    train_here: Train, lora: Build, tiny_model: Path, data_folder: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    plan = plan_step(load_request(json.dumps(lora())))
    assert plan.model is not None
    # Four modules of 32 by 32 with two matrices of rank 4 each.
    assert plan.model.trainable == 4 * 2 * 4 * 32
    assert plan.model.adapter == "LORA, published merged into the model"
    result = train_here(lora())
    assert result.exit_code == 0, result.failure
    plain = load_file(plain_lora(tiny_model, data_folder / "train.jsonl", tmp_path / "plain") / "model.safetensors")
    ours = load_file(Path(str(result.model)) / "model.safetensors")
    assert ours.keys() == plain.keys()
    assert all(np.array_equal(ours[name], plain[name]) for name in plain)


def test_a_checkpoint_has_the_adapter_alone_and_resumes_to_the_bit(
    train_here: Train, request_of: Build, tiny_model: Path
) -> None:
    model = {
        "path": str(tiny_model),
        "modules": ["transformer", "pooling", {"kind": "dense", "options": {"out_features": 8}}],
        "layers": {"keep": [1]},
        "peft": {**LORA, "target_modules": "all-linear"},
    }
    whole = train_here(request_of(model=model, arguments=STEPS), "whole")
    assert whole.exit_code == 0, whole.failure
    checkpoint = Path(whole.output) / "checkpoints" / "checkpoint-1"
    names = {file.name for file in checkpoint.iterdir()}
    assert "adapter_model.safetensors" in names
    assert "model.safetensors" not in names
    again = {**STEPS, "resume_from_checkpoint": str(checkpoint)}
    resumed = train_here(request_of(model=model, arguments=again), "resumed")
    assert resumed.exit_code == 0, resumed.failure
    assert resumed.weights_sha256 == whole.weights_sha256
    assert resumed.movement == whole.movement
    assert whole.movement is not None
    assert whole.movement.weights_changed is not None
    # Of 1.0 million weights in 24 tensors only those of linear layers change, evenly sampled.
    assert 0.1 < whole.movement.weights_changed < 0.9


def test_the_best_checkpoint_is_loaded_with_its_adapter(train_here: Train, evaluated: Build, tiny_model: Path) -> None:
    """The loss rises with such a rate, so that the best checkpoint is not the last."""
    from safetensors.torch import load_file

    arguments = {
        **STEPS, "eval_strategy": "steps", "eval_steps": 1, "load_best_model_at_end": True, "learning_rate": 0.5,
        "metric_for_best_model": "eval_loss", "greater_is_better": True,
    }  # fmt: skip
    model = {"path": str(tiny_model), "peft": LORA}
    result = train_here(evaluated(model=model, arguments=arguments))
    assert result.exit_code == 0, result.failure
    state = json.loads((Path(result.output) / "checkpoints" / "checkpoint-3" / "trainer_state.json").read_text())
    best = Path(state["best_model_checkpoint"])
    adapter = load_file(best / "adapter_model.safetensors")
    name = "encoder.layer.0.attention.self.query"
    change = adapter[f"base_model.model.{name}.lora_B.weight"] @ adapter[f"base_model.model.{name}.lora_A.weight"] * 2
    begun = load_file(tiny_model / "model.safetensors")[f"{name}.weight"]
    merged = load_file(Path(str(result.model)) / "model.safetensors")[f"{name}.weight"]
    assert float((merged - begun - change).abs().max()) < 1e-6


def test_an_adapter_alone_is_a_champion_and_trained_further(
    train_here: Train, lora: Build, request_of: Build, evaluated: Build, tiny_model: Path, tmp_path: Path
) -> None:
    from embedstep.worker.models import load_saved

    base = tmp_path / "base"
    shutil.copytree(tiny_model, base)
    alone = lora(merge=False)
    alone["model"]["path"] = str(base)
    result = train_here(alone, "alone")
    assert result.exit_code == 0, result.failure
    folder = Path(str(result.model))
    assert {file.name for file in folder.iterdir() if file.suffix == ".safetensors"} == {"adapter_model.safetensors"}
    assert json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] == str(base)
    whole = train_here(lora(), "whole")
    text = ["a text"]
    assert np.allclose(
        load_saved(str(folder), device="cpu").encode(text),
        load_saved(str(whole.model), device="cpu").encode(text),
        atol=1e-6,
    )
    assert whole.movement is not None
    assert result.movement is not None
    assert result.movement.weights_moved == pytest.approx(whole.movement.weights_moved, rel=1e-5)
    assert result.weights_sha256 != whole.weights_sha256

    gate = load_request(json.dumps(evaluated(model={"path": str(tiny_model), "peft": LORA})))
    decision = promote(gate, Path(whole.output), champion=str(folder))
    # The model with the adapter merged into it gives the same vectors.
    assert decision.action == "hold"
    assert decision.metrics["champion"] == pytest.approx(decision.metrics["challenger"], abs=1e-9)

    second = request_of(model=str(folder))
    plan = plan_step(load_request(json.dumps(second)))
    assert plan.model is not None
    assert (plan.model.dimension, plan.model.adapter_of) == (32, str(base))
    assert plan.notes[0] == f"the model is an adapter of {base}, and is merged into it before the training"
    further = train_here(second, "second")
    assert further.exit_code == 0, further.failure
    assert "model.safetensors" in {file.name for file in Path(str(further.model)).iterdir()}

    with (base / "model.safetensors").open("r+b") as weights:
        weights.seek(-1, 2)
        weights.write(b"\x11")
    refused = train_here(second, "third")
    assert refused.exit_code == 2
    assert refused.failure is not None
    assert f"is an adapter of {base}, whose weights or tokenizer have changed since" in refused.failure.message


@pytest.mark.parametrize(
    "arguments",
    [
        {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": True}},
        {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": False}},
    ],
    ids=["reentrant", "not reentrant"],
)
def test_recomputed_activations_give_the_same_adapter(
    train_here: Train, lora: Build, arguments: dict[str, Any]
) -> None:
    from safetensors.torch import load_file

    usual, recomputed = train_here(lora(), "usual"), train_here(lora({**STEPS, **arguments}), "recomputed")
    assert (usual.exit_code, recomputed.exit_code) == (0, 0), (usual.failure, recomputed.failure)
    one, other = (load_file(Path(str(each.model)) / "model.safetensors") for each in (usual, recomputed))
    assert max(float((one[name] - other[name]).abs().max()) for name in one) < 1e-6


OPTIONS: dict[str, dict[str, Any]] = {
    "C3A": {"block_size": 16},
    "IA3": {"feedforward_modules": []},
    "LN_TUNING": {"target_modules": ["LayerNorm"]},
    "MISS": {"r": 4},
    "ROAD": {"group_size": 16},
    "SHIRA": {"r": 4},
    "TRAINABLE_TOKENS": {"target_modules": ["word_embeddings"], "token_indices": [2023, 3793]},
    "WAVEFT": {"n_frequency": 100},
}
"""Options of types whose defaults are for larger models."""


@pytest.mark.filterwarnings(
    "ignore:Failed to load the CUDA extension:UserWarning",  # BOFT falls back
    "ignore:Setting boft_n_butterfly_factor:UserWarning",
    "ignore:Unsupported layer type:UserWarning",  # LN_TUNING, of a LayerNorm
    "ignore:Sparse invariant checks:UserWarning",  # SHIRA
)
@pytest.mark.parametrize("kind", ADAPTER_TYPES)
def test_each_type_trains_and_is_published(kind: str, tiny_model: Path, tmp_path: Path) -> None:
    import torch
    from sentence_transformers import SentenceTransformer

    from embedstep.output.adapters import record_base
    from embedstep.output.weights import base_digest
    from embedstep.request.model import Model
    from embedstep.worker.adapters import add_adapter, load_checkpoint, merge_adapter
    from embedstep.worker.models import build_model, load_saved

    section = Model(
        path=str(tiny_model),
        peft={"peft_type": kind, "target_modules": ["query", "value", "dense"], **OPTIONS.get(kind, {})},
    )

    def adapted() -> SentenceTransformer:
        torch.manual_seed(3)
        model = build_model(section, fetched=None, device="cpu")
        add_adapter(model, section, recomputes=False)
        return model.eval()

    texts = ["this is a text", "another text"]
    model = adapted()
    begun = model.encode(texts)
    optimizer = torch.optim.AdamW([each for each in model.parameters() if each.requires_grad], lr=0.05)
    for _ in range(3):
        found = model(model.preprocess(texts))["sentence_embedding"]
        found.square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    trained = model.encode(texts)
    assert float(np.abs(trained - begun).max()) > 1e-6
    model.save_pretrained(str(tmp_path / "checkpoint"))
    resumed = adapted()
    load_checkpoint(resumed, tmp_path / "checkpoint")
    assert np.array_equal(resumed.encode(texts), trained)
    record_base(tmp_path / "checkpoint", str(tiny_model), None, base_digest(tiny_model))
    assert np.allclose(load_saved(str(tmp_path / "checkpoint"), device="cpu").encode(texts), trained, atol=1e-6)
    if kind in CANNOT_MERGE:
        with pytest.raises(NotImplementedError):
            merge_adapter(model, adapted)
    else:
        merge_adapter(model, adapted)
        assert type(model[0].model).__name__ == "BertModel"
        assert np.allclose(model.encode(texts), trained, atol=1e-5)
