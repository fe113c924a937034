"""Arguments in the form in which the class of sentence-transformers 3.0 writes them.

`to_dict` returns what sentence-transformers 3.0.0 with transformers 4.37.2 returns for the same arguments: its names,
its order, and the values that its constructor derives from them. What the constructor asks the clock, the host or an
account is left out. Line numbers are those of transformers 4.37.2, training_args.py.
"""

import json
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from embedstep.request.arguments.installed import greater_is_better
from embedstep.request.arguments.lossless import to_lossless
from embedstep.request.arguments.schema import Arguments
from embedstep.request.arguments.support import NAMES_IN_3_0
from embedstep.runtime.world import World

_OTHER_DEFAULTS: Mapping[str, Any] = {"eval_delay": 0, "include_num_input_tokens_seen": False}
"""Defaults that had another type in 3.0."""

Values = Mapping[str, Any]


def to_dict(arguments: Arguments, world: World) -> dict[str, Any]:
    """Return the 120 arguments of 3.0 as plain data, secrets as `<HUB_TOKEN>`.

    Floats are written as floats: 3.0 epochs, even if 3 was given.

    Args:
        arguments: as the request gives them.
        world: rank of this process and the number of processes.

    Raises:
        OSError: the file that `fsdp_config` names cannot be read.
        ValueError: it holds no JSON mapping.
    """
    values = _by_names_in_3_0(to_lossless(arguments))
    _resolve_output(values)
    _resolve_device(values)
    _resolve_steps(values)
    _resolve_trackers_and_hub(values)
    values["fsdp_config"] = _fsdp_config(values)
    # Today's three choices are true or false in 3.0.
    values["include_num_input_tokens_seen"] = values["include_num_input_tokens_seen"] not in (False, "no")
    # Several processes drop the last batch (line 1863; sentence-transformers 3.0.0, training_args.py).
    values["dataloader_drop_last"] = values["dataloader_drop_last"] or world.world_size > 1
    values["local_rank"] = world.local_rank
    # The constructor of sentence-transformers 3.0.0 forces these two values (training_args.py).
    values |= {"prediction_loss_only": True, "ddp_broadcast_buffers": False}
    # Placeholders replace secrets, set or not (line 2139).
    values |= {name: f"<{name.upper()}>" for name in ("hub_token", "push_to_hub_token")}
    return {name: values[name] for name in NAMES_IN_3_0}


def _by_names_in_3_0(written: Values) -> dict[str, Any]:
    """Return every argument of 3.0; a value written under a later name only appears under the name in 3.0."""
    # `get_default` copies lists and mappings, so that who changes a dump does not change the defaults.
    defaults = {**{name: Arguments.model_fields[name].get_default() for name in NAMES_IN_3_0}, **_OTHER_DEFAULTS}
    return {**defaults, **_from_later_names(written), **{name: written[name] for name in written.keys() & defaults}}


def _from_later_names(written: Values) -> Values:
    """Return what later names set under the names in 3.0."""
    config = written.get("accelerator_config") or {}
    found = {name: config[name] for name in ("dispatch_batches", "split_batches") if name in config}
    for name in ("activation_checkpointing", "activation_checkpointing_kwargs"):
        if written.get(name):
            found[name.replace("activation", "gradient")] = written[name]
    if "eval_strategy" in written:
        found["evaluation_strategy"] = written["eval_strategy"]
    if written.get("train_sampling_strategy") == "group_by_length":
        found["group_by_length"] = True
    return found


def _resolve_output(values: dict[str, Any]) -> None:
    # Event files go below the output folder (line 1313), here without the time and the host in the name.
    if values["logging_dir"] is None and values["output_dir"] is not None:
        values["logging_dir"] = f"{values['output_dir'].rstrip('/')}/runs"
    # Progress bars are shown at the default verbosity (line 1319).
    values["disable_tqdm"] = bool(values["disable_tqdm"])
    # The default run name is the output folder (line 1419).
    if values["run_name"] is None:
        values["run_name"] = values["output_dir"]
    # The older argument becomes an item of the list, and is false afterwards (lines 1676 to 1690).
    if values["tpu_metrics_debug"]:
        values |= {"debug": [*values["debug"], "tpu_metrics_debug"], "tpu_metrics_debug": False}


def _resolve_device(values: dict[str, Any]) -> None:
    # Older names win over newer ones (lines 1336, 1422 and 1466).
    if values["no_cuda"]:
        values["use_cpu"] = True
    if values["fp16_backend"] != "auto":
        values["half_precision_backend"] = values["fp16_backend"]
    if values["adafactor"]:
        values["optim"] = "adafactor"
    # A backend or a mode turns compiling on; the default backend is inductor (lines 1510 to 1520).
    backend = values["torchdynamo"] or values["torch_compile_backend"]
    on = values["torch_compile"] or backend is not None or values["torch_compile_mode"] is not None
    values |= {"torch_compile": on, "torch_compile_backend": backend or "inductor" if on else None}
    # A CPU needs no pinned memory (line 1716).
    if values["use_cpu"]:
        values["dataloader_pin_memory"] = False


def _resolve_steps(values: dict[str, Any]) -> None:
    # A strategy turns evaluation on (line 1344).
    values["do_eval"] = values["do_eval"] or values["evaluation_strategy"] != "no"
    # Evaluation uses `logging_steps` if `eval_steps` is not set (line 1348).
    if values["evaluation_strategy"] == "steps" and not values["eval_steps"]:
        values["eval_steps"] = values["logging_steps"]
    # Steps above 1 become an integer; 1.0 is a share of all steps (lines 1362 to 1373).
    for name, strategy in (("logging_steps", "logging"), ("eval_steps", "evaluation"), ("save_steps", "save")):
        steps = values[name]
        if values[f"{strategy}_strategy"] == "steps" and steps > 1 and steps == int(steps):
            values[name] = int(steps)
    # If a metric is needed and none is named, it is the loss, where less is better (lines 1413 to 1418).
    needed = values["load_best_model_at_end"] or values["lr_scheduler_type"] == "reduce_lr_on_plateau"
    if needed and values["metric_for_best_model"] is None:
        values["metric_for_best_model"] = "loss"
    if values["greater_is_better"] is None and values["metric_for_best_model"] is not None:
        values["greater_is_better"] = greater_is_better(values["metric_for_best_model"])


def _resolve_trackers_and_hub(values: dict[str, Any]) -> None:
    # `none` alone means no tracker (lines 1565 to 1580). Null and `all` alone meant every installed one; these are not
    # listed, so that equal arguments give equal dumps.
    if values["report_to"] in (None, ["all"], ["none"]):
        values["report_to"] = []
    # The older names give owner and name; the default name is the output folder (line 1727).
    name, owner, output = (values[key] for key in ("push_to_hub_model_id", "push_to_hub_organization", "output_dir"))
    if name is not None:
        values["hub_model_id"] = f"{owner}/{name}" if owner and "/" not in name else name
    elif owner is not None and output is not None:
        values["hub_model_id"] = f"{owner}/{PurePath(output).name}"


def _fsdp_config(values: Values) -> dict[str, Any]:
    """Settings are read from a file, and the two older arguments are merged in (lines 1602 to 1650)."""
    config = _settings(values["fsdp_config"])
    config["min_num_params"] = max(config.get("min_num_params", 0), values["fsdp_min_num_params"])
    layers = config.get("transformer_layer_cls_to_wrap")
    if isinstance(layers, str):
        config["transformer_layer_cls_to_wrap"] = layers = [layers]
    if values["fsdp_transformer_layer_cls_to_wrap"] is not None:
        config["transformer_layer_cls_to_wrap"] = [*(layers or []), values["fsdp_transformer_layer_cls_to_wrap"]]
    for name in ("xla", "xla_fsdp_grad_ckpt"):
        config.setdefault(name, False)
    return config


def _settings(config: Any) -> dict[str, Any]:
    if not isinstance(config, str):
        return dict(config or {})
    found = json.loads(Path(config).read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise ValueError(f"{config} holds no JSON mapping")
    return {name.removeprefix("fsdp_"): value for name, value in found.items()}
