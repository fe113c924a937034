"""What older names and values mean on the installed release: small functions, each named by the argument it reads.

`rename_arguments` fills in today's names beside the older ones that were written, so that everything after it reads
today's alone. `todays_values` gives what the installed trainer must get so that it does what the seed's words say.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from embedstep.errors import Problem

if TYPE_CHECKING:
    from embedstep.request.arguments.schema import Arguments

Translation = Callable[["Arguments"], Mapping[str, Any]]


def _evaluation_strategy(given: "Arguments") -> Mapping[str, Any]:
    return {"eval_strategy": given.evaluation_strategy}


def _per_gpu_train_batch_size(given: "Arguments") -> Mapping[str, Any]:
    return {"per_device_train_batch_size": given.per_gpu_train_batch_size} if given.per_gpu_train_batch_size else {}


def _per_gpu_eval_batch_size(given: "Arguments") -> Mapping[str, Any]:
    return {"per_device_eval_batch_size": given.per_gpu_eval_batch_size} if given.per_gpu_eval_batch_size else {}


def _no_cuda(given: "Arguments") -> Mapping[str, Any]:
    return {"use_cpu": given.no_cuda}


def _adafactor(given: "Arguments") -> Mapping[str, Any]:
    return {"optim": "adafactor"} if given.adafactor else {}


def _gradient_checkpointing(given: "Arguments") -> Mapping[str, Any]:
    return {"activation_checkpointing": given.gradient_checkpointing}


def _gradient_checkpointing_kwargs(given: "Arguments") -> Mapping[str, Any]:
    options = given.gradient_checkpointing_kwargs
    return {"activation_checkpointing_kwargs": options} if options else {}


def _torchdynamo(given: "Arguments") -> Mapping[str, Any]:
    return {"torch_compile_backend": given.torchdynamo} if given.torchdynamo else {}


def groups_by_length(given: "Arguments") -> bool:
    """Whether rows of similar length go together, in either spelling."""
    return given.group_by_length or given.train_sampling_strategy == "group_by_length"


def _group_by_length(given: "Arguments") -> Mapping[str, Any]:
    return {"train_sampling_strategy": "group_by_length"} if given.group_by_length else {}


def _push_to_hub_model_id(given: "Arguments") -> Mapping[str, Any]:
    """The id and the organisation are two halves of one name; without an id the output folder gives it."""
    name = given.push_to_hub_model_id or (given.output_dir or "").rstrip("/").rpartition("/")[2]
    owner = given.push_to_hub_organization
    return {"hub_model_id": f"{owner}/{name}" if owner and "/" not in name else name} if name else {}


def _push_to_hub_token(given: "Arguments") -> Mapping[str, Any]:
    return {"hub_token": given.push_to_hub_token} if given.push_to_hub_token else {}


def _fp16_backend(given: "Arguments") -> Mapping[str, Any]:
    return {"half_precision_backend": given.fp16_backend} if given.fp16_backend != "auto" else {}


def _tpu_metrics_debug(given: "Arguments") -> Mapping[str, Any]:
    return {"debug": [*given.debug, "tpu_metrics_debug"]} if given.tpu_metrics_debug else {}


def _dispatch_batches(given: "Arguments") -> Mapping[str, Any]:
    """Both settings moved into one mapping."""
    moved = {
        name: getattr(given, name)
        for name in ("dispatch_batches", "split_batches")
        if name in given.model_fields_set and getattr(given, name) is not None
    }
    return {"accelerator_config": {**moved, **(given.accelerator_config or {})}} if moved else {}


def _fsdp_min_num_params(given: "Arguments") -> Mapping[str, Any]:
    if not given.fsdp_min_num_params:
        return {}
    return {"fsdp_config": {"min_num_params": given.fsdp_min_num_params, **_settings(given.fsdp_config)}}


def _fsdp_transformer_layer_cls_to_wrap(given: "Arguments") -> Mapping[str, Any]:
    """The layer joins those of the settings, as the seed's class let it (transformers 4.37.2, training_args.py)."""
    layer, config = given.fsdp_transformer_layer_cls_to_wrap, _settings(given.fsdp_config)
    if not layer:
        return {}
    layers = config.get("transformer_layer_cls_to_wrap") or []
    layers = [layers] if isinstance(layers, str) else list(layers)
    joined = layers if layer in layers else [*layers, layer]
    return {"fsdp_config": {**config, "transformer_layer_cls_to_wrap": joined}}


def _settings(config: Any) -> Mapping[str, Any]:
    return config if isinstance(config, Mapping) else {}


OLDER_NAMES: Mapping[str, Translation] = {
    "evaluation_strategy": _evaluation_strategy,
    "per_gpu_train_batch_size": _per_gpu_train_batch_size,
    "per_gpu_eval_batch_size": _per_gpu_eval_batch_size,
    "no_cuda": _no_cuda,
    "adafactor": _adafactor,
    "gradient_checkpointing": _gradient_checkpointing,
    "gradient_checkpointing_kwargs": _gradient_checkpointing_kwargs,
    "torchdynamo": _torchdynamo,
    "group_by_length": _group_by_length,
    "fp16_backend": _fp16_backend,
    "push_to_hub_model_id": _push_to_hub_model_id,
    "push_to_hub_organization": _push_to_hub_model_id,
    "push_to_hub_token": _push_to_hub_token,
    "tpu_metrics_debug": _tpu_metrics_debug,
    "dispatch_batches": _dispatch_batches,
    "split_batches": _dispatch_batches,
    "fsdp_min_num_params": _fsdp_min_num_params,
    "fsdp_transformer_layer_cls_to_wrap": _fsdp_transformer_layer_cls_to_wrap,
}
"""For each older name, what it says under today's."""
MERGED = {"accelerator_config", "fsdp_config", "debug"}

_INSIDE = {
    "dispatch_batches": ("accelerator_config", "dispatch_batches"),
    "split_batches": ("accelerator_config", "split_batches"),
    "fsdp_min_num_params": ("fsdp_config", "min_num_params"),
}
"""Older names that today are one setting of a mapping."""


def rename_arguments(given: "Arguments") -> "Arguments":
    """Return the arguments with today's names set beside the older ones; what is written under today's name stays."""
    for older in OLDER_NAMES.keys() & given.model_fields_set:
        todays = OLDER_NAMES[older](given)
        free = {name: value for name, value in todays.items() if name in MERGED or name not in given.model_fields_set}
        if free:
            given = given.model_copy(update=free)
    return given


def as_written(given: "Arguments") -> Mapping[str, str]:
    """Return the older name by which each of today's arguments was written, for messages."""
    return {
        name: older for older in OLDER_NAMES if older in given.model_fields_set for name in OLDER_NAMES[older](given)
    }


def names_agree(given: "Arguments") -> Iterator[Problem]:
    """Refuse an older name whose value contradicts the one under today's name; a library writes both alike."""
    if given.is_dump:
        return
    for older, (name, setting) in _INSIDE.items():
        said, found = getattr(given, older), _settings(getattr(given, name)).get(setting)
        if older in given.model_fields_set and said and said != found:
            yield Problem(f"arguments.{older}", f"is {_shown(said)}, and {name} says {_shown(found)}; keep one")
    for older in OLDER_NAMES:
        if older not in given.model_fields_set:
            continue
        for name, value in OLDER_NAMES[older](given).items():
            found = getattr(given, name)
            if name not in MERGED and found != value:
                yield Problem(
                    f"arguments.{older}", f"says {name}: {_shown(value)}, and {name} says {_shown(found)}; keep one"
                )


def _shown(value: Any) -> str:
    return "another variable" if hasattr(value, "from_env") else str(value)


Value = tuple[str, Any, str]


def todays_values(given: "Arguments") -> Iterator[Value]:
    """Yield name, value and reason of each argument that must have another value on the installed release.

    The rules of the seed are those of transformers 4.37.2, `training_args.py` and `trainer.py`.
    """
    for part in (_schedule_today, _best_model_today, _counting_today, _fsdp_today, _elsewhere_today):
        yield from part(given)


def _schedule_today(given: "Arguments") -> Iterator[Value]:
    if given.max_steps == 0:
        yield "max_steps", -1, "0 means to go by epochs; today's trainer would make one step"
    if given.eval_delay is None:
        yield "eval_delay", 0, "null means no delay; today's trainer fails on it"
    if given.warmup_steps < 0:
        yield "warmup_steps", 0, "a negative number means to go by warmup_ratio"
    if given.warmup_ratio and given.warmup_steps > 0:
        yield "warmup_ratio", given.warmup_ratio, "warmup_steps wins"
    if given.optim == "adamw_hf":
        yield "optim", "adamw_torch", "adamw_hf is gone; this is the same algorithm in torch"


def _best_model_today(given: "Arguments") -> Iterator[Value]:
    metric = given.metric_for_best_model
    if metric is None and given.lr_scheduler_type == "reduce_lr_on_plateau":
        metric = "loss"
        yield "metric_for_best_model", metric, "reduce_lr_on_plateau goes by it; the loss when none is given"
    if given.greater_is_better is None and (metric or given.load_best_model_at_end):
        greater = greater_is_better(metric or "loss")
        yield "greater_is_better", greater, "by the seed's rule: greater, unless the metric is loss or eval_loss"


def _counting_today(given: "Arguments") -> Iterator[Value]:
    if given.include_tokens_per_second and given.include_num_input_tokens_seen == "no":
        yield "include_num_input_tokens_seen", "all", "tokens per second are counted by it"


def _fsdp_today(given: "Arguments") -> Iterator[Value]:
    if given.fsdp:
        config, reason = fsdp_settings(given)
        yield "fsdp", True, reason
        yield "fsdp_config", config, reason


def _elsewhere_today(given: "Arguments") -> Iterator[Value]:
    if given.push_to_hub and given.hub_model_id is None and given.output_dir is not None:
        yield "hub_model_id", PurePath(given.output_dir).name, "the name of output_dir, as none is given"
    if given.hub_private_repo is False and "hub_private_repo" not in given.model_fields_set:
        yield "hub_private_repo", None, "not given: the organisation's own default"
    if given.logging_dir is not None and "tensorboard" not in (given.report_to or []):
        yield "logging_dir", given.logging_dir, "nothing is written there: report_to names no tensorboard"
    trackers = [name for name in given.report_to or [] if name not in ("mlflow", "azure_ml", "all", "none")]
    if trackers != (given.report_to or []) or given.report_to is None:
        yield "report_to", trackers or "none", "the run is recorded by `tracking`"


def greater_is_better(metric: str) -> bool:
    """Whether more of a metric is better, by the rule of transformers 4.37.2 (training_args.py)."""
    return metric not in ("loss", "eval_loss")


def fsdp_settings(given: "Arguments") -> tuple[dict[str, Any], str]:
    """Return the seed's FSDP words as settings of the installed release.

    Without `auto_wrap` today's default wraps all the same, so that must be said; with it a size counts only beside the
    policy that goes by size (transformers 5.24, `_process_fsdp_args`).
    """
    config = dict(_settings(given.fsdp_config))
    words = set(given.fsdp)
    config.setdefault("reshard_after_forward", "full_shard" in words)
    if "offload" in words:
        config["cpu_offload"] = True
    if "auto_wrap" not in words:
        config.setdefault("auto_wrap_policy", "NO_WRAP")
    elif config.get("min_num_params"):
        config.setdefault("auto_wrap_policy", "SIZE_BASED_WRAP")
    return config, f"{' '.join(sorted(words))} in today's words"
