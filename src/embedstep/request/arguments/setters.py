"""The setters of sentence-transformers 3.0, one for each topic.

They have the parameters of transformers 4.37.2, training_args.py, with their names and defaults. A parameter
that is left out writes its default, so the last call wins. Unlike there, every change is validated.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Any, Self

from pydantic import ValidationError

from embedstep.errors import InvalidRequestError, Problem
from embedstep.request.arguments.lossless import to_lossless
from embedstep.request.arguments.process import ProcessArguments
from embedstep.request.arguments.renames import other_names
from embedstep.request.arguments.schema import Arguments
from embedstep.request.arguments.types import FromEnvironment
from embedstep.request.loading import problems_of_arguments


class ArgumentSetters(ProcessArguments):
    """Arguments with setters, each of which changes the object and returns it."""

    def set_training(
        self,
        learning_rate: float = 5e-5,
        batch_size: int = 8,
        weight_decay: float = 0,
        num_epochs: float = 3,
        max_steps: int = -1,
        gradient_accumulation_steps: int = 1,
        seed: int = 42,
        gradient_checkpointing: bool = False,
    ) -> Self:
        """Train: set `do_train` and the arguments of the training.

        Raises:
            InvalidRequestError: a value is wrong.
        """
        return self._assign(
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
        self,
        strategy: str = "no",
        steps: float = 500,
        batch_size: int = 8,
        accumulation_steps: int | None = None,
        delay: float | None = None,
        loss_only: bool = False,
        jit_mode: bool = False,
    ) -> Self:
        """Evaluate at intervals: set `do_eval`, unless the strategy is `no`.

        Args:
            strategy: `no`, `steps` or `epoch`.
            steps: optimizer steps between evaluations, or a share of all steps below 1.
            batch_size: rows per device.
            accumulation_steps: batches after which results move to the CPU.
            delay: epochs or steps before the first evaluation; None means 0.
            loss_only: return only the loss.
            jit_mode: accepted here, and refused when the request is checked: models are no longer traced.

        Raises:
            InvalidRequestError: a value is wrong, or the strategy is `steps` with 0 steps.
        """
        _require_steps("eval_steps", strategy, steps)
        return self._assign(
            do_eval=_word(strategy) != "no",
            evaluation_strategy=strategy,
            eval_steps=steps,
            per_device_eval_batch_size=batch_size,
            eval_accumulation_steps=accumulation_steps,
            eval_delay=delay,
            prediction_loss_only=loss_only,
            jit_mode_eval=jit_mode,
        )

    def set_testing(self, batch_size: int = 8, loss_only: bool = False, jit_mode: bool = False) -> Self:
        """Evaluate on a test set after the training: set `do_predict`.

        Raises:
            InvalidRequestError: a value is wrong.
        """
        return self._assign(
            do_predict=True,
            per_device_eval_batch_size=batch_size,
            prediction_loss_only=loss_only,
            jit_mode_eval=jit_mode,
        )

    def set_save(
        self,
        strategy: str = "steps",
        steps: float = 500,
        total_limit: int | None = None,
        on_each_node: bool = False,
    ) -> Self:
        """Write checkpoints at intervals.

        Raises:
            InvalidRequestError: a value is wrong, or the strategy is `steps` with 0 steps.
        """
        _require_steps("save_steps", strategy, steps)
        return self._assign(
            save_strategy=strategy,
            save_steps=steps,
            save_total_limit=total_limit,
            save_on_each_node=on_each_node,
        )

    def set_logging(
        self,
        strategy: str = "steps",
        steps: float = 500,
        report_to: str | list[str] = "none",
        level: str = "passive",
        first_step: bool = False,
        nan_inf_filter: bool = False,
        on_each_node: bool = False,
        replica_level: str = "passive",
    ) -> Self:
        """Log at intervals.

        `logging_nan_inf_filter` and `log_on_each_node` are true by default, and false after a call without them.

        Raises:
            InvalidRequestError: a value is wrong, or the strategy is `steps` with 0 steps.
        """
        _require_steps("logging_steps", strategy, steps)
        return self._assign(
            logging_strategy=strategy,
            logging_steps=steps,
            report_to=report_to,
            log_level=level,
            logging_first_step=first_step,
            logging_nan_inf_filter=nan_inf_filter,
            log_on_each_node=on_each_node,
            log_level_replica=replica_level,
        )

    def set_push_to_hub(
        self,
        model_id: str,
        strategy: str = "every_save",
        token: FromEnvironment | Mapping[str, str] | None = None,
        private_repo: bool = False,
        always_push: bool = False,
    ) -> Self:
        """Upload the model to the Hub: set `push_to_hub`.

        Args:
            model_id: name of the repository, with its owner.
            strategy: `end`, `every_save`, `checkpoint` or `all_checkpoints`.
            token: variable that holds the token, as `{"from_env": "HF_TOKEN"}`; never the token itself.
            private_repo: make a new repository private.
            always_push: start an upload even if the previous one is still running.

        Raises:
            InvalidRequestError: a value is wrong, or the token is text.
        """
        return self._assign(
            push_to_hub=True,
            hub_model_id=model_id,
            hub_strategy=strategy,
            hub_token=token,
            hub_private_repo=private_repo,
            hub_always_push=always_push,
        )

    def set_optimizer(
        self,
        name: str = "adamw_torch",
        learning_rate: float = 5e-5,
        weight_decay: float = 0,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        args: str | None = None,
    ) -> Self:
        """Choose the optimizer.

        Raises:
            InvalidRequestError: a value is wrong.
        """
        return self._assign(
            optim=name,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            adam_beta1=beta1,
            adam_beta2=beta2,
            adam_epsilon=epsilon,
            optim_args=args,
        )

    def set_lr_scheduler(
        self,
        name: str = "linear",
        num_epochs: float = 3.0,
        max_steps: int = -1,
        warmup_ratio: float = 0,
        warmup_steps: float = 0,
    ) -> Self:
        """Choose the learning rate schedule.

        Raises:
            InvalidRequestError: a value is wrong.
        """
        return self._assign(
            lr_scheduler_type=name,
            num_train_epochs=num_epochs,
            max_steps=max_steps,
            warmup_ratio=warmup_ratio,
            warmup_steps=warmup_steps,
        )

    def set_dataloader(
        self,
        train_batch_size: int = 8,
        eval_batch_size: int = 8,
        drop_last: bool = False,
        num_workers: int = 0,
        pin_memory: bool = True,
        persistent_workers: bool = False,
        auto_find_batch_size: bool = False,
        ignore_data_skip: bool = False,
        sampler_seed: int | None = None,
    ) -> Self:
        """Configure the data loaders.

        Raises:
            InvalidRequestError: a value is wrong.
        """
        return self._assign(
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

    def _assign(self, **values: Any) -> Self:
        """Set the values, and unset other names for the same things; if one value is wrong, nothing changes."""
        # The per_gpu names stay: in 3.0 they always win, so the check of the request reports the contradiction.
        replaced = {other for name in values for other in other_names(name) if not other.startswith("per_gpu_")}
        kept = {name: value for name, value in to_lossless(self).items() if name not in replaced}
        try:
            changed = Arguments.model_validate({**kept, **values})
        except ValidationError as error:
            raise InvalidRequestError(problems_of_arguments(error, values)) from None
        self.__dict__.update(changed.__dict__)
        self.__pydantic_fields_set__ = set(changed.model_fields_set)
        return self


def _word(strategy: Any) -> Any:
    return strategy.value if isinstance(strategy, Enum) else strategy


def _require_steps(name: str, strategy: str, steps: float) -> None:
    if _word(strategy) == "steps" and steps == 0:
        raise InvalidRequestError([Problem(f"arguments.{name}", "must be above 0 with the strategy steps")])
