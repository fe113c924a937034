"""The forms in which arguments are written down: a mapping, JSON text, a dump of either era, a live arguments object.

A dump is what a library writes of itself (`to_dict`, `to_json_string`): every argument with its value, facts of the
machine that wrote it, and placeholders for secrets. Only what differs from the defaults says something.
"""

import enum
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from embedstep.request.scalars import plain

_FEWEST_IN_A_DUMP = 80
"""Nobody writes eighty arguments by hand; the dumps of the two eras hold 118 to 120, a few less without the nulls."""
IS_DUMP = "_is_dump"
"""Key by which arguments that embedstep has written down say whether they came out of a dump; nobody guesses then."""
_PLACEHOLDER = re.compile(r"<[A-Z_]+>")
_MACHINE_LOG_FOLDER = re.compile(r".*/runs/[A-Z][a-z]{2}\d{2}_\d{2}-\d{2}-\d{2}_.+")
_OF_THE_MACHINE = {"_n_gpu", "local_rank", "train_batch_size", "eval_batch_size"}
"""What a dump says of the machine that wrote it."""
_TODAYS_DEFAULTS = {"hub_private_repo": None, "warmup_ratio": None}
"""Nulls of the installed release that are not the seed's: a dump of it says nothing by them."""
_SEEDS_FSDP = {"min_num_params": 0, "xla": False, "xla_fsdp_grad_ckpt": False}
_TODAYS_ACCELERATOR: Mapping[str, Any] = {
    "split_batches": False,
    "dispatch_batches": None,
    "even_batches": True,
    "use_seedable_sampler": True,
    "non_blocking": False,
    "gradient_accumulation_kwargs": None,
    "use_configured_state": False,
}
_FOLLOWING: Mapping[str, Callable[[Any, Mapping[str, Any]], bool]] = {
    "report_to": lambda value, values: True,  # the trackers that were installed where it was written
    "activation_checkpointing": lambda value, values: value is False,
    "ddp_broadcast_buffers": lambda value, values: value is False,
    "disable_tqdm": lambda value, values: value is False,
    "fsdp_config": lambda value, values: value == _SEEDS_FSDP,
    "accelerator_config": lambda value, values: (
        isinstance(value, Mapping) and value.items() <= _TODAYS_ACCELERATOR.items()
    ),
    "eval_steps": lambda value, values: value == values.get("logging_steps"),
    "do_eval": lambda value, values: "no" not in (values.get("evaluation_strategy"), values.get("eval_strategy")),
    "include_num_input_tokens_seen": lambda value, values: value in (False, "no"),
}
"""What the class fills in by itself; a dump says nothing by it."""
_SECRETS = ("hub_token", "push_to_hub_token")


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """Arguments as somebody or something wrote them.

    Attributes:
        values: by name, still unchecked.
        is_dump: whether a library wrote them, and not a person.
    """

    values: Any
    is_dump: bool = False


def written_arguments(raw: Any, model: type[BaseModel]) -> Written:
    """Bring one of the forms into a mapping of what was chosen.

    Args:
        raw: a mapping, JSON text of one, null, or an arguments object of either era.
        model: the table, for its names and defaults.

    Raises:
        ValueError: the text is no JSON mapping.
    """
    if raw is None:
        return Written(values={})
    if isinstance(raw, str):
        raw = _from_json(raw)
    elif not isinstance(raw, Mapping) and callable(getattr(raw, "to_dict", None)):
        raw = raw.to_dict()
    if not isinstance(raw, Mapping):
        return Written(values=raw)
    values = {name: _without_enums(value) for name, value in raw.items()}
    if IS_DUMP in values:
        return Written(is_dump=values.pop(IS_DUMP) is True, values=values)
    for name in _SECRETS:
        if isinstance(values.get(name), str) and _PLACEHOLDER.fullmatch(values[name]):
            values[name] = None
    if not looks_like_a_dump(values):
        return Written(values=values)
    return Written(values=dict(_chosen(values, model)), is_dump=True)


def looks_like_a_dump(values: Mapping[str, Any]) -> bool:
    """Whether a library wrote these arguments, by their number and by what no person would write."""
    return len(values) >= _FEWEST_IN_A_DUMP or "_n_gpu" in values


def _from_json(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_without_repeats)
    except _StandsTwiceError:
        raise
    except ValueError:
        raise ValueError(
            "needs a mapping, or the JSON text of one; of a training_args.bin, which is a pickle, write "
            "torch.load(path, weights_only=False).to_json_string() once where you trust it"
        ) from None


class _StandsTwiceError(ValueError):
    """A name of a mapping stands there twice, so that nobody knows which value is meant."""


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise _StandsTwiceError(f"{next(name for name in names if names.count(name) > 1)} stands twice; keep one")
    return found


def _chosen(values: Mapping[str, Any], model: type[BaseModel]) -> Mapping[str, Any]:
    """Return what a dump holds besides defaults, facts of a machine and values that follow from others."""
    chosen, told = {}, plain(dict(values))
    for name, value in values.items():
        if name in _OF_THE_MACHINE or (name in model.model_fields and _is_default(name, value, values, model)):
            continue
        if name == "logging_dir" and _MACHINE_LOG_FOLDER.fullmatch(str(value)):
            continue
        if name == "run_name" and value == values.get("output_dir"):
            continue
        if name in _FOLLOWING and _FOLLOWING[name](told[name], told):
            continue
        chosen[name] = value
    return chosen


def _is_default(name: str, value: Any, values: Mapping[str, Any], model: type[BaseModel]) -> bool:
    given, default = plain(value), model.model_fields[name].default
    if "eval_strategy" in values and name in _TODAYS_DEFAULTS and given == _TODAYS_DEFAULTS[name]:
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
