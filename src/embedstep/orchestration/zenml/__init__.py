"""Steps for ZenML, with every training argument as a typed field.

from embedstep.orchestration.zenml import train_embedder

@pipeline
def retrain() -> None:
train_embedder(request=Path("request.yaml").read_text())

The names are looked up on use: ZenML resolves a step when it is defined, relative to the source root, which
`embedstep schedule zenml` sets first.
"""

from itertools import chain
from typing import TYPE_CHECKING

from embedstep.runtime.lazy import import_on_use

if TYPE_CHECKING:
    from embedstep.orchestration.zenml.artifacts import Embedder as Embedder
    from embedstep.orchestration.zenml.artifacts import Rows as Rows
    from embedstep.orchestration.zenml.parameters import TrainingArguments as TrainingArguments
    from embedstep.orchestration.zenml.parameters import request_with as request_with
    from embedstep.orchestration.zenml.settings import on_kubernetes as on_kubernetes
    from embedstep.orchestration.zenml.steps import evaluate_embedder as evaluate_embedder
    from embedstep.orchestration.zenml.steps import prepare_data as prepare_data
    from embedstep.orchestration.zenml.steps import promote_embedder as promote_embedder
    from embedstep.orchestration.zenml.steps import train_embedder as train_embedder

_NAMES = {
    "embedstep.orchestration.zenml.artifacts": ("Embedder", "Rows"),
    "embedstep.orchestration.zenml.parameters": ("TrainingArguments", "request_with"),
    "embedstep.orchestration.zenml.settings": ("on_kubernetes",),
    "embedstep.orchestration.zenml.steps": (
        "evaluate_embedder",
        "prepare_data",
        "promote_embedder",
        "train_embedder",
    ),
}
__all__ = [*chain.from_iterable(_NAMES.values())]
__getattr__ = import_on_use(__name__, _NAMES)
