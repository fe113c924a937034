"""What a task of a pipeline needs from the cluster: GPUs, shared memory, secrets, volumes, nodes, retries."""

import re
from collections.abc import Mapping

from kfp import dsl, kubernetes

from embedstep.errors import InvalidRequestError, Problem
from embedstep.runtime.devices import ASKED_GPUS

_COUNTED = "nvidia.com/gpu"
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def on_gpus(
    task: dsl.PipelineTask,
    count: int,
    *,
    accelerator: str = _COUNTED,
    cpu: str | None = None,
    memory: str | None = None,
    shared_memory: str | None = None,
) -> dsl.PipelineTask:
    """Run a task on GPUs of one node. The step checks that it sees as many.

    Loader workers pass batches through shared memory, of which a container has 64 MB by default; here it is limited
    only by the memory of the container.

    Args:
        task: the task.
        count: number of GPUs.
        accelerator: resource name of the GPUs in the cluster.
        cpu: CPU request and limit, such as `8` or `500m`.
        memory: memory request and limit, such as `64Gi`.
        shared_memory: size limit of `/dev/shm`, such as `16Gi`.

    Raises:
        InvalidRequestError: the number is only known when the pipeline runs, or the task has another accelerator.
    """
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        message = f"needs an integer of at least 1 that is known when the pipeline is compiled; {count!r} was given"
        raise InvalidRequestError([Problem("on_gpus.count", message)])
    resources = task.container_spec.resources
    if resources is not None and resources.accelerator_type not in (None, "", accelerator):
        message = (
            f"is {accelerator!r}, but the task already has {resources.accelerator_type!r}, and Kubeflow Pipelines "
            "allows one kind; a request with launch: {kind: trainjob} can use several"
        )
        raise InvalidRequestError([Problem("on_gpus.accelerator", message)])
    task.set_accelerator_type(accelerator).set_accelerator_limit(count)
    if cpu is not None:
        task.set_cpu_request(cpu).set_cpu_limit(cpu)
    if memory is not None:
        task.set_memory_request(memory).set_memory_limit(memory)
    kubernetes.empty_dir_mount(task, "shm", "/dev/shm", medium="Memory", size_limit=shared_memory)
    # The step can count only NVIDIA GPUs.
    return task.set_env_variable(ASKED_GPUS, str(count)) if accelerator == _COUNTED else task


def with_secret(task: dsl.PipelineTask, secret: str, variables: Mapping[str, str]) -> dsl.PipelineTask:
    """Pass keys of a Kubernetes Secret to a task as variables. The pipeline contains only their names.

    Args:
        task: the task.
        secret: name of the Secret.
        variables: name of the variable for each key of the Secret: `{"token": "HF_TOKEN"}`.

    Raises:
        InvalidRequestError: a name of a variable is invalid.
    """
    if wrong := [name for name in variables.values() if not _VARIABLE.fullmatch(name)]:
        raise InvalidRequestError(
            [Problem("with_secret.variables", f"{name!r} is not a valid name of a variable") for name in wrong]
        )
    kubernetes.use_secret_as_env(task, secret_name=secret, secret_key_to_env=dict(variables))
    return task


def with_volume(task: dsl.PipelineTask, claim: str, path: str) -> dsl.PipelineTask:
    """Mount a volume, such as one for `output_dir`. Other files disappear with the container.

    Args:
        task: the task.
        claim: name of the PersistentVolumeClaim.
        path: mount path.
    """
    kubernetes.mount_pvc(task, pvc_name=claim, mount_path=path)
    return task


def on_nodes(
    task: dsl.PipelineTask, labels: Mapping[str, str], *, tolerations: Mapping[str, str] | None = None
) -> dsl.PipelineTask:
    """Run a task on nodes with these labels, and tolerate their taints.

    Args:
        task: the task.
        labels: values of the labels by name.
        tolerations: effect of each tolerated taint by its key, such as `{"nvidia.com/gpu": "NoSchedule"}`.
    """
    for key, value in labels.items():
        kubernetes.add_node_selector(task, label_key=key, label_value=value)
    for key, effect in (tolerations or {}).items():
        kubernetes.add_toleration(task, key=key, operator="Exists", effect=effect)
    return task


def with_retries(task: dsl.PipelineTask, retries: int = 3) -> dsl.PipelineTask:
    """Retry a failed task after one minute, then two, then four.

    Meant for exit codes 3 (could not start) and 75 (interrupted). Kubeflow does not distinguish codes: a refused
    request (2) is refused again, within seconds and before a GPU is used.

    Args:
        task: the task.
        retries: attempts after the first.
    """
    return task.set_retry(num_retries=retries, backoff_duration="60s", backoff_factor=2.0, backoff_max_duration="3600s")
