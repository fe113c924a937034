"""A declarative training step for sentence-transformers.

These names are the public interface. They are imported on first use, so `import embedstep` is fast. Those that end in
`Kind`, and what they are made of, are for packages that extend embedstep: see docs/extending.md.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from embedstep.data.row_functions import RowFunctionKind
    from embedstep.errors import EmbedstepError
    from embedstep.output.result import StepResult
    from embedstep.planning.batch_samplers import BatchSamplerKind
    from embedstep.planning.evaluators import EvaluatorKind
    from embedstep.planning.kinds import Label
    from embedstep.planning.losses import LossKind, Takes
    from embedstep.request import options
    from embedstep.request.arguments.training_arguments import SentenceTransformerTrainingArguments, TrainingArguments
    from embedstep.request.arguments.types import BatchSamplers, MultiDatasetBatchSamplers
    from embedstep.request.loading import load_request
    from embedstep.request.schema import TrainRequest
    from embedstep.request.trackers import TrackerKind
    from embedstep.step import plan_step, run_step
    from embedstep.tracking.tracker import RunInfo, RunTracker

__version__ = "0.1.0"
__all__ = [
    "BatchSamplerKind",
    "BatchSamplers",
    "EmbedstepError",
    "EvaluatorKind",
    "Label",
    "LossKind",
    "MultiDatasetBatchSamplers",
    "RowFunctionKind",
    "RunInfo",
    "RunTracker",
    "SentenceTransformerTrainingArguments",
    "StepResult",
    "Takes",
    "TrackerKind",
    "TrainRequest",
    "TrainingArguments",
    "__version__",
    "load_request",
    "options",
    "plan_step",
    "run_step",
]

_HOMES = {
    "BatchSamplerKind": "embedstep.planning.batch_samplers",
    "BatchSamplers": "embedstep.request.arguments.types",
    "EmbedstepError": "embedstep.errors",
    "EvaluatorKind": "embedstep.planning.evaluators",
    "Label": "embedstep.planning.kinds",
    "LossKind": "embedstep.planning.losses",
    "MultiDatasetBatchSamplers": "embedstep.request.arguments.types",
    "RowFunctionKind": "embedstep.data.row_functions",
    "RunInfo": "embedstep.tracking.tracker",
    "RunTracker": "embedstep.tracking.tracker",
    "SentenceTransformerTrainingArguments": "embedstep.request.arguments.training_arguments",
    "StepResult": "embedstep.output.result",
    "Takes": "embedstep.planning.losses",
    "TrackerKind": "embedstep.request.trackers",
    "TrainRequest": "embedstep.request.schema",
    "TrainingArguments": "embedstep.request.arguments.training_arguments",
    "load_request": "embedstep.request.loading",
    "options": "embedstep.request.options",
    "plan_step": "embedstep.step",
    "run_step": "embedstep.step",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'embedstep' has no attribute {name!r}")
    home = import_module(_HOMES[name])
    return home if home.__name__.endswith(f".{name}") else getattr(home, name)
