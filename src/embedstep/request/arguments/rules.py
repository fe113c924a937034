"""Rules for the training arguments alone: one small pure function each; every problem is reported."""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from embedstep.errors import Problem
from embedstep.request.arguments.renames import Fault, groups_by_length, names_agree
from embedstep.request.arguments.schema import Arguments
from embedstep.request.arguments.table import CONTRACT
from embedstep.request.arguments.types import SCHEDULER_OPTIONS

Rule = Callable[[Arguments], Iterator[Fault]]
_RANGES: Mapping[str, tuple[float, float]] = {
    "per_device_train_batch_size": (1, math.inf),
    "per_device_eval_batch_size": (1, math.inf),
    "gradient_accumulation_steps": (1, math.inf),
    "learning_rate": (0, math.inf),
    "max_steps": (-math.inf, 10_000_000),
    "num_train_epochs": (-math.inf, 10_000),
    "label_smoothing_factor": (0, 1),
    "seed": (0, 2**32 - 1),
    "data_seed": (0, 2**32 - 1),
    "dataloader_num_workers": (0, math.inf),
    "torch_empty_cache_steps": (1, math.inf),
}
"""Smallest and largest value; the limits of steps and epochs bound the size of a plan."""


def check_arguments(arguments: Arguments) -> list[Problem]:
    """Return every problem that the training arguments have on their own."""
    return [Problem(f"arguments.{name}", message) for rule in RULES for name, message in rule(arguments)]


def refused_arguments_are_unset(arguments: Arguments) -> Iterator[Fault]:
    """An argument without a meaning must keep its default, or be empty."""
    for row in CONTRACT.values():
        value = getattr(arguments, row.name)
        is_empty = row.default is None and value in ("", [], {})
        if row.instead and value != row.default and not is_empty:
            yield row.name, f"is refused: {row.instead}"


_OPTIMIZERS_WITHOUT_OPTIONS = {
    "adamw_torch", "adamw_torch_fused", "adamw_torch_xla", "adamw_torch_npu_fused", "adamw_hf", "adafactor",
}  # fmt: skip


def apex_was_removed(arguments: Arguments) -> Iterator[Fault]:
    """Apex was removed; mixed precision is torch's own."""
    for name in ("half_precision_backend", "fp16_backend"):
        if getattr(arguments, name) == "apex":
            yield name, "is apex, which was removed; leave it out"
    if arguments.optim == "adamw_apex_fused":
        yield "optim", "is adamw_apex_fused, which was removed; write adamw_torch_fused"


def names_lengths(arguments: Arguments) -> bool:
    """Whether the request names a column of lengths; a dump holds the default although nobody chose it."""
    is_written = "length_column_name" in arguments.model_fields_set and not arguments.is_dump
    return bool(is_written or arguments.length_column_name != CONTRACT["length_column_name"].default)


def reads_lengths(arguments: Arguments) -> bool:
    """Whether a column of lengths is read: the request names one, and rows are grouped by length."""
    return names_lengths(arguments) and groups_by_length(arguments)


def options_have_a_reader(arguments: Arguments) -> Iterator[Fault]:
    """Options that nothing reads would be ignored silently."""
    if arguments.optim_args and arguments.optim in _OPTIMIZERS_WITHOUT_OPTIONS:
        yield "optim_args", f"is not read by {arguments.optim}; remove it, or choose another optim"
    if arguments.gradient_checkpointing_kwargs and not (
        arguments.gradient_checkpointing or arguments.activation_checkpointing
    ):
        yield "gradient_checkpointing_kwargs", "needs gradient_checkpointing: true"
    if arguments.fsdp_config and not arguments.fsdp and not arguments.is_dump:
        yield "fsdp_config", "needs fsdp"
    if names_lengths(arguments) and not groups_by_length(arguments):
        yield "length_column_name", "needs group_by_length: true; remove it, or add that"
    if arguments.ddp_broadcast_buffers:
        yield "ddp_broadcast_buffers", "is true, and the trainer always uses false; remove it"
    if arguments.eval_accumulation_steps == 0:
        yield "eval_accumulation_steps", "must be 1 or more, not 0"
    known = SCHEDULER_OPTIONS[arguments.lr_scheduler_type]
    for name in sorted((arguments.lr_scheduler_kwargs or {}).keys() - known):
        has = f"it takes {', '.join(sorted(known))}" if known else "it takes none"
        yield f"lr_scheduler_kwargs.{name}", f"is not an option of {arguments.lr_scheduler_type}; {has}"


_FSDP_SETTINGS = {
    "version", "min_num_params", "transformer_layer_cls_to_wrap", "xla", "xla_fsdp_v2", "xla_fsdp_grad_ckpt",
    "xla_fsdp_settings", "cpu_offload", "auto_wrap_policy", "cpu_ram_efficient_loading", "state_dict_type",
    "activation_checkpointing", "reshard_after_forward",
}  # fmt: skip
"""Keys of `fsdp_config` that the installed class reads for FSDP2 (transformers 5.24, `_process_fsdp_args`)."""


def sharding_is_possible(arguments: Arguments) -> Iterator[Fault]:
    """FSDP options that exclude each other (transformers 4.37.2, training_args.py), or that FSDP2 does not have."""
    options = set(arguments.fsdp)
    if isinstance(arguments.fsdp_config, str):
        yield "fsdp_config", "is the name of a file; write the mapping that is in it"
    if removed := sorted(options & {"no_shard", "hybrid_shard", "hybrid_shard_zero2"}):
        reason = "is plain DDP; remove it" if removed == ["no_shard"] else "does not exist in FSDP2; write full_shard"
        yield "fsdp", f"{removed[0]} {reason}"
    if arguments.fsdp_min_num_params and arguments.fsdp and "auto_wrap" not in options:
        yield "fsdp_min_num_params", "needs auto_wrap; add it to fsdp"
    config = arguments.fsdp_config if isinstance(arguments.fsdp_config, dict) and not arguments.is_dump else {}
    for name in sorted({name.removeprefix("fsdp_") for name in config} - _FSDP_SETTINGS):
        yield f"fsdp_config.{name}", "is not read by FSDP2; remove it"
    if options == {"offload"}:
        yield "fsdp", "is offload alone; add full_shard or shard_grad_op"
    if {"full_shard", "shard_grad_op"} <= options:
        yield "fsdp", "holds full_shard and shard_grad_op; keep one"
    if arguments.fsdp_min_num_params and arguments.fsdp_transformer_layer_cls_to_wrap:
        yield "fsdp_min_num_params", "and fsdp_transformer_layer_cls_to_wrap exclude each other; keep one"


def devices_and_packages_exist(arguments: Arguments) -> Iterator[Fault]:
    """Arguments for devices and packages that a step does not have."""
    if "tpu_metrics_debug" in arguments.debug:
        yield "debug", "tpu_metrics_debug needs a TPU; remove it"
    if arguments.use_mps_device:
        yield "use_mps_device", "there is no MPS device on this machine; remove it"
    for name in ("project", "trackio_space_id", "trackio_bucket_id", "trackio_static_space_id"):
        if getattr(arguments, name) != CONTRACT[name].default and not arguments.is_dump:
            yield name, "needs trackio, which is not part of the train extra; remove it"


def columns_are_chosen(arguments: Arguments) -> Iterator[Fault]:
    """Columns are read by their roles only, so `false` has nothing to keep."""
    if not arguments.remove_unused_columns:
        yield (
            "remove_unused_columns",
            "is false, but columns are chosen by their roles; name the column under data.*.columns",
        )


def numbers_are_in_range(arguments: Arguments) -> Iterator[Fault]:
    """Numbers on which the installed trainer fails late, or which it misreads."""
    for name, (least, most) in _RANGES.items():
        value = getattr(arguments, name)
        if value is None:
            continue
        if value < least:
            yield name, f"must be {least:g} or more, not {value:g}"
        if value > most:
            yield name, f"must be {most:,} or less, not {value:g}"
    if arguments.max_steps <= 0 and arguments.num_train_epochs <= 0:
        yield "num_train_epochs", f"must be more than 0, not {arguments.num_train_epochs:g}"
    for name in ("logging_steps", "eval_steps", "save_steps", "warmup_steps"):
        value = getattr(arguments, name)
        # Of warmup_steps, a negative number means that warmup_ratio decides.
        if value is not None and ((value < 0 and name != "warmup_steps") or (value > 1 and value != int(value))):
            yield name, f"must be an integer number of steps or a share below 1, not {value:g}"
    if arguments.logging_strategy == "steps" and arguments.logging_steps == 0:
        yield "logging_steps", "is 0; write logging_strategy: no to log nothing"


def patterns_are_regular_expressions(arguments: Arguments) -> Iterator[Fault]:
    """Patterns of parameters that the trainer could not read."""
    for pattern in arguments.learning_rate_mapping:
        try:
            re.compile(pattern)
        except re.error as error:
            yield f"learning_rate_mapping.{pattern}", f"is not a regular expression: {error}"


def warmup_is_a_share(arguments: Arguments) -> Iterator[Fault]:
    """The class of 3.0 refused a ratio outside 0 to 1; the installed one does not."""
    ratio = arguments.warmup_ratio or 0
    if not 0 <= ratio <= 1:
        yield "warmup_ratio", f"must be a share from 0 to 1, not {ratio:g}"


def precision_is_possible(arguments: Arguments) -> Iterator[Fault]:
    """Two half precisions exclude each other."""
    if arguments.fp16 and arguments.bf16:
        yield "fp16", "and bf16 are both true; keep one"
    if arguments.fp16_full_eval and arguments.bf16_full_eval:
        yield "fp16_full_eval", "and bf16_full_eval are both true; keep one"
    if arguments.fp16 and arguments.use_cpu:
        yield "fp16", "does nothing on a CPU; write bf16, or remove use_cpu"


def a_repository_has_a_name(arguments: Arguments) -> Iterator[Fault]:
    """An upload needs a repository name, which output_dir may give."""
    if arguments.push_to_hub and arguments.hub_model_id is None and arguments.output_dir is None:
        yield "hub_model_id", "is missing: push_to_hub is true; write owner/name"


def loaders_are_consistent(arguments: Arguments) -> Iterator[Fault]:
    """Settings for loader workers need loader workers."""
    if arguments.dataloader_num_workers == 0:
        if arguments.dataloader_persistent_workers:
            yield "dataloader_persistent_workers", "needs dataloader_num_workers of 1 or more"
        if arguments.dataloader_prefetch_factor is not None:
            yield "dataloader_prefetch_factor", "needs dataloader_num_workers of 1 or more"


RULES: Sequence[Rule] = (
    names_agree,
    refused_arguments_are_unset,
    apex_was_removed,
    options_have_a_reader,
    sharding_is_possible,
    devices_and_packages_exist,
    columns_are_chosen,
    numbers_are_in_range,
    patterns_are_regular_expressions,
    warmup_is_a_share,
    precision_is_possible,
    a_repository_has_a_name,
    loaders_are_consistent,
)
