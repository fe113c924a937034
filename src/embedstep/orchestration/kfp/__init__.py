"""Kubeflow Pipelines. Nothing outside this folder imports kfp.

    from embedstep.orchestration.kfp import on_gpus, train_embedder

    task = train_embedder(request=Path("request.yaml"), train_data=rows, learning_rate=2e-5)
    on_gpus(task, 4)

What is known when a pipeline is compiled is checked then.
"""

from embedstep.orchestration.kfp.authoring import (
    evaluate,
    mine_negatives,
    one_line,
    outcome,
    prepare,
    promote,
    reference,
    train_embedder,
)
from embedstep.orchestration.kfp.components import IMAGE, component_of
from embedstep.orchestration.kfp.tasks import on_gpus, on_nodes, with_retries, with_secret, with_volume

__all__ = [
    "IMAGE",
    "component_of",
    "evaluate",
    "mine_negatives",
    "on_gpus",
    "on_nodes",
    "one_line",
    "outcome",
    "prepare",
    "promote",
    "reference",
    "train_embedder",
    "with_retries",
    "with_secret",
    "with_volume",
]
