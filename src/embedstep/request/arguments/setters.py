"""Arguments set by topic, as the methods of the same names do in the class of the seed era.

Each function takes arguments first, and then the parameters of transformers 4.37.2, training_args.py, with their
names and defaults. A parameter that is left out writes its default all the same, so the last call wins. Where those
methods change an object in place, these return new arguments that have been validated.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from embedstep.request.arguments.dumps import to_lossless
from embedstep.request.arguments.schema import Arguments
from embedstep.request.arguments.types import FromEnvironment

_SUPERSEDED: Mapping[str, Sequence[str]] = {
    "evaluation_strategy": ("eval_strategy",),
    "gradient_checkpointing": ("activation_checkpointing",),
    "optim": ("adafactor",),
    "hub_model_id": ("push_to_hub_model_id", "push_to_hub_organization"),
    "hub_token": ("push_to_hub_token",),
}
"""For each name that a function writes, other names for the same thing, which are taken away."""


def set_training(
    arguments: Arguments,
    learning_rate: float = 5e-5,
    batch_size: int = 8,
    weight_decay: float = 0,
    num_epochs: float = 3,
    max_steps: int = -1,
    gradient_accumulation_steps: int = 1,
    seed: int = 42,
    gradient_checkpointing: bool = False,
) -> Arguments:
    """Return arguments that train: `do_train` is on.

    Raises:
        ValidationError: a value is of the wrong type.
    """
    return _with(
        arguments,
        do_train=True,
        learning_rate=learning_rate,
        per_device_train_batch_size=batch_size,
        weight_decay=weight_decay,
        num_train_epochs=num_epochs,
        max_steps=max_steps,
        gradient_accumulation_steps=gradient_accumulation_steps,
        seed=seed,
        gradient_checkpointing=gradient_checkpointing,
    )


def set_evaluate(
    arguments: Arguments,
    strategy: str = "no",
    steps: float = 500,
    batch_size: int = 8,
    accumulation_steps: int | None = None,
    delay: float | None = None,
    loss_only: bool = False,
    jit_mode: bool = False,
) -> Arguments:
    """Return arguments that evaluate every so often; `do_eval` is on unless the strategy is `no`.

    Args:
        arguments: what they are set over.
        strategy: `no`, `steps` or `epoch`.
        steps: optimizer steps between evaluations, or a share of all steps below 1.
        batch_size: rows at a time on each device.
        accumulation_steps: batches after which results go to the CPU.
        delay: epochs or steps before the first evaluation; None is 0 when it is run.
        loss_only: whether nothing but the loss comes back.
        jit_mode: refused by the check of the request: models are no longer traced.

    Raises:
        ValueError: 0 steps with the strategy `steps`, or a value of the wrong type.
    """
    given = _with(
        arguments,
        evaluation_strategy=strategy,
        eval_steps=steps,
        per_device_eval_batch_size=batch_size,
        eval_accumulation_steps=accumulation_steps,
        eval_delay=delay,
        prediction_loss_only=loss_only,
        jit_mode_eval=jit_mode,
    )
    _require_steps(given.evaluation_strategy, steps)
    return _with(given, do_eval=given.evaluation_strategy != "no")


def set_testing(
    arguments: Arguments, batch_size: int = 8, loss_only: bool = False, jit_mode: bool = False
) -> Arguments:
    """Return arguments that measure on a test set after the training: `do_predict` is on.

    Raises:
        ValidationError: a value is of the wrong type.
    """
    return _with(
        arguments,
        do_predict=True,
        per_device_eval_batch_size=batch_size,
        prediction_loss_only=loss_only,
        jit_mode_eval=jit_mode,
    )


def set_save(
    arguments: Arguments,
    strategy: str = "steps",
    steps: float = 500,
    total_limit: int | None = None,
    on_each_node: bool = False,
) -> Arguments:
    """Return arguments that write a checkpoint every so often.

    Raises:
        ValueError: 0 steps with the strategy `steps`, or a value of the wrong type.
    """
    given = _with(
        arguments,
        save_strategy=strategy,
        save_steps=steps,
        save_total_limit=total_limit,
        save_on_each_node=on_each_node,
    )
    _require_steps(given.save_strategy, steps)
    return given


def set_logging(
    arguments: Arguments,
    strategy: str = "steps",
    steps: float = 500,
    report_to: str | list[str] = "none",
    level: str = "passive",
    first_step: bool = False,
    nan_inf_filter: bool = False,
    on_each_node: bool = False,
    replica_level: str = "passive",
) -> Arguments:
    """Return arguments that log every so often.

    The filter of nan and inf and the log of each node are on in new arguments, and off after a call without them.

    Raises:
        ValueError: 0 steps with the strategy `steps`, an unknown level, or a value of the wrong type.
    """
    given = _with(
        arguments,
        logging_strategy=strategy,
        logging_steps=steps,
        report_to=report_to,
        log_level=level,
        logging_first_step=first_step,
        logging_nan_inf_filter=nan_inf_filter,
        log_on_each_node=on_each_node,
        log_level_replica=replica_level,
    )
    _require_steps(given.logging_strategy, steps)
    return given


def set_push_to_hub(
    arguments: Arguments,
    model_id: str,
    strategy: str = "every_save",
    token: FromEnvironment | Mapping[str, str] | None = None,
    private_repo: bool = False,
    always_push: bool = False,
) -> Arguments:
    """Return arguments that upload the model to the Hub: `push_to_hub` is on.

    Args:
        arguments: what they are set over.
        model_id: name of the repository, with its owner.
        strategy: when it is uploaded: `end`, `every_save`, `checkpoint` or `all_checkpoints`.
        token: where the token is, as `{"from_env": "HF_TOKEN"}`; never the token itself.
        private_repo: whether a new repository is private.
        always_push: whether an upload starts while the one before still runs.

    Raises:
        ValidationError: the token is text, the strategy is unknown, or a value is of the wrong type.
    """
    return _with(
        arguments,
        push_to_hub=True,
        hub_model_id=model_id,
        hub_strategy=strategy,
        hub_token=token,
        hub_private_repo=private_repo,
        hub_always_push=always_push,
    )


def set_optimizer(
    arguments: Arguments,
    name: str = "adamw_torch",
    learning_rate: float = 5e-5,
    weight_decay: float = 0,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
    args: str | None = None,
) -> Arguments:
    """Return arguments with this optimizer.

    Raises:
        ValidationError: the name is unknown, or a value is of the wrong type.
    """
    return _with(
        arguments,
        optim=name,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        adam_beta1=beta1,
        adam_beta2=beta2,
        adam_epsilon=epsilon,
        optim_args=args,
    )


def set_lr_scheduler(
    arguments: Arguments,
    name: str = "linear",
    num_epochs: float = 3.0,
    max_steps: int = -1,
    warmup_ratio: float = 0,
    warmup_steps: float = 0,
) -> Arguments:
    """Return arguments with this schedule of the learning rate.

    Raises:
        ValidationError: the name is unknown, or a value is of the wrong type.
    """
    return _with(
        arguments,
        lr_scheduler_type=name,
        num_train_epochs=num_epochs,
        max_steps=max_steps,
        warmup_ratio=warmup_ratio,
        warmup_steps=warmup_steps,
    )


def set_dataloader(
    arguments: Arguments,
    train_batch_size: int = 8,
    eval_batch_size: int = 8,
    drop_last: bool = False,
    num_workers: int = 0,
    pin_memory: bool = True,
    persistent_workers: bool = False,
    auto_find_batch_size: bool = False,
    ignore_data_skip: bool = False,
    sampler_seed: int | None = None,
) -> Arguments:
    """Return arguments with these settings of the loaders.

    Raises:
        ValidationError: a value is of the wrong type.
    """
    return _with(
        arguments,
        per_device_train_batch_size=train_batch_size,
        per_device_eval_batch_size=eval_batch_size,
        dataloader_drop_last=drop_last,
        dataloader_num_workers=num_workers,
        dataloader_pin_memory=pin_memory,
        dataloader_persistent_workers=persistent_workers,
        auto_find_batch_size=auto_find_batch_size,
        ignore_data_skip=ignore_data_skip,
        data_seed=sampler_seed,
    )


def _with(arguments: Arguments, **values: Any) -> Arguments:
    """Return the arguments as they were written, with `values` in place of what says the same."""
    superseded = {name for written in values for name in _SUPERSEDED.get(written, ())}
    kept = {name: value for name, value in to_lossless(arguments).items() if name not in superseded}
    return Arguments.model_validate({**kept, **values})


def _require_steps(strategy: str, steps: float) -> None:
    if strategy == "steps" and steps == 0:
        raise ValueError("the strategy steps needs a number of steps above 0")
