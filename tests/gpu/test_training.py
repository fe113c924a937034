"""Precision, attention, compilation and adapters on a GPU: what each does, and that it changes nothing else."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from embedstep.worker.trainer.trainer import StepTrainer
from tests.effects.conftest import Proof, Train
from tests.gpu.conftest import losses
from tests.gpu.needs import GPU, package

pytestmark = GPU
Section = Callable[..., dict[str, Any]]
LORA = {"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["query", "value"]}
LORA_PARAMETERS = 2 * 2 * 2 * 8 * 32
"""Two matrices of rank 8 for each of two linear layers of 32 dimensions, in two layers of the model."""
CLOSE = 5e-3
"""Relative difference of losses in float32: Adam turns the last bits of small gradients into whole steps."""
ONE_EPOCH = {"max_steps": -1, "num_train_epochs": 1}
FOUR_BITS = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": "bfloat16"}


def cosine(one: Proof, other: Proof) -> float:
    """The smallest cosine between the vectors that two models give to the same texts."""
    texts = ["open a file", "close the socket of a thread", "matrix"]
    first, second = (seen.trainer.model.encode(texts, convert_to_tensor=True).float() for seen in (one, other))
    return float(torch.nn.functional.cosine_similarity(first, second).min())


def precisions(seen: Proof) -> set[torch.dtype]:
    return {parameter.dtype for parameter in seen.trainer.model.parameters()}


@pytest.mark.parametrize(
    "arguments",
    [{}, {"dataloader_num_workers": 2, "dataloader_persistent_workers": True}, {"dataloader_pin_memory": False}],
    ids=["default", "workers", "no pinned memory"],
)
def test_a_training_takes_place_on_the_gpu(prove: Train, arguments: dict[str, Any]) -> None:
    seen = prove(evaluate=True, **arguments)
    assert {parameter.device.type for parameter in seen.trainer.model.parameters()} == {"cuda"}
    assert (seen.plan["gpus"], seen.plan["world_size"]) == (1, 1)
    assert seen.result.cost["unit"] == "GPU-hours"
    assert seen.result.metrics["eval_docs_cosine_ndcg@10"] > 0


def test_the_losses_are_those_of_the_cpu(prove: Train, plain_model: Section) -> None:
    here, there = (
        prove(use_cpu=on_cpu, logging_steps=1, sections={"model": plain_model()}) for on_cpu in (False, True)
    )
    assert there.trainer.args.device.type == "cpu"
    assert losses(here) == pytest.approx(losses(there), rel=CLOSE)


def test_bf16_autocast_stays_close_to_float32(prove: Train, plain_model: Section) -> None:
    full, half = (prove(bf16=on, logging_steps=1, sections={"model": plain_model()}) for on in (False, True))
    assert half.trainer.accelerator.mixed_precision == "bf16"
    assert precisions(half) == {torch.float32}
    assert losses(half) != losses(full)
    assert losses(half) == pytest.approx(losses(full), rel=0.05)
    assert cosine(half, full) > 0.99


def test_fp16_scales_its_loss(prove: Train, plain_model: Section) -> None:
    """The first scale overflows in some models; such steps are skipped, and are no alarm."""
    full, half = (
        prove(fp16=on, logging_steps=1, max_steps=12, sections={"model": plain_model()}) for on in (False, True)
    )
    assert half.trainer.accelerator.scaler.is_enabled()
    assert half.trainer.accelerator.scaler.get_scale() >= 1
    assert precisions(half) == {torch.float32}
    assert half.result.alarms == {}
    assert losses(half)[0] == pytest.approx(losses(full)[0], rel=0.05)
    assert cosine(half, full) > 0.95


def test_sdpa_and_eager_attention_give_the_same_losses(prove: Train, plain_model: Section) -> None:
    found = {}
    for name in ("sdpa", "eager"):
        model = plain_model(model_kwargs={"attn_implementation": name})
        seen = prove(logging_steps=1, sections={"model": model})
        assert seen.trainer.model[0].model.config._attn_implementation == name
        found[name] = losses(seen)
    assert found["sdpa"] == pytest.approx(found["eager"], rel=CLOSE)


@package("flash_attn")
def test_flash_attention_trains_on_batches_without_padding(prove: Train, plain_model: Section) -> None:
    """The library concatenates the texts of a batch. Their kept token ids would be padded, and are left unused."""
    trained = {}
    for name in ("sdpa", "flash_attention_2"):
        model = plain_model(model_kwargs={"attn_implementation": name, "dtype": "bfloat16"})
        trained[name] = prove(**ONE_EPOCH, logging_steps=1, evaluate=True, sections={"model": model})
    padded, flat = trained["sdpa"], trained["flash_attention_2"]
    assert flat.trainer.model[0].can_flatten_inputs
    batch = next(iter(flat.trainer.get_train_dataloader()))
    assert batch["anchor_input_ids"].shape[0] == 1
    assert "anchor_cu_seq_lens_q" in batch
    assert flat.result.padding_share is None
    assert padded.result.padding_share is not None
    assert losses(flat) == pytest.approx(losses(padded), rel=0.1)
    assert cosine(flat, padded) > 0.98


@pytest.fixture
def _without_former_graphs() -> Iterator[None]:
    yield
    torch._dynamo.reset()


@pytest.mark.usefixtures("_without_former_graphs")
def test_a_compiled_model_gives_the_same_losses(prove: Train, plain_model: Section) -> None:
    eager, compiled = (
        prove(torch_compile=on, logging_steps=1, sections={"model": plain_model()}) for on in (False, True)
    )
    assert type(compiled.trainer.model_wrapped).__name__ == "OptimizedModule"
    assert losses(compiled) == pytest.approx(losses(eager), rel=CLOSE)
    assert compiled.result.reload_cosine is not None


@package("peft")
@pytest.mark.parametrize("arguments", [{}, {"bf16": True}, {"gradient_checkpointing": True}], ids=str)
def test_lora_trains_its_matrices_alone(prove: Train, plain_model: Section, arguments: dict[str, Any]) -> None:
    seen = prove(**arguments, logging_steps=1, sections={"model": plain_model(peft=LORA)})
    assert trained(seen) == LORA_PARAMETERS
    assert len(losses(seen)) == 4


@package("peft")
@package("bitsandbytes")
def test_lora_trains_over_a_base_of_four_bits(
    prove: Train, plain_model: Section, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Quantized while it trains; the published model is the base in float32 with the adapter merged into it."""
    kinds = set[str]()
    compute = StepTrainer.compute_loss

    def compute_loss(trainer: Any, model: Any, *arguments: Any, **options: Any) -> Any:
        kinds.update(type(module).__name__ for module in model.modules())
        return compute(trainer, model, *arguments, **options)

    monkeypatch.setattr(StepTrainer, "compute_loss", compute_loss)
    model = plain_model(peft=LORA, model_kwargs={"quantization_config": FOUR_BITS})
    seen = prove(bf16=True, logging_steps=1, sections={"model": model})
    assert "Linear4bit" in kinds
    assert trained(seen) == LORA_PARAMETERS
    assert len(losses(seen)) == 4
    assert precisions(seen) == {torch.float32}


def trained(seen: Proof) -> int:
    """How many values the optimizer trains, apart from whether the adapter was merged in the end."""
    return sum(parameter.numel() for group in seen.trainer.optimizer.param_groups for parameter in group["params"])
