"""The request of a TrainJob's pod, from its environment, checked against what the controller has set there."""

from collections.abc import Mapping
from pathlib import Path

from embedstep.errors import CannotStartError
from embedstep.launch.attempt import this_machine
from embedstep.launch.kubernetes.manifest import REQUEST_VARIABLE
from embedstep.launch.nodes import processes_problem
from embedstep.launch.torchrun import processes_per_node
from embedstep.request.loading import load_request
from embedstep.request.schema import TrainRequest
from embedstep.runtime.devices import visible_gpus


def load_pod_request(environ: Mapping[str, str]) -> tuple[TrainRequest, Path]:
    """Read the request and the output folder of a pod.

    Args:
        environ: the environment of the pod.

    Raises:
        InvalidRequestError: there is no request, or it is invalid.
        CannotStartError: the request is not for pods, or the controller sets another number of processes.
    """
    request = load_request(environ.get(REQUEST_VARIABLE, ""))
    job = request.launch.trainjob
    if job is None:
        raise CannotStartError("the request has launch.kind: local; use embedstep run")
    gpus = 0 if request.arguments.use_cpu else visible_gpus(environ)
    processes = processes_per_node(request, this_machine())
    if problem := processes_problem(environ, processes=processes, gpus=gpus):
        raise CannotStartError(problem)
    return request, Path(job.output)
