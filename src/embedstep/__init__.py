"""A declarative training step for sentence-transformers.

These names are the public interface. They are imported on first use, so `import embedstep` is fast.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from embedstep.errors import EmbedstepError
    from embedstep.output.result import StepResult
    from embedstep.request.arguments.training_arguments import SentenceTransformerTrainingArguments, TrainingArguments
    from embedstep.request.arguments.types import BatchSamplers, MultiDatasetBatchSamplers
    from embedstep.request.loading import load_request
    from embedstep.request.schema import TrainRequest
    from embedstep.step import plan_step, run_step

__version__ = "0.1.0"
__all__ = [
    "BatchSamplers",
    "EmbedstepError",
    "MultiDatasetBatchSamplers",
    "SentenceTransformerTrainingArguments",
    "StepResult",
    "TrainRequest",
    "TrainingArguments",
    "__version__",
    "load_request",
    "plan_step",
    "run_step",
]

_HOMES = {
    "BatchSamplers": "embedstep.request.arguments.types",
    "EmbedstepError": "embedstep.errors",
    "MultiDatasetBatchSamplers": "embedstep.request.arguments.types",
    "SentenceTransformerTrainingArguments": "embedstep.request.arguments.training_arguments",
    "StepResult": "embedstep.output.result",
    "TrainRequest": "embedstep.request.schema",
    "TrainingArguments": "embedstep.request.arguments.training_arguments",
    "load_request": "embedstep.request.loading",
    "plan_step": "embedstep.step",
    "run_step": "embedstep.step",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'embedstep' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
