"""Arguments under the names that they had before: what each older name sets under the current one.

`rename_arguments` adds the current names to arguments that use older ones, so later code reads the current names only.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, TypeVar

from embedstep.request.arguments.table import ArgumentTable

_Arguments = TypeVar("_Arguments", bound=ArgumentTable)
Translation = Callable[[ArgumentTable], Mapping[str, Any]]
Fault = tuple[str, str]
"""The name of an argument, and what is wrong with it."""
MERGED = ("accelerator_config", "fsdp_config", "debug")
"""Current names into which several older ones are merged."""


def groups_by_length(given: ArgumentTable) -> bool:
    """Whether batches hold rows of similar length, by the older or the current name."""
    return given.group_by_length or given.train_sampling_strategy == "group_by_length"


def mapping_or_empty(config: Any) -> Mapping[str, Any]:
    """Return settings as a mapping; the name of a file, or nothing, gives an empty one."""
    return config if isinstance(config, Mapping) else {}


def _renamed(older: str, current: str, unset: tuple[Any, ...], given: ArgumentTable) -> Mapping[str, Any]:
    value = getattr(given, older)
    return {} if value in unset else {current: value}


def _adafactor(given: ArgumentTable) -> Mapping[str, Any]:
    return {"optim": "adafactor"} if given.adafactor else {}


def _group_by_length(given: ArgumentTable) -> Mapping[str, Any]:
    return {"train_sampling_strategy": "group_by_length"} if given.group_by_length else {}


def _hub_model_id(given: ArgumentTable) -> Mapping[str, Any]:
    """Join owner and name; without a name, the output folder gives it."""
    name = given.push_to_hub_model_id or (given.output_dir or "").rstrip("/").rpartition("/")[2]
    owner = given.push_to_hub_organization
    return {"hub_model_id": f"{owner}/{name}" if owner and "/" not in name else name} if name else {}


def _tpu_metrics_debug(given: ArgumentTable) -> Mapping[str, Any]:
    return {"debug": [*given.debug, "tpu_metrics_debug"]} if given.tpu_metrics_debug else {}


def _accelerator_config(given: ArgumentTable) -> Mapping[str, Any]:
    moved = {
        name: getattr(given, name)
        for name in ("dispatch_batches", "split_batches")
        if name in given.model_fields_set and getattr(given, name) is not None
    }
    return {"accelerator_config": {**moved, **(given.accelerator_config or {})}} if moved else {}


def _fsdp_min_num_params(given: ArgumentTable) -> Mapping[str, Any]:
    if not given.fsdp_min_num_params:
        return {}
    return {"fsdp_config": {"min_num_params": given.fsdp_min_num_params, **mapping_or_empty(given.fsdp_config)}}


def _fsdp_transformer_layer_cls_to_wrap(given: ArgumentTable) -> Mapping[str, Any]:
    """Append the layer to those of the settings, as transformers 4.37.2 did (training_args.py)."""
    layer, config = given.fsdp_transformer_layer_cls_to_wrap, mapping_or_empty(given.fsdp_config)
    if not layer:
        return {}
    layers = config.get("transformer_layer_cls_to_wrap") or []
    layers = [layers] if isinstance(layers, str) else list(layers)
    joined = layers if layer in layers else [*layers, layer]
    return {"fsdp_config": {**config, "transformer_layer_cls_to_wrap": joined}}


_RENAMED: Mapping[str, tuple[str, tuple[Any, ...]]] = {
    "evaluation_strategy": ("eval_strategy", ()),
    "per_gpu_train_batch_size": ("per_device_train_batch_size", (None, 0)),
    "per_gpu_eval_batch_size": ("per_device_eval_batch_size", (None, 0)),
    "no_cuda": ("use_cpu", ()),
    "gradient_checkpointing": ("activation_checkpointing", ()),
    "gradient_checkpointing_kwargs": ("activation_checkpointing_kwargs", (None, {})),
    "torchdynamo": ("torch_compile_backend", (None, "")),
    "fp16_backend": ("half_precision_backend", ("auto",)),
    "push_to_hub_token": ("hub_token", (None,)),
}
"""Older names that only changed: the current name, and the values by which the older one sets nothing."""
OLDER_NAMES: Mapping[str, Translation] = {
    **{older: partial(_renamed, older, current, unset) for older, (current, unset) in _RENAMED.items()},
    "adafactor": _adafactor,
    "group_by_length": _group_by_length,
    "push_to_hub_model_id": _hub_model_id,
    "push_to_hub_organization": _hub_model_id,
    "tpu_metrics_debug": _tpu_metrics_debug,
    "dispatch_batches": _accelerator_config,
    "split_batches": _accelerator_config,
    "fsdp_min_num_params": _fsdp_min_num_params,
    "fsdp_transformer_layer_cls_to_wrap": _fsdp_transformer_layer_cls_to_wrap,
}
"""For each older name, what it sets under current names."""
_REPLACED_BY: Mapping[str, str] = {
    **{older: current for older, (current, _) in _RENAMED.items()},
    "adafactor": "optim",
    "group_by_length": "train_sampling_strategy",
    "push_to_hub_model_id": "hub_model_id",
    "push_to_hub_organization": "hub_model_id",
}
"""The current name that sets the same thing as an older one, apart from those that are merged."""
_MOVED_INTO = {
    "dispatch_batches": ("accelerator_config", "dispatch_batches"),
    "split_batches": ("accelerator_config", "split_batches"),
    "fsdp_min_num_params": ("fsdp_config", "min_num_params"),
}
"""Older names that are one setting of a mapping today."""


def other_names(name: str) -> set[str]:
    """Return the other names that set the same thing: `evaluation_strategy` for `eval_strategy`, and the reverse."""
    older = {one for one, current in _REPLACED_BY.items() if current == name}
    return older | ({_REPLACED_BY[name]} if name in _REPLACED_BY else set())


def rename_arguments(given: _Arguments) -> _Arguments:
    """Return the arguments with current names added for the older ones; a current name that is set already stays."""
    for older in OLDER_NAMES:
        if older not in given.model_fields_set:
            continue
        renamed = OLDER_NAMES[older](given)
        free = {name: value for name, value in renamed.items() if name in MERGED or name not in given.model_fields_set}
        if free:
            given = given.model_copy(update=free)
    return given


def as_written(given: ArgumentTable) -> Mapping[str, str]:
    """Return the older name under which each current one was written, for messages."""
    return {
        name: older for older in OLDER_NAMES if older in given.model_fields_set for name in OLDER_NAMES[older](given)
    }


def names_agree(given: ArgumentTable) -> Iterator[Fault]:
    """An older name must not contradict the current one; in a dump, a library wrote both."""
    if given.is_dump:
        return
    for older, (name, setting) in _MOVED_INTO.items():
        value, found = getattr(given, older), mapping_or_empty(getattr(given, name)).get(setting)
        if older in given.model_fields_set and value and value != found:
            yield older, f"is {_shown(value)}, and {name} says {_shown(found)}; keep one"
    for older in OLDER_NAMES:
        if older not in given.model_fields_set:
            continue
        for name, value in OLDER_NAMES[older](given).items():
            found = getattr(given, name)
            if name not in MERGED and found != value:
                yield older, f"says {name}: {_shown(value)}, and {name} says {_shown(found)}; keep one"


def _shown(value: Any) -> str:
    return "another variable" if hasattr(value, "from_env") else str(value)
