"""Steps for ZenML, with every training argument as a typed field.

from embedstep.orchestration.zenml import train_embedder

@pipeline
def retrain() -> None:
train_embedder(request=Path("request.yaml").read_text())

The names are looked up on use: ZenML resolves a step when it is defined, relative to the source root, which
`embedstep schedule zenml` sets first.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from embedstep.orchestration.zenml.artifacts import Embedder, Rows
    from embedstep.orchestration.zenml.parameters import TrainingArguments, request_with
    from embedstep.orchestration.zenml.settings import on_kubernetes
    from embedstep.orchestration.zenml.steps import evaluate_embedder, prepare_data, promote_embedder, train_embedder

__all__ = [
    "Embedder",
    "Rows",
    "TrainingArguments",
    "evaluate_embedder",
    "on_kubernetes",
    "prepare_data",
    "promote_embedder",
    "request_with",
    "train_embedder",
]
_MODULES = {
    "Embedder": "artifacts",
    "Rows": "artifacts",
    "TrainingArguments": "parameters",
    "request_with": "parameters",
    "on_kubernetes": "settings",
    **dict.fromkeys(("evaluate_embedder", "prepare_data", "promote_embedder", "train_embedder"), "steps"),
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
