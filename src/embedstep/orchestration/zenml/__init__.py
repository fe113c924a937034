"""Steps for ZenML, with every training argument as a typed field.

from embedstep.orchestration.zenml import train_embedder

@pipeline
def retrain() -> None:
train_embedder(request=Path("request.yaml").read_text())
"""

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
