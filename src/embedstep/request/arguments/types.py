"""The types of argument values; each reads what any release of the libraries wrote for it."""

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from typing_extensions import TypedDict

from embedstep.request import extensions
from embedstep.request.extensions import OrDeclared
from embedstep.request.scalars import CHOICE, Boolean, Number, Plain, PlainData, Text, map_scalars, parse_untyped, plain


def _mapping(raw: Any) -> Any:
    """Read a mapping from JSON text, which is how a command line gives one."""
    value = plain(raw)
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            return json.loads(value)
        except json.JSONDecodeError as error:
            raise ValueError(f"starts like a JSON mapping and is not one: {error}") from error
    return value


def _settings(raw: Any) -> Any:
    """Read booleans and numbers in a mapping from text: `no` is text in YAML 1.2, and true to the libraries."""
    value = _mapping(raw)
    if not isinstance(value, dict):
        return value
    return map_scalars(value, lambda scalar: parse_untyped(scalar) if isinstance(scalar, str) else scalar)


MappingOrJson = Annotated[dict[str, PlainData], BeforeValidator(_settings)]
MappingOrFile = Annotated[dict[str, PlainData] | Text, BeforeValidator(_settings)]
Rates = Annotated[dict[str, Number], BeforeValidator(_mapping, json_schema_input_type=dict[str, Number] | None)]
Routes = Annotated[
    dict[str, Text | dict[str, Text]],
    BeforeValidator(_mapping, json_schema_input_type=dict[str, Text | dict[str, Text]] | None),
]


class AcceleratorConfig(TypedDict, total=False):
    """Settings of accelerate's `AcceleratorConfig` in transformers."""

    __pydantic_config__ = ConfigDict(strict=True, extra="forbid")  # type: ignore[misc]

    split_batches: Annotated[Boolean, Field(description="Split each batch over the processes.")]
    dispatch_batches: Annotated[
        Boolean | None, Field(description="Read batches in the first process only, and send them to the others.")
    ]
    even_batches: Annotated[Boolean, Field(description="Repeat rows so that each process gets equally many.")]
    use_seedable_sampler: Annotated[Boolean, Field(description="Use a sampler that is seeded again in each epoch.")]
    non_blocking: Annotated[Boolean, Field(description="Copy to the device without waiting.")]
    gradient_accumulation_kwargs: Annotated[
        dict[str, PlainData] | None, Field(description="Options of accelerate's GradientAccumulationPlugin.")
    ]
    use_configured_state: Annotated[Boolean, Field(description="Use an existing accelerator state.")]


AcceleratorSettings = Annotated[AcceleratorConfig, BeforeValidator(_mapping)]
Prompts = Annotated[dict[str, Text | dict[str, Text]] | Text, BeforeValidator(_mapping)]
Interval = Annotated[Literal["no", "steps", "epoch"], CHOICE]
SaveInterval = Annotated[Literal["no", "steps", "epoch", "best"], CHOICE]
HubStrategy = Literal["end", "every_save", "checkpoint", "all_checkpoints"]
_BatchSampler = Literal["batch_sampler", "no_duplicates", "no_duplicates_hashed", "group_by_label"]
BATCH_SAMPLERS: tuple[str, ...] = get_args(_BatchSampler)
"""The batch samplers that need no extension."""
BatchSamplerName = Annotated[_BatchSampler, OrDeclared(extensions.BATCH_SAMPLERS)]
MultiDatasetBatchSamplerName = Literal["round_robin", "proportional"]


class BatchSamplers(StrEnum):
    """The choices of `batch_sampler`."""

    BATCH_SAMPLER = "batch_sampler"
    NO_DUPLICATES = "no_duplicates"
    NO_DUPLICATES_HASHED = "no_duplicates_hashed"
    GROUP_BY_LABEL = "group_by_label"


class MultiDatasetBatchSamplers(StrEnum):
    """The choices of `multi_dataset_batch_sampler`."""

    ROUND_ROBIN = "round_robin"
    PROPORTIONAL = "proportional"


_MIN_LR = {"num_cycles", "min_lr", "min_lr_rate"}
SCHEDULER_OPTIONS: Mapping[str, set[str]] = {
    "linear": set(),
    "cosine": {"num_cycles"},
    "cosine_with_restarts": {"num_cycles"},
    "polynomial": {"lr_end", "power"},
    "constant": set(),
    "constant_with_warmup": set(),
    "inverse_sqrt": {"timescale"},
    "reduce_lr_on_plateau": {"mode", "factor", "patience", "threshold", "threshold_mode", "cooldown", "min_lr", "eps"},
    "cosine_with_min_lr": _MIN_LR,
    "cosine_warmup_with_min_lr": {*_MIN_LR, "warmup_lr_rate"},
    "warmup_stable_decay": {
        "num_decay_steps", "num_stable_steps", "warmup_type", "decay_type", "min_lr_ratio", "num_cycles",
    },
    "greedy": {
        "mode", "factor", "patience", "threshold", "threshold_mode", "cooldown", "warmup", "min_lr", "max_lr", "eps",
        "verbose", "smooth", "window_size", "reset_start",
    },
}  # fmt: skip
"""Options of each scheduler of the installed release, for `lr_scheduler_kwargs`."""
OPTIMIZER_PACKAGES: Mapping[str, str] = {
    "adamw_torch": "",
    "adamw_torch_fused": "",
    "adamw_torch_xla": "torch_xla",
    "adamw_torch_npu_fused": "torch_npu",
    "adafactor": "",
    "adamw_anyprecision": "torchdistx",
    "adamw_torch_4bit": "torchao",
    "adamw_torch_8bit": "torchao",
    "ademamix": "bitsandbytes",
    "sgd": "",
    "adagrad": "",
    "adamw_bnb_8bit": "bitsandbytes",
    "adamw_8bit": "bitsandbytes",
    "ademamix_8bit": "bitsandbytes",
    "lion_8bit": "bitsandbytes",
    "lion_32bit": "bitsandbytes",
    "paged_adamw_32bit": "bitsandbytes",
    "paged_adamw_8bit": "bitsandbytes",
    "paged_ademamix_32bit": "bitsandbytes",
    "paged_ademamix_8bit": "bitsandbytes",
    "paged_lion_32bit": "bitsandbytes",
    "paged_lion_8bit": "bitsandbytes",
    "rmsprop": "",
    "rmsprop_bnb": "bitsandbytes",
    "rmsprop_bnb_8bit": "bitsandbytes",
    "rmsprop_bnb_32bit": "bitsandbytes",
    "galore_adamw": "galore_torch",
    "galore_adamw_8bit": "galore_torch",
    "galore_adafactor": "galore_torch",
    "galore_adamw_layerwise": "galore_torch",
    "galore_adamw_8bit_layerwise": "galore_torch",
    "galore_adafactor_layerwise": "galore_torch",
    "lomo": "lomo_optim",
    "adalomo": "lomo_optim",
    "grokadamw": "grokadamw",
    "schedule_free_radam": "schedulefree",
    "schedule_free_adamw": "schedulefree",
    "schedule_free_sgd": "schedulefree",
    "apollo_adamw": "apollo_torch",
    "apollo_adamw_layerwise": "apollo_torch",
    "stable_adamw": "optimi",
    "adamw_hf": "",
    "adamw_apex_fused": "",
}
"""The optimizers of the installed release, two of 3.0 that were removed, and the package that each needs besides torch.

transformers 5.24 asks for these packages (trainer_optimizer.py).
"""
if TYPE_CHECKING:
    SchedulerName = str
    OptimizerName = str
else:
    # A type checker cannot read the names from a table.
    SchedulerName = Literal[tuple(SCHEDULER_OPTIONS)]
    OptimizerName = Literal[tuple(OPTIMIZER_PACKAGES)]


def _token_count(raw: Any) -> Any:
    """Read true as `all` and false as `no`, as older releases wrote them."""
    value = plain(raw)
    value = value.lower() if isinstance(value, str) else value
    return "all" if value in (True, "true") else "no" if value in (False, "false") else value


TokenCount = Annotated[Literal["no", "all", "non_padding"], BeforeValidator(_token_count)]
PrecisionBackend = Literal["auto", "cuda_amp", "cpu_amp", "apex"]
LogLevel = Literal["detail", "debug", "info", "warning", "error", "critical", "passive"]


def _checkpoint(raw: Any) -> Any:
    """Read true as the newest checkpoint and false as none, as scripts do."""
    value = raw.value if isinstance(raw, Plain) else raw
    words = {"": None, "false": None, "true": "true"}
    return words.get(str(value).lower(), value) if isinstance(value, str | bool) else value


Checkpoint = Annotated[Text | None, BeforeValidator(_checkpoint)]


def _names(raw: Any) -> Any:
    """Read a list of names, or text with names separated by blanks."""
    value = plain(raw)
    return value.split() if isinstance(value, str) else value


def _fsdp_words(raw: Any) -> Any:
    """Read true as full_shard, as transformers 4.37.2 did (training_args.py)."""
    value = plain(raw)
    if isinstance(value, bool):
        return ["full_shard"] if value else []
    return _names(value)


Names = Annotated[list[Text], BeforeValidator(_names, json_schema_input_type=str | list[str])]
DebugOptions = Annotated[
    list[Literal["underflow_overflow", "tpu_metrics_debug"]],
    BeforeValidator(_names, json_schema_input_type=str | list[str] | None),
]
MetricInputs = Annotated[list[Text], BeforeValidator(plain, json_schema_input_type=list[str] | None)]
FsdpOptions = Annotated[
    list[
        Literal["full_shard", "shard_grad_op", "no_shard", "hybrid_shard", "hybrid_shard_zero2", "offload", "auto_wrap"]
    ],
    BeforeValidator(_fsdp_words, json_schema_input_type=str | list[str] | bool | None),
]


class FromEnvironment(BaseModel):
    """The name of the environment variable that holds a secret."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    from_env: Annotated[Text, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] = Field(
        description="Name of the environment variable."
    )


def _secret(raw: Any) -> Any:
    if isinstance(raw, str) and raw.startswith("<") and raw.endswith(">"):
        raise ValueError(f"{raw} is the placeholder of a secret; write {{from_env: HF_TOKEN}}, or leave it out")
    if isinstance(raw, str):
        raise ValueError(
            "a secret has no place in a request; write {from_env: HF_TOKEN}, or set HF_TOKEN and leave it out"
        )
    return raw


Secret = Annotated[FromEnvironment, BeforeValidator(_secret)]
