"""Schedule, batch and optimizer: each argument with another value than its default, and what shows that it counted.

The training data are 130 rows; in batches of 8 they are 17 steps an epoch. `prove` makes 4 steps
unless a test asks for more.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.effects.conftest import Proof, Train

BY_EPOCHS = {"max_steps": -1, "num_train_epochs": 1}
Check = Callable[[Proof], bool]

SCHEDULE: dict[str, tuple[dict[str, Any], Check]] = {
    "num_train_epochs": ({"max_steps": -1, "num_train_epochs": 0.5}, lambda seen: seen.trainer.state.global_step == 9),
    "max_steps": ({"max_steps": 3}, lambda seen: seen.trainer.state.global_step == 3),
    "lr_scheduler_type": ({"lr_scheduler_type": "constant"}, lambda seen: seen.rates == [1e-3] * 4),
    "lr_scheduler_kwargs": (
        # Two rounds of cosine in 8 steps: at half time the rate is at its peak again.
        {"max_steps": 8, "lr_scheduler_type": "cosine_with_restarts", "lr_scheduler_kwargs": {"num_cycles": 2}},
        lambda seen: math.isclose(seen.rates[4], 1e-3) and seen.rates[3] < 5e-4,
    ),
    "warmup_steps": ({"warmup_steps": 2}, lambda seen: seen.rates[:2] == [0.0, 5e-4] and seen.rates[2] == 1e-3),
    "warmup_ratio": ({"warmup_ratio": 1.0}, lambda seen: seen.rates == [0.0, 2.5e-4, 5e-4, 7.5e-4]),
}
BATCH: dict[str, tuple[dict[str, Any], Check]] = {
    "per_device_train_batch_size": ({"per_device_train_batch_size": 5}, lambda seen: seen.batches == [5] * 4),
    "per_gpu_train_batch_size": ({"per_gpu_train_batch_size": 5}, lambda seen: seen.batches == [5] * 4),
    "per_device_eval_batch_size": (
        {"per_device_eval_batch_size": 3, "evaluate": True},
        lambda seen: seen.trainer.get_eval_dataloader().batch_sampler.batch_size == 3,
    ),
    "per_gpu_eval_batch_size": (
        {"per_gpu_eval_batch_size": 3, "evaluate": True},
        lambda seen: seen.trainer.get_eval_dataloader().batch_sampler.batch_size == 3,
    ),
    "gradient_accumulation_steps": (
        {**BY_EPOCHS, "gradient_accumulation_steps": 3},
        lambda seen: (len(seen.batches), seen.trainer.state.global_step) == (17, 6),
    ),
}
OPTIMIZER: dict[str, tuple[dict[str, Any], Check]] = {
    "learning_rate": (
        {"learning_rate": 3e-4, "lr_scheduler_type": "constant"},
        lambda seen: seen.rates == [3e-4] * 4,
    ),
    "weight_decay": (
        {"weight_decay": 0.25},
        lambda seen: [group["weight_decay"] for group in seen.trainer.optimizer.param_groups] == [0.25, 0.0],
    ),
    "adam_beta1": ({"adam_beta1": 0.7}, lambda seen: seen.group["betas"] == (0.7, 0.999)),
    "adam_beta2": ({"adam_beta2": 0.8}, lambda seen: seen.group["betas"] == (0.9, 0.8)),
    "adam_epsilon": ({"adam_epsilon": "1e-3"}, lambda seen: seen.group["eps"] == 1e-3),
    "optim": ({"optim": "sgd"}, lambda seen: type(seen.trainer.optimizer.optimizer).__name__ == "SGD"),
    "adafactor": ({"adafactor": True}, lambda seen: type(seen.trainer.optimizer.optimizer).__name__ == "Adafactor"),
    "optim_args": ({"optim": "sgd", "optim_args": "momentum=0.9"}, lambda seen: seen.group["momentum"] == 0.9),
    "learning_rate_mapping": (
        {"learning_rate_mapping": {"embeddings": 0.01}, "lr_scheduler_type": "constant"},
        lambda seen: {group["lr"] for group in seen.trainer.optimizer.param_groups} == {1e-3, 0.01},
    ),
    "activation_checkpointing": ({"activation_checkpointing": True}, lambda seen: recomputes(seen)),
    "gradient_checkpointing": ({"gradient_checkpointing": True}, lambda seen: recomputes(seen)),
    "use_cache": ({"use_cache": True}, lambda seen: seen.trainer.model[0].model.config.use_cache is True),
}


def recomputes(seen: Proof) -> bool:
    """Whether the layers compute their activations again in the backward pass."""
    return any(getattr(module, "gradient_checkpointing", False) for module in seen.trainer.model.modules())


@pytest.mark.parametrize("name", SCHEDULE)
def test_schedule(prove: Train, name: str) -> None:
    given, check = SCHEDULE[name]
    assert check(prove(**given))


@pytest.mark.parametrize("name", BATCH)
def test_batch(prove: Train, name: str) -> None:
    given, check = BATCH[name]
    assert check(prove(**given))


@pytest.mark.parametrize("name", OPTIMIZER)
def test_optimizer(prove: Train, name: str) -> None:
    given, check = OPTIMIZER[name]
    assert check(prove(**given))


def test_max_steps_0_goes_by_epochs(prove: Train) -> None:
    assert prove(max_steps=0, num_train_epochs=1).trainer.state.global_step == 17


def test_max_grad_norm(prove: Train) -> None:
    """With plain gradient descent, gradients cut to almost nothing leave the weights where they were."""
    still = prove(optim="sgd", learning_rate=1.0, max_grad_norm=1e-9, max_steps=1)
    moved = prove(optim="sgd", learning_rate=1.0, max_grad_norm=0, max_steps=1)
    start = prove(optim="sgd", learning_rate=0.0, max_steps=1)
    assert distance(still, start) < 1e-6 < distance(moved, start)


def distance(one: Proof, other: Proof) -> float:
    """Largest difference between two models' weights."""
    first, second = one.trainer.model.state_dict(), other.trainer.model.state_dict()
    return max(float((first[name] - second[name]).abs().max()) for name in first)


@pytest.mark.parametrize("name", ["gradient_checkpointing_kwargs", "activation_checkpointing_kwargs"])
def test_options_of_checkpointing_reach_torch(prove: Train, name: str) -> None:
    seen = prove(**{name.removesuffix("_kwargs"): True, name: {"use_reentrant": False, "determinism_check": "none"}})
    functions = [getattr(module, "_gradient_checkpointing_func", None) for module in seen.trainer.model.modules()]
    assert [function.keywords["determinism_check"] for function in functions if function][:1] == ["none"]


def test_label_smoothing_factor(prove: Train, data_folder: Path) -> None:
    """At the first step the model is that of the unsmoothed run, so the loss is that of the formula, by hand."""
    columns = {"anchor": "anchor", "positive": "positive", "label": "class"}
    train = {"docs": {"path": str(data_folder / "train.jsonl"), "columns": columns}}
    softmax = {"kind": "softmax", "options": {"num_labels": 2}}

    def first_loss(factor: float) -> float:
        sections = {"data": {"train": train}, "loss": softmax}
        return float(
            prove(label_smoothing_factor=factor, max_steps=1, logging_steps=1, sections=sections).logs[0]["loss"]
        )

    plain, half, whole = first_loss(0.0), first_loss(0.5), first_loss(1.0)
    assert plain != whole
    assert math.isclose(half, (plain + whole) / 2, rel_tol=1e-5)


def test_label_smoothing_needs_classes(
    request_of: Callable[..., dict[str, Any]], embedstep_run: Callable[..., Any]
) -> None:
    outcome = embedstep_run(request_of(arguments={"label_smoothing_factor": 0.1}))
    assert outcome.code == 2
    assert (
        "arguments.label_smoothing_factor: is 0.1, and multiple_negatives_ranking has no classes to smooth; "
        "remove it, or train with softmax or contrastive_tension_in_batch_negatives"
    ) in " ".join(outcome.err.split())


def test_auto_find_batch_size(prove: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory ends above 5 rows; the library alone tries 8 rows until it gives up."""
    from embedstep.worker.trainer.trainer import StepTrainer

    sizes = fail_above(5, StepTrainer, monkeypatch)
    seen = prove(auto_find_batch_size=True, max_steps=2)
    assert sizes == [8, 7, 6, 5, 5]
    assert seen.trainer.batch_size_found == 5
    (entry,) = (entry for entry in seen.result.ledger if entry["name"] == "auto_find_batch_size")
    assert entry["effect"] == "5 rows fit"


def fail_above(rows: int, trainer: Any, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let batches of more rows run out of memory; return the list that the sizes are noted in."""
    compute, sizes = trainer.compute_loss, list[int]()

    def compute_loss(self: Any, model: Any, inputs: Any, *arguments: Any, **options: Any) -> Any:
        sizes.append(len(inputs["anchor_input_ids"]))
        if sizes[-1] > rows:
            raise RuntimeError("CUDA out of memory. Tried to allocate more than there is")
        return compute(self, model, inputs, *arguments, **options)

    monkeypatch.setattr(trainer, "compute_loss", compute_loss)
    return sizes


def test_neftune_noise_alpha(prove: Train) -> None:
    noisy, quiet = prove(neftune_noise_alpha=50.0, max_steps=2), prove(max_steps=2)
    assert noisy.result.metrics["train_loss"] != quiet.result.metrics["train_loss"]
    embeddings = noisy.trainer.model[0].model.get_input_embeddings()
    assert not embeddings._forward_hooks
    assert not hasattr(noisy.trainer.model, "get_input_embeddings")
