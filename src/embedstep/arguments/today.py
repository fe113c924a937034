"""What older names and values mean on the installed release: small functions, each named by the argument it reads.

`under_todays_names` fills in today's names beside the older ones that were written, so that everything after it reads
today's alone. `todays_values` gives what the installed trainer must get so that it does what the seed's words say.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from embedstep.errors import Problem

if TYPE_CHECKING:
    from embedstep.arguments.schema import Arguments

Translation = Callable[["Arguments"], Mapping[str, Any]]


def _evaluation_strategy(given: "Arguments") -> Mapping[str, Any]:
    return {"eval_strategy": given.evaluation_strategy}


def _per_gpu_train_batch_size(given: "Arguments") -> Mapping[str, Any]:
    return {"per_device_train_batch_size": given.per_gpu_train_batch_size} if given.per_gpu_train_batch_size else {}


def _per_gpu_eval_batch_size(given: "Arguments") -> Mapping[str, Any]:
    return {"per_device_eval_batch_size": given.per_gpu_eval_batch_size} if given.per_gpu_eval_batch_size else {}


def _no_cuda(given: "Arguments") -> Mapping[str, Any]:
    return {"use_cpu": True} if given.no_cuda else {}


def _adafactor(given: "Arguments") -> Mapping[str, Any]:
    return {"optim": "adafactor"} if given.adafactor else {}


def _gradient_checkpointing(given: "Arguments") -> Mapping[str, Any]:
    return {"activation_checkpointing": True} if given.gradient_checkpointing else {}


def _gradient_checkpointing_kwargs(given: "Arguments") -> Mapping[str, Any]:
    options = given.gradient_checkpointing_kwargs
    return {"activation_checkpointing_kwargs": options} if options else {}


def _torchdynamo(given: "Arguments") -> Mapping[str, Any]:
    return {"torch_compile_backend": given.torchdynamo} if given.torchdynamo else {}


def _group_by_length(given: "Arguments") -> Mapping[str, Any]:
    return {"train_sampling_strategy": "group_by_length"} if given.group_by_length else {}


def _include_tokens_per_second(given: "Arguments") -> Mapping[str, Any]:
    return {"include_num_input_tokens_seen": "all"} if given.include_tokens_per_second else {}


def _push_to_hub_model_id(given: "Arguments") -> Mapping[str, Any]:
    """The id and the organisation are two halves of one name; without an id the output folder gives it."""
    name = given.push_to_hub_model_id or (given.output_dir or "").rstrip("/").rpartition("/")[2]
    owner = given.push_to_hub_organization
    return {"hub_model_id": f"{owner}/{name}" if owner and "/" not in name else name} if name else {}


def _push_to_hub_token(given: "Arguments") -> Mapping[str, Any]:
    return {"hub_token": given.push_to_hub_token} if given.push_to_hub_token else {}


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
    """Today the size counts only beside the policy that goes by size."""
    if not given.fsdp_min_num_params:
        return {}
    moved = {"min_num_params": given.fsdp_min_num_params, "auto_wrap_policy": "SIZE_BASED_WRAP"}
    return {"fsdp_config": {**moved, **_settings(given.fsdp_config)}}


def _fsdp_transformer_layer_cls_to_wrap(given: "Arguments") -> Mapping[str, Any]:
    if not given.fsdp_transformer_layer_cls_to_wrap:
        return {}
    moved = {"transformer_layer_cls_to_wrap": [given.fsdp_transformer_layer_cls_to_wrap]}
    return {"fsdp_config": {**moved, **_settings(given.fsdp_config)}}


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
    "include_tokens_per_second": _include_tokens_per_second,
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
_MERGED = {"accelerator_config", "fsdp_config", "debug"}


def under_todays_names(given: "Arguments") -> "Arguments":
    """Return the arguments with today's names set beside the older ones; what is written under today's name stays."""
    for older in OLDER_NAMES.keys() & given.model_fields_set:
        todays = OLDER_NAMES[older](given)
        free = {name: value for name, value in todays.items() if name in _MERGED or name not in given.model_fields_set}
        if free:
            given = given.model_copy(update=free)
    return given


def names_agree(given: "Arguments") -> Iterator[Problem]:
    """Refuse an older name whose value contradicts the one under today's name."""
    for older in OLDER_NAMES:
        if older not in given.model_fields_set:
            continue
        for name, value in OLDER_NAMES[older](given).items():
            found = getattr(given, name)
            if name not in _MERGED and found != value:
                yield Problem(
                    f"arguments.{older}", f"says {name}: {_shown(value)}, and {name} says {_shown(found)}; keep one"
                )


def _shown(value: Any) -> str:
    return "another variable" if hasattr(value, "from_env") else str(value)


def todays_values(given: "Arguments") -> Iterator[tuple[str, Any, str]]:
    """Yield name, value and reason of each argument that must have another value on the installed release.

    The rules of the seed are those of transformers 4.37.2, `training_args.py` and `trainer.py`.
    """
    if given.max_steps == 0:
        yield "max_steps", -1, "0 means to go by epochs; today's trainer would make one step"
    if given.eval_delay is None:
        yield "eval_delay", 0, "null means no delay; today's trainer fails on it"
    if given.warmup_steps < 0:
        yield "warmup_steps", 0, "a negative number means to go by warmup_ratio"
    if given.optim == "adamw_hf":
        yield "optim", "adamw_torch", "adamw_hf is gone; this is the same algorithm in torch"
    metric = given.metric_for_best_model
    if metric is None and given.lr_scheduler_type == "reduce_lr_on_plateau":
        metric = "loss"
        yield "metric_for_best_model", metric, "reduce_lr_on_plateau goes by it; the loss when none is given"
    if given.greater_is_better is None and (metric or given.load_best_model_at_end):
        yield (
            "greater_is_better",
            greater_is_better(metric or "loss"),
            "by the seed's rule: greater, unless the metric is loss or eval_loss",
        )
    if given.fsdp:
        config, reason = fsdp_settings(given)
        yield "fsdp", True, reason
        yield "fsdp_config", config, reason
    if given.hub_private_repo is False and "hub_private_repo" not in given.model_fields_set:
        yield "hub_private_repo", None, "not given: the organisation's own default"
    trackers = [name for name in given.report_to or [] if name not in ("mlflow", "azure_ml", "all", "none")]
    if trackers != (given.report_to or []) or given.report_to is None:
        yield "report_to", trackers or "none", "the run is recorded by `tracking`"


def greater_is_better(metric: str) -> bool:
    """Whether more of a metric is better, by the rule of transformers 4.37.2 (training_args.py)."""
    return metric not in ("loss", "eval_loss")


def fsdp_settings(given: "Arguments") -> tuple[dict[str, Any], str]:
    """Return the seed's FSDP words as settings of the installed release.

    Without `auto_wrap` today's default wraps all the same, so that must be said.
    """
    config = dict(_settings(given.fsdp_config))
    words = set(given.fsdp)
    config.setdefault("reshard_after_forward", "full_shard" in words)
    if "offload" in words:
        config["cpu_offload"] = True
    if "auto_wrap" not in words:
        config.setdefault("auto_wrap_policy", "NO_WRAP")
    return config, f"{' '.join(sorted(words))} in today's words"
