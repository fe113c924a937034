"""Values that the installed release needs so that an argument does what it did in sentence-transformers 3.0.

The rules of that release are in transformers 4.37.2, `training_args.py` and `trainer.py`.
"""

from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

from embedstep.request.arguments.renames import mapping_or_empty
from embedstep.request.arguments.schema import Arguments

Value = tuple[str, Any, str]
DEFAULT_OPTIMIZER = "adamw_torch_fused"
"""Default of `optim` in the installed release; that of the table is from 3.0."""


def installed_values(given: Arguments) -> Iterator[Value]:
    """Yield name, value and reason of each argument whose value changes for the installed release."""
    for part in (_schedule, _optimizer, _best_model, _token_count, _fsdp, _hub_and_trackers):
        yield from part(given)


def _schedule(given: Arguments) -> Iterator[Value]:
    if given.max_steps == 0:
        yield "max_steps", -1, "0 means that epochs decide; the installed trainer would make one step"
    if given.eval_delay is None:
        yield "eval_delay", 0, "null means no delay; the installed trainer fails on it"
    if given.warmup_steps < 0:
        yield "warmup_steps", 0, "a negative number means that warmup_ratio decides"
    if given.warmup_ratio and given.warmup_steps > 0:
        yield "warmup_ratio", given.warmup_ratio, "warmup_steps wins"


def _optimizer(given: Arguments) -> Iterator[Value]:
    if given.optim == "adamw_hf":
        yield "optim", "adamw_torch", "adamw_hf was removed; this is the same algorithm in torch"
    elif "optim" not in given.model_fields_set and not given.is_dump:
        # A dump holds the default of its release, and was trained with that.
        yield "optim", DEFAULT_OPTIMIZER, "not given: the default of the installed class (3.0 had adamw_torch)"


def _best_model(given: Arguments) -> Iterator[Value]:
    metric = given.metric_for_best_model
    if metric is None and given.lr_scheduler_type == "reduce_lr_on_plateau":
        metric = "loss"
        yield "metric_for_best_model", metric, "reduce_lr_on_plateau needs one; the loss if none is given"
    if given.greater_is_better is None and (metric or given.load_best_model_at_end):
        greater = greater_is_better(metric or "loss")
        yield "greater_is_better", greater, "greater, unless the metric is loss or eval_loss, as in 3.0"


def _token_count(given: Arguments) -> Iterator[Value]:
    if given.include_tokens_per_second and given.include_num_input_tokens_seen == "no":
        yield "include_num_input_tokens_seen", "all", "needed to count tokens per second"


def _fsdp(given: Arguments) -> Iterator[Value]:
    if given.fsdp:
        config, reason = fsdp_settings(given)
        yield "fsdp", True, reason
        yield "fsdp_config", config, reason


def _hub_and_trackers(given: Arguments) -> Iterator[Value]:
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


def fsdp_settings(given: Arguments) -> tuple[dict[str, Any], str]:
    """Return the FSDP options of 3.0 as settings of the installed release, and the reason.

    The installed default wraps layers even without `auto_wrap`, so the settings must say that they are not wrapped;
    and it reads the size limit only under the policy by size (transformers 5.24, `_process_fsdp_args`).
    """
    config = dict(mapping_or_empty(given.fsdp_config))
    options = set(given.fsdp)
    config.setdefault("reshard_after_forward", "full_shard" in options)
    if "offload" in options:
        config["cpu_offload"] = True
    if "auto_wrap" not in options:
        config.setdefault("auto_wrap_policy", "NO_WRAP")
    elif config.get("min_num_params"):
        config.setdefault("auto_wrap_policy", "SIZE_BASED_WRAP")
    return config, f"{' '.join(sorted(options))} as settings of the installed release"
