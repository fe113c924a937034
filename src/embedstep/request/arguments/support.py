"""How each argument is supported: five levels, the functions that the table is written in, and a record for a row."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pydantic import BaseModel, Field

Support = Literal["used", "translated", "implemented", "environment", "refused"]
SUPPORT_MEANINGS: dict[Support, str] = {
    "used": "passed to the installed trainer unchanged",
    "translated": "passed under its current name, or with the value that means the same today",
    "implemented": "ignored or broken in the installed trainer; embedstep implements it",
    "environment": "depends on the machine; refused where the machine cannot do it",
    "refused": "no longer has a meaning; only the default is accepted",
}
RELEASE_3_0 = "sentence-transformers 3.0"
LATER = "later"
NAMES_IN_3_0: tuple[str, ...] = (
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
"""The arguments of sentence-transformers 3.0, in the order of its constructor."""
_KEY = "x-contract"


def used(default: Any, description: str) -> Any:
    """Define an argument that the installed trainer carries out itself."""
    return _argument(default, description, "used")


def translated(default: Any, description: str, *, to: str) -> Any:
    """Define an argument that is called `to` today; with an empty `to`, the trainer always does it."""
    return _argument(default, description, "translated", current_name=to)


def implemented(default: Any, description: str, *, by: str) -> Any:
    """Define an argument that embedstep carries out."""
    return _argument(default, description, "implemented", by=by)


def environment(default: Any, description: str, *, by: str) -> Any:
    """Define an argument that needs what `by` names."""
    return _argument(default, description, "environment", by=by)


def refused(default: Any, description: str, *, instead: str) -> Any:
    """Define an argument of which only the default is accepted; `instead` says what to write."""
    return _argument(default, description, "refused", instead=instead)


def _argument(default: Any, description: str, support: Support, **more: str) -> Any:
    return Field(default, description=description, json_schema_extra={_KEY: {"support": support, **more}})


def release_of(name: str) -> str:
    """Return the release that introduced an argument."""
    return RELEASE_3_0 if name in NAMES_IN_3_0 else LATER


def add_releases(schema: dict[str, Any]) -> None:
    """Add to the JSON Schema of the table which release introduced each argument."""
    for name, field in schema["properties"].items():
        field[_KEY]["since"] = release_of(name)


@dataclass(frozen=True, kw_only=True, slots=True)
class Contract:
    """One row of the table.

    Attributes:
        name: name of the argument.
        group: topic.
        default: value if the request does not set it.
        support: how it is supported.
        current_name: its name in the installed release; empty if the trainer always does it.
        since: release that introduced it.
        description: what it is for, in one sentence.
        by: what carries it out or what it needs, for `implemented` and `environment`.
        instead: what to write instead, for `refused`.
    """

    name: str
    group: str
    default: Any
    support: Support
    current_name: str
    since: str
    description: str
    by: str = ""
    instead: str = ""

    def to_json(self, type_: str) -> dict[str, Any]:
        """Return plain data, with the type of the argument in words."""
        return {"name": self.name, "type": type_, **asdict(self)}


def contracts_of(groups: Sequence[type[BaseModel]], removed: type[BaseModel]) -> Iterator[Contract]:
    """Yield the rows of the table, group by group; arguments in `removed` have no current name of their own."""
    for group in groups:
        for name, field in group.model_fields.items():
            extra: Any = field.json_schema_extra
            yield Contract(
                name=name,
                group=group.__name__.lower(),
                default=field.default,
                since=release_of(name),
                description=str(field.description),
                **{"current_name": "" if group is removed else name, **extra[_KEY]},
            )


def types_of(model: type[BaseModel]) -> dict[str, str]:
    """Return the type of each field in words, such as `integer or null`."""
    return {name: _in_words(field) for name, field in model.model_json_schema()["properties"].items()}


def _in_words(schema: dict[str, Any]) -> str:
    """Name a JSON Schema type in plain words: `integer or null`, `text`, `one of a, b`."""
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_in_words(part) for part in schema["anyOf"]))
    if "$ref" in schema:
        return "{from_env: NAME}" if schema["$ref"].endswith("/FromEnvironment") else "mapping"
    if "enum" in schema:
        return f"one of {', '.join(map(str, schema['enum']))}"
    if "const" in schema:
        return str(schema["const"]).lower()
    if schema.get("type") == "array":
        return "list of texts"
    words = {"boolean": "true or false", "string": "text", "object": "mapping"}
    kind = str(schema.get("type", "anything"))
    return words.get(kind, kind)
