"""A declarative training step for sentence-transformers.

These names are the public interface. They are imported on first use, so `import embedstep` is fast. Those that end in
`Kind`, and what they are made of, are for packages that extend embedstep: see docs/extending.md.
"""

from itertools import chain
from typing import TYPE_CHECKING

from embedstep.runtime.lazy import import_on_use

if TYPE_CHECKING:
    from embedstep.data.frames import save_rows as save_rows
    from embedstep.data.row_functions import RowFunctionKind as RowFunctionKind
    from embedstep.data.row_sources import RowSourceKind as RowSourceKind
    from embedstep.data.transforms import TransformKind as TransformKind
    from embedstep.errors import EmbedstepError as EmbedstepError
    from embedstep.output.result import StepResult as StepResult
    from embedstep.planning.batch_samplers import BatchSamplerKind as BatchSamplerKind
    from embedstep.planning.evaluators import EvaluatorKind as EvaluatorKind
    from embedstep.planning.kinds import Label as Label
    from embedstep.planning.losses import LossKind as LossKind
    from embedstep.planning.losses import Takes as Takes
    from embedstep.planning.modules import ModuleKind as ModuleKind
    from embedstep.planning.proposed_request import propose_request as propose_request
    from embedstep.request import options as options
    from embedstep.request.arguments.training_arguments import (
        SentenceTransformerTrainingArguments as SentenceTransformerTrainingArguments,
    )
    from embedstep.request.arguments.training_arguments import TrainingArguments as TrainingArguments
    from embedstep.request.arguments.types import BatchSamplers as BatchSamplers
    from embedstep.request.arguments.types import MultiDatasetBatchSamplers as MultiDatasetBatchSamplers
    from embedstep.request.loading import load_request as load_request
    from embedstep.request.schema import TrainRequest as TrainRequest
    from embedstep.request.trackers import TrackerKind as TrackerKind
    from embedstep.step import plan_step as plan_step
    from embedstep.step import run_step as run_step
    from embedstep.tracking.tracker import RunInfo as RunInfo
    from embedstep.tracking.tracker import RunTracker as RunTracker

__version__ = "0.1.0"
_NAMES = {
    "embedstep.data.frames": ("save_rows",),
    "embedstep.data.row_functions": ("RowFunctionKind",),
    "embedstep.data.row_sources": ("RowSourceKind",),
    "embedstep.data.transforms": ("TransformKind",),
    "embedstep.errors": ("EmbedstepError",),
    "embedstep.output.result": ("StepResult",),
    "embedstep.planning.batch_samplers": ("BatchSamplerKind",),
    "embedstep.planning.evaluators": ("EvaluatorKind",),
    "embedstep.planning.kinds": ("Label",),
    "embedstep.planning.losses": ("LossKind", "Takes"),
    "embedstep.planning.modules": ("ModuleKind",),
    "embedstep.planning.proposed_request": ("propose_request",),
    "embedstep.request.arguments.training_arguments": ("SentenceTransformerTrainingArguments", "TrainingArguments"),
    "embedstep.request.arguments.types": ("BatchSamplers", "MultiDatasetBatchSamplers"),
    "embedstep.request.loading": ("load_request",),
    "embedstep.request.options": ("options",),
    "embedstep.request.schema": ("TrainRequest",),
    "embedstep.request.trackers": ("TrackerKind",),
    "embedstep.step": ("plan_step", "run_step"),
    "embedstep.tracking.tracker": ("RunInfo", "RunTracker"),
}
__all__ = ["__version__", *chain.from_iterable(_NAMES.values())]
__getattr__ = import_on_use(__name__, _NAMES)
