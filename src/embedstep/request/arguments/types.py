"""The types of argument values; each reads what any release of the libraries wrote for it."""

import json
from enum import StrEnum
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from typing_extensions import TypedDict

from embedstep.request import extensions
from embedstep.request.extensions import OrDeclared
from embedstep.request.scalars import CHOICE, Boolean, Number, Plain, PlainData, Text, parse_untyped, plain


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
    return _scalars(value) if isinstance(value, dict) else value


def _scalars(value: Any) -> Any:
    match value:
        case dict():
            return {key: _scalars(inner) for key, inner in value.items()}
        case list():
            return [_scalars(inner) for inner in value]
        case str():
            return parse_untyped(value)
    return value


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


SchedulerName = Literal[
    "linear",
    "cosine",
    "cosine_with_restarts",
    "polynomial",
    "constant",
    "constant_with_warmup",
    "inverse_sqrt",
    "reduce_lr_on_plateau",
    "cosine_with_min_lr",
    "cosine_warmup_with_min_lr",
    "warmup_stable_decay",
    "greedy",
]
OptimizerName = Literal[
    "adamw_torch",
    "adamw_torch_fused",
    "adamw_torch_xla",
    "adamw_torch_npu_fused",
    "adafactor",
    "adamw_anyprecision",
    "adamw_torch_4bit",
    "adamw_torch_8bit",
    "ademamix",
    "sgd",
    "adagrad",
    "adamw_bnb_8bit",
    "adamw_8bit",
    "ademamix_8bit",
    "lion_8bit",
    "lion_32bit",
    "paged_adamw_32bit",
    "paged_adamw_8bit",
    "paged_ademamix_32bit",
    "paged_ademamix_8bit",
    "paged_lion_32bit",
    "paged_lion_8bit",
    "rmsprop",
    "rmsprop_bnb",
    "rmsprop_bnb_8bit",
    "rmsprop_bnb_32bit",
    "galore_adamw",
    "galore_adamw_8bit",
    "galore_adafactor",
    "galore_adamw_layerwise",
    "galore_adamw_8bit_layerwise",
    "galore_adafactor_layerwise",
    "lomo",
    "adalomo",
    "grokadamw",
    "schedule_free_radam",
    "schedule_free_adamw",
    "schedule_free_sgd",
    "apollo_adamw",
    "apollo_adamw_layerwise",
    "stable_adamw",
    "adamw_hf",
    "adamw_apex_fused",
]
"""The optimizers of the installed release, and two of 3.0 that were removed."""


def _token_count(raw: Any) -> Any:
    """Read true as `all` and false as `no`, as older releases wrote them."""
    value = plain(raw)
    value = value.lower() if isinstance(value, str) else value
    return "all" if value in (True, "true") else "no" if value in (False, "false") else value


TokenCount = Annotated[Literal["no", "all", "non_padding"], BeforeValidator(_token_count)]
SamplingStrategy = Literal["random", "sequential", "group_by_length"]
PrecisionBackend = Literal["auto", "cuda_amp", "cpu_amp", "apex"]
LogLevel = Literal["detail", "debug", "info", "warning", "error", "critical", "passive"]
StartMethod = Literal["fork", "forkserver", "spawn"]


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
    if isinstance(raw, str):
        raise ValueError(
            "a secret has no place in a request; write {from_env: HF_TOKEN}, or set HF_TOKEN and leave it out"
        )
    return raw


Secret = Annotated[FromEnvironment, BeforeValidator(_secret)]
