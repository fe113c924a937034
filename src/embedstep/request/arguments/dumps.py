"""Arguments written down again: as the class of the seed era writes itself, and without loss.

`to_dict`, `to_json_string` and `to_sanitized_dict` give what sentence-transformers 3.0.0 with transformers 4.37.2 gives
for the same arguments, by its names, in its order and with the values that its constructor makes of them. What that
constructor asks of the machine is a parameter here. `to_lossless` gives what was written and nothing else.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from embedstep.request.arguments.members import eval_batch_size, train_batch_size
from embedstep.request.arguments.reading import IS_DUMP, looks_like_a_dump
from embedstep.request.arguments.schema import Arguments
from embedstep.request.arguments.today import OLDER_NAMES, greater_is_better
from embedstep.runtime.world import World

SEED_NAMES: tuple[str, ...] = (
    "output_dir", "overwrite_output_dir", "do_train", "do_eval", "do_predict", "evaluation_strategy",
    "prediction_loss_only", "per_device_train_batch_size", "per_device_eval_batch_size", "per_gpu_train_batch_size",
    "per_gpu_eval_batch_size", "gradient_accumulation_steps", "eval_accumulation_steps", "eval_delay", "learning_rate",
    "weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon", "max_grad_norm", "num_train_epochs", "max_steps",
    "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_ratio", "warmup_steps", "log_level", "log_level_replica",
    "log_on_each_node", "logging_dir", "logging_strategy", "logging_first_step", "logging_steps",
    "logging_nan_inf_filter", "save_strategy", "save_steps", "save_total_limit", "save_safetensors",
    "save_on_each_node", "save_only_model", "no_cuda", "use_cpu", "use_mps_device", "seed", "data_seed",
    "jit_mode_eval", "use_ipex", "bf16", "fp16", "fp16_opt_level", "half_precision_backend", "bf16_full_eval",
    "fp16_full_eval", "tf32", "local_rank", "ddp_backend", "tpu_num_cores", "tpu_metrics_debug", "debug",
    "dataloader_drop_last", "eval_steps", "dataloader_num_workers", "past_index", "run_name", "disable_tqdm",
    "remove_unused_columns", "label_names", "load_best_model_at_end", "metric_for_best_model", "greater_is_better",
    "ignore_data_skip", "fsdp", "fsdp_min_num_params", "fsdp_config", "fsdp_transformer_layer_cls_to_wrap", "deepspeed",
    "label_smoothing_factor", "optim", "optim_args", "adafactor", "group_by_length", "length_column_name", "report_to",
    "ddp_find_unused_parameters", "ddp_bucket_cap_mb", "ddp_broadcast_buffers", "dataloader_pin_memory",
    "dataloader_persistent_workers", "skip_memory_metrics", "use_legacy_prediction_loop", "push_to_hub",
    "resume_from_checkpoint", "hub_model_id", "hub_strategy", "hub_token", "hub_private_repo", "hub_always_push",
    "gradient_checkpointing", "gradient_checkpointing_kwargs", "include_inputs_for_metrics", "fp16_backend",
    "push_to_hub_model_id", "push_to_hub_organization", "push_to_hub_token", "mp_parameters", "auto_find_batch_size",
    "full_determinism", "torchdynamo", "ray_scope", "ddp_timeout", "torch_compile", "torch_compile_backend",
    "torch_compile_mode", "dispatch_batches", "split_batches", "include_tokens_per_second",
    "include_num_input_tokens_seen", "neftune_noise_alpha", "batch_sampler", "multi_dataset_batch_sampler",
)  # fmt: skip
"""The arguments of the seed era, in the order of its constructor."""
_OTHER_DEFAULTS: Mapping[str, Any] = {"eval_delay": 0, "include_num_input_tokens_seen": False}
"""Defaults whose type in the seed era is not that of the table."""
_MERGED = ("accelerator_config", "fsdp_config", "debug")
"""Names of today that several older ones are put into."""

Values = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """What the constructor of the seed era asks of its machine.

    Attributes:
        trackers: names of the installed experiment trackers, which `report_to: all` means.
        log_folder: folder of event files below the output folder; on a real machine its name has the time and host.
        home: what `~` at the start of a path stands for; as it is, the path stays as written.
        hub_user: owner of the Hub token, to whom a repository without an owner belongs.
        world: place of the process among all that train together.
    """

    trackers: tuple[str, ...] = ()
    log_folder: str = "runs"
    home: str = "~"
    hub_user: str | None = None
    world: World = field(default_factory=World)


NO_MACHINE = Machine()
"""One process, without trackers and without an account."""


def to_dict(arguments: Arguments, *, machine: Machine = NO_MACHINE) -> dict[str, Any]:
    """Return the 120 arguments of the seed era as plain data, secrets as `<HUB_TOKEN>`.

    A whole number in a field of fractions is written as a fraction: 3.0 epochs, also where 3 was given.

    Args:
        arguments: as the request gave them.
        machine: what the constructor would find.

    Raises:
        OSError: the file that `fsdp_config` names cannot be read.
        ValueError: it holds no JSON mapping.
    """
    values = _by_seed_names(to_lossless(arguments))
    for resolve in RESOLUTIONS:
        values = {**values, **resolve(values, machine)}
    return {name: values[name] for name in SEED_NAMES}


def to_json_string(arguments: Arguments, *, machine: Machine = NO_MACHINE) -> str:
    """Return `to_dict` as JSON text, indented by 2, with its errors."""
    return json.dumps(to_dict(arguments, machine=machine), indent=2)


def to_sanitized_dict(arguments: Arguments, n_gpu: int = 0, *, machine: Machine = NO_MACHINE) -> dict[str, Any]:
    """Return `to_dict` and the two batch sizes, with anything but numbers, truth values and text as Python's text.

    Args:
        arguments: as the request gave them.
        n_gpu: GPUs that the process trains on.
        machine: what the constructor would find.

    Raises:
        OSError: the file that `fsdp_config` names cannot be read.
        ValueError: it holds no JSON mapping.
    """
    sizes = {
        "train_batch_size": train_batch_size(arguments, n_gpu),
        "eval_batch_size": eval_batch_size(arguments, n_gpu),
    }
    values = to_dict(arguments, machine=machine) | sizes
    return {name: value if isinstance(value, int | float | str) else str(value) for name, value in values.items()}


def to_lossless(arguments: Arguments) -> dict[str, Any]:
    """Return what was written as plain JSON data, less what was filled in under today's names.

    `Arguments.model_validate` makes equal arguments of it, with the same fields set, and as much a dump as they were.
    """
    written = arguments.model_dump(mode="json", exclude_unset=True)
    for name, filled in _filled_in(arguments).items():
        found = getattr(arguments, name)
        own = _less(found, filled) if name in _MERGED else found
        if found == filled or (name in _MERGED and own is None):
            del written[name]
        elif name in _MERGED:
            written[name] = own
    is_in_doubt = arguments.is_dump or looks_like_a_dump(written)
    return {**written, IS_DUMP: arguments.is_dump} if is_in_doubt else written


def _filled_in(arguments: Arguments) -> Values:
    """Return what reading puts under today's names, apart from what was written there."""
    bare = arguments.model_copy(update={name: Arguments.model_fields[name].default for name in _MERGED})
    filled: dict[str, Any] = {}
    for older in OLDER_NAMES.keys() & arguments.model_fields_set:
        for name, value in OLDER_NAMES[older](bare).items():
            filled[name] = {**filled.get(name, {}), **value} if isinstance(value, Mapping) else value
    return filled


def _less(found: Any, filled: Any) -> Any:
    """Return the part of a value that reading would not fill in, and None for nothing."""
    if found == filled:
        return None
    if isinstance(found, dict) and isinstance(filled, dict):
        return {key: value for key, value in found.items() if key not in filled or filled[key] != value} or None
    if isinstance(found, list) and isinstance(filled, list) and found[-len(filled) :] == filled:
        return found[: -len(filled)]
    return found


def _by_seed_names(written: Values) -> Values:
    """Return every argument of the seed era, with what was written under a later name only."""
    defaults = {**{name: Arguments.model_fields[name].default for name in SEED_NAMES}, **_OTHER_DEFAULTS}
    later = {name: value for read in LATER_NAMES for name, value in read(written).items()}
    return {**defaults, **later, **{name: value for name, value in written.items() if name in defaults}}


def _eval_strategy(written: Values) -> Values:
    return {"evaluation_strategy": written["eval_strategy"]} if "eval_strategy" in written else {}


def _activation_checkpointing(written: Values) -> Values:
    later = ("activation_checkpointing", "activation_checkpointing_kwargs")
    return {name.replace("activation", "gradient"): written[name] for name in later if written.get(name)}


def _train_sampling_strategy(written: Values) -> Values:
    return {"group_by_length": True} if written.get("train_sampling_strategy") == "group_by_length" else {}


def _accelerator_config(written: Values) -> Values:
    config = written.get("accelerator_config") or {}
    return {name: config[name] for name in ("dispatch_batches", "split_batches") if name in config}


LATER_NAMES: tuple[Callable[[Values], Values], ...] = (
    _eval_strategy,
    _activation_checkpointing,
    _train_sampling_strategy,
    _accelerator_config,
)
"""For each later name, what it says under the seed's."""


def _paths(values: Values, machine: Machine) -> Values:
    """The home folder is put in, and event files go below the output folder (lines 1309 to 1317)."""
    output, logs = values["output_dir"], values["logging_dir"]
    if logs is None and output is not None:
        logs = f"{output.rstrip('/')}/{machine.log_folder}"
    return {"output_dir": _expanded(output, machine), "logging_dir": _expanded(logs, machine)}


def _expanded(path: str | None, machine: Machine) -> str | None:
    return machine.home + path[1:] if path is not None and (path == "~" or path.startswith("~/")) else path


def _progress_bars(values: Values, machine: Machine) -> Values:
    """They are shown at the library's normal verbosity (line 1319)."""
    return {"disable_tqdm": bool(values["disable_tqdm"])}


def _older_names(values: Values, machine: Machine) -> Values:
    """Where they are given they win over the newer ones (lines 1336, 1422 and 1466)."""
    newer = {"use_cpu": True} if values["no_cuda"] else {}
    backend = {"half_precision_backend": values["fp16_backend"]} if values["fp16_backend"] != "auto" else {}
    return {**newer, **backend, **({"optim": "adafactor"} if values["adafactor"] else {})}


def _do_eval(values: Values, machine: Machine) -> Values:
    """A strategy says that there is evaluation (line 1344)."""
    return {"do_eval": values["do_eval"] or values["evaluation_strategy"] != "no"}


def _eval_steps(values: Values, machine: Machine) -> Values:
    """Evaluation goes by the steps of logging when it has none of its own (line 1348)."""
    if values["evaluation_strategy"] != "steps" or values["eval_steps"]:
        return {}
    return {"eval_steps": values["logging_steps"]}


def _whole_steps(values: Values, machine: Machine) -> Values:
    """A number of steps is a whole number, a share is not; 1.0 is a share (lines 1362 to 1373)."""
    strategies = {"logging_steps": "logging", "eval_steps": "evaluation", "save_steps": "save"}
    return {
        name: int(values[name])
        for name, strategy in strategies.items()
        if values[f"{strategy}_strategy"] == "steps" and values[name] > 1 and values[name] == int(values[name])
    }


def _best_metric(values: Values, machine: Machine) -> Values:
    """Whoever needs a metric and names none goes by the loss, where less is better (lines 1413 to 1418)."""
    needed = values["load_best_model_at_end"] or values["lr_scheduler_type"] == "reduce_lr_on_plateau"
    metric = "loss" if needed and values["metric_for_best_model"] is None else values["metric_for_best_model"]
    greater = values["greater_is_better"]
    if greater is None and metric is not None:
        greater = greater_is_better(metric)
    return {"metric_for_best_model": metric, "greater_is_better": greater}


def _run_name(values: Values, machine: Machine) -> Values:
    """A run without a name has that of its output folder (line 1419)."""
    return {"run_name": values["output_dir"]} if values["run_name"] is None else {}


def _compile(values: Values, machine: Machine) -> Values:
    """A backend or a mode switches compiling on, and the backend is inductor (lines 1510 to 1520)."""
    backend = values["torchdynamo"] or values["torch_compile_backend"]
    on = values["torch_compile"] or backend is not None or values["torch_compile_mode"] is not None
    return {"torch_compile": on, "torch_compile_backend": backend or "inductor" if on else None}


def _trackers(values: Values, machine: Machine) -> Values:
    """Nothing and `all` are what is installed, `none` is nothing; each stands alone (lines 1565 to 1580)."""
    given = values["report_to"]
    return {"report_to": list(machine.trackers) if given in (None, ["all"]) else [] if given == ["none"] else given}


def _fsdp_config(values: Values, machine: Machine) -> Values:
    """The settings are read from a file, and the two older arguments are put in (lines 1602 to 1650)."""
    config = _settings(values["fsdp_config"])
    config["min_num_params"] = max(config.get("min_num_params", 0), values["fsdp_min_num_params"])
    layers = config.get("transformer_layer_cls_to_wrap")
    if isinstance(layers, str):
        config["transformer_layer_cls_to_wrap"] = layers = [layers]
    if values["fsdp_transformer_layer_cls_to_wrap"] is not None:
        config["transformer_layer_cls_to_wrap"] = [*(layers or []), values["fsdp_transformer_layer_cls_to_wrap"]]
    for name in ("xla", "xla_fsdp_grad_ckpt"):
        config.setdefault(name, False)
    return {"fsdp_config": config}


def _settings(config: Any) -> dict[str, Any]:
    if not isinstance(config, str):
        return dict(config or {})
    found = json.loads(Path(config).read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise ValueError(f"{config} holds no JSON mapping")
    return {name.removeprefix("fsdp_"): value for name, value in found.items()}


def _debug(values: Values, machine: Machine) -> Values:
    """The older switch becomes a word of the list, and is off then (lines 1676 to 1690)."""
    older = ["tpu_metrics_debug"] if values["tpu_metrics_debug"] else []
    return {"debug": values["debug"] + older, "tpu_metrics_debug": False}


def _pinned_memory(values: Values, machine: Machine) -> Values:
    """There is nothing to copy to on a CPU (line 1716)."""
    return {"dataloader_pin_memory": False} if values["use_cpu"] else {}


def _repository(values: Values, machine: Machine) -> Values:
    """The older names make the id: owner and name, which the output folder gives where it is missing (line 1727)."""
    name, owner = values["push_to_hub_model_id"], values["push_to_hub_organization"]
    if name is not None:
        owner = owner or machine.hub_user
        return {"hub_model_id": f"{owner}/{name}" if owner and "/" not in name else name}
    if owner is not None and values["output_dir"] is not None:
        return {"hub_model_id": f"{owner}/{PurePath(values['output_dir']).name}"}
    return {}


def _tokens_counted(values: Values, machine: Machine) -> Values:
    """The words of today are true and false then."""
    return {"include_num_input_tokens_seen": values["include_num_input_tokens_seen"] not in (False, "no")}


def _of_the_process(values: Values, machine: Machine) -> Values:
    """Rank and the last batch go by the processes (line 1863; sentence-transformers 3.0.0, training_args.py)."""
    dropped = values["dataloader_drop_last"] or machine.world.world_size > 1
    return {"local_rank": machine.world.local_rank, "dataloader_drop_last": dropped}


def _forced(values: Values, machine: Machine) -> Values:
    """The trainer computes its loss itself and broadcasts nothing (sentence-transformers 3.0.0, training_args.py)."""
    return {"prediction_loss_only": True, "ddp_broadcast_buffers": False}


def _secrets(values: Values, machine: Machine) -> Values:
    """Their names stand for them, also where there are none (line 2139)."""
    return {name: f"<{name.upper()}>" for name in ("hub_token", "push_to_hub_token")}


RESOLUTIONS: tuple[Callable[[Values, Machine], Values], ...] = (
    _paths, _progress_bars, _older_names, _do_eval, _eval_steps, _whole_steps, _best_metric, _run_name, _compile,
    _trackers, _fsdp_config, _debug, _pinned_memory, _repository, _tokens_counted, _of_the_process, _forced, _secrets,
)  # fmt: skip
"""What the constructor makes of the values, in its order; lines are those of transformers 4.37.2, training_args.py."""
