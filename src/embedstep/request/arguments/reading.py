"""The forms that arguments come in: a mapping, JSON text, a dump of any release, a live arguments object.

A dump is what a library's class writes (`to_dict`, `to_json_string`): every argument with its value, facts of the
machine, and placeholders for secrets. Only values that differ from the defaults were chosen by somebody.
"""

import enum
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, get_origin

from pydantic import BaseModel

from embedstep.request.scalars import plain

_FEWEST_IN_A_DUMP = 80
"""Nobody writes 80 arguments by hand; dumps hold 118 to 120, a few less without the nulls."""
IS_DUMP = "_is_dump"
"""Key by which embedstep notes whether the arguments that it writes came from a dump, so that nothing is guessed."""
_PLACEHOLDER = re.compile(r"<[A-Z_]+>")
_MACHINE_LOG_FOLDER = re.compile(r".*/runs/[A-Z][a-z]{2}\d{2}_\d{2}-\d{2}-\d{2}_.+")
_OF_THE_MACHINE = {"_n_gpu", "local_rank", "train_batch_size", "eval_batch_size"}
"""Entries of a dump that describe the machine that wrote it."""
_NULL_DEFAULTS = {"hub_private_repo": None, "warmup_ratio": None}
"""Defaults of the installed release that are null, and were not in 3.0."""
_DEFAULT_FSDP_CONFIG = {"min_num_params": 0, "xla": False, "xla_fsdp_grad_ckpt": False}
_DEFAULT_ACCELERATOR_CONFIG: Mapping[str, Any] = {
    "split_batches": False,
    "dispatch_batches": None,
    "even_batches": True,
    "use_seedable_sampler": True,
    "non_blocking": False,
    "gradient_accumulation_kwargs": None,
    "use_configured_state": False,
}
_DERIVED: Mapping[str, Callable[[Any, Mapping[str, Any]], bool]] = {
    # Before transformers 5, which has no no_cuda, the default was a list of the installed trackers.
    "report_to": lambda value, values: "no_cuda" in values,
    "activation_checkpointing": lambda value, values: value is False,
    "ddp_broadcast_buffers": lambda value, values: value is False,
    "disable_tqdm": lambda value, values: value is False,
    "fsdp_config": lambda value, values: value == _DEFAULT_FSDP_CONFIG,
    "accelerator_config": lambda value, values: (
        isinstance(value, Mapping) and value.items() <= _DEFAULT_ACCELERATOR_CONFIG.items()
    ),
    "eval_steps": lambda value, values: value == values.get("logging_steps"),
    "logging_dir": lambda value, values: _MACHINE_LOG_FOLDER.fullmatch(str(value)) is not None,
    "run_name": lambda value, values: value == values.get("output_dir"),
    "do_eval": lambda value, values: "no" not in (values.get("evaluation_strategy"), values.get("eval_strategy")),
    "include_num_input_tokens_seen": lambda value, values: value in (False, "no"),
}
"""Values that the class derives itself: for each name, whether a value is one of them."""
_SECRETS = ("hub_token", "push_to_hub_token")
_UNSET_BY_NULL = {
    "average_tokens_across_devices", "do_eval", "do_train", "eval_do_concat_batches", "length_column_name",
    "local_rank", "project", "remove_unused_columns", "train_sampling_strategy",
}  # fmt: skip
"""Arguments that the installed trainer does not read, so that null changes nothing there."""


def written_arguments(raw: Any, model: type[BaseModel]) -> tuple[Any, bool]:
    """Turn one of the forms into a mapping of what was chosen, and say whether a library wrote it, not a person.

    Args:
        raw: a mapping, JSON text of one, null, or an arguments object of any release.
        model: the table, for its names and defaults.

    Raises:
        ValueError: the text is no JSON mapping.
    """
    if raw is None:
        return {}, False
    if isinstance(raw, str):
        raw = _from_json(raw)
    elif not isinstance(raw, Mapping) and callable(getattr(raw, "to_dict", None)):
        raw = _held_by(raw, model)
    if not isinstance(raw, Mapping):
        return raw, False
    values = {name: _without_enums(value) for name, value in raw.items()}
    if IS_DUMP in values:
        is_dump = values.pop(IS_DUMP) is True
        return values, is_dump
    if not looks_like_a_dump(values):
        return values, False
    for name in _SECRETS:
        if isinstance(values.get(name), str) and _PLACEHOLDER.fullmatch(values[name]):
            values[name] = None
    return _chosen(values, model), True


def read_nulls(values: Any, model: type[BaseModel]) -> Any:
    """Give null the meaning that it has in the installed class: false for a boolean, an empty list or mapping, unset.

    Where the class stores null and fails on it later, null stays and the type of the argument refuses it.
    """
    if not isinstance(values, Mapping):
        return values
    found = dict(values)
    for name in [name for name, value in values.items() if value is None and name in model.model_fields]:
        annotation = model.model_fields[name].annotation
        kind = get_origin(annotation) or annotation
        if name in _UNSET_BY_NULL:
            del found[name]
        elif kind in (bool, list, dict):
            found[name] = kind()
    return found


def looks_like_a_dump(values: Mapping[str, Any]) -> bool:
    """Whether a library wrote these arguments: there are too many for a person, or a private one is among them."""
    return len(values) >= _FEWEST_IN_A_DUMP or "_n_gpu" in values


def _held_by(live: Any, model: type[BaseModel]) -> Mapping[str, Any]:
    """Return every value that an arguments object holds; its own dump leaves out a batch sampler that is a class."""
    names = model.model_fields.keys() - set(_SECRETS)
    held = {name: value for name, value in getattr(live, "__dict__", {}).items() if name in names}
    return {**held, **live.to_dict()}


def _from_json(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_without_repeats)
    except json.JSONDecodeError:  # not for a key that occurs twice, which has a message of its own
        raise ValueError(
            "needs a mapping or the JSON text of one; a training_args.bin is a pickle: if you trust it, convert it "
            "with torch.load(path, weights_only=False).to_json_string()"
        ) from None


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a key that occurs twice, of which JSON would silently keep the last."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)} occurs twice; keep one")
    return found


def _chosen(values: Mapping[str, Any], model: type[BaseModel]) -> Mapping[str, Any]:
    """Return what a dump holds apart from defaults, facts of a machine and values derived from others."""
    read = plain(dict(values))
    return {
        name: value
        for name, value in values.items()
        if name not in _OF_THE_MACHINE
        and not (name in model.model_fields and _is_default(name, value, values, model))
        and not (name in _DERIVED and _DERIVED[name](read[name], read))
    }


def _is_default(name: str, value: Any, values: Mapping[str, Any], model: type[BaseModel]) -> bool:
    given, default = plain(value), model.model_fields[name].default
    if "eval_strategy" in values and name in _NULL_DEFAULTS and given == _NULL_DEFAULTS[name]:
        return True
    if default is None or default in ("", [], {}):
        return given is None or given in ("", [], {})
    return bool(given == default) and isinstance(given, bool) == isinstance(default, bool)


def _without_enums(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, list | tuple):
        return [_without_enums(item) for item in value]
    return value
