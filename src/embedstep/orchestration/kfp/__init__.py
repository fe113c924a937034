"""Kubeflow Pipelines: components, and what a task needs from the cluster. Nothing outside this folder imports kfp.

    from embedstep.orchestration.kfp import on_gpus, train_embedder

    task = train_embedder(request=Path("request.yaml"), train_data=rows, learning_rate=2e-5)
    on_gpus(task, 4)

Every value that is known when a pipeline is compiled is checked then.
"""

from embedstep.orchestration.kfp import functions
from embedstep.orchestration.kfp.components import IMAGE, build_component, one_line, reference
from embedstep.orchestration.kfp.functions import *  # noqa: F403 - one for each component
from embedstep.orchestration.kfp.tasks import on_gpus, on_nodes, with_retries, with_secret, with_volume

__all__ = [
    "IMAGE",
    "build_component",
    "on_gpus",
    "on_nodes",
    "one_line",
    "reference",
    "with_retries",
    "with_secret",
    "with_volume",
]
__all__ += functions.__all__
