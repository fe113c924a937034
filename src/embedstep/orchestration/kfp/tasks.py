"""What a task of a pipeline gets from the cluster: GPUs, shared memory, secrets, volumes, nodes, another attempt."""

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
    """Run a task on GPUs of one node, and let the step check that it has got them.

    The loader's processes hand batches over in shared memory, of which a container has 64 MB unless it is given more;
    here it is as much as the container's memory allows, which it counts towards.

    Args:
        task: the task.
        count: GPUs.
        accelerator: resource of the cluster that stands for them.
        cpu: cores that are requested and allowed, such as `8` or `500m`.
        memory: memory that is requested and allowed, such as `64Gi`.
        shared_memory: most that `/dev/shm` takes, such as `16Gi`.

    Raises:
        InvalidRequestError: the number is not known before the pipeline runs, or the task has another accelerator.
    """
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        told = f"needs a whole number from 1 that is known when the pipeline is compiled; {count!r} was given"
        raise InvalidRequestError([Problem("on_gpus.count", told)])
    resources = task.container_spec.resources
    if resources is not None and resources.accelerator_type not in (None, "", accelerator):
        told = (
            f"{accelerator!r} was given beside {resources.accelerator_type!r}, and a task of Kubeflow Pipelines takes "
            "one; a request with launch: {kind: trainjob} may ask for several"
        )
        raise InvalidRequestError([Problem("on_gpus.accelerator", told)])
    task.set_accelerator_type(accelerator).set_accelerator_limit(count)
    if cpu is not None:
        task.set_cpu_request(cpu).set_cpu_limit(cpu)
    if memory is not None:
        task.set_memory_request(memory).set_memory_limit(memory)
    kubernetes.empty_dir_mount(task, "shm", "/dev/shm", medium="Memory", size_limit=shared_memory)
    # What the step can count are those of NVIDIA.
    return task.set_env_variable(ASKED_GPUS, str(count)) if accelerator == _COUNTED else task


def with_secret(task: dsl.PipelineTask, secret: str, variables: Mapping[str, str]) -> dsl.PipelineTask:
    """Give a task keys of a Kubernetes Secret as variables; the pipeline holds their names and never a value.

    Args:
        task: the task.
        secret: name of the Secret.
        variables: name of the variable by the key of the Secret: `{"token": "HF_TOKEN"}`.

    Raises:
        InvalidRequestError: a variable cannot have that name.
    """
    if wrong := [name for name in variables.values() if not _VARIABLE.fullmatch(name)]:
        raise InvalidRequestError(
            [Problem("with_secret.variables", f"{name!r} is no name of a variable") for name in wrong]
        )
    kubernetes.use_secret_as_env(task, secret_name=secret, secret_key_to_env=dict(variables))
    return task


def with_volume(task: dsl.PipelineTask, claim: str, path: str) -> dsl.PipelineTask:
    """Mount a volume, such as one for `output_dir`: what is elsewhere in the container is gone with it.

    Args:
        task: the task.
        claim: name of the PersistentVolumeClaim.
        path: where it is mounted.
    """
    kubernetes.mount_pvc(task, pvc_name=claim, mount_path=path)
    return task


def on_nodes(
    task: dsl.PipelineTask, labels: Mapping[str, str], *, tolerations: Mapping[str, str] | None = None
) -> dsl.PipelineTask:
    """Run a task on nodes with these labels, tainted ones too where the taint is tolerated.

    Args:
        task: the task.
        labels: label and its value.
        tolerations: effect of a taint by its key, such as `{"nvidia.com/gpu": "NoSchedule"}`.
    """
    for key, value in labels.items():
        kubernetes.add_node_selector(task, label_key=key, label_value=value)
    for key, effect in (tolerations or {}).items():
        kubernetes.add_toleration(task, key=key, operator="Exists", effect=effect)
    return task


def with_retries(task: dsl.PipelineTask, retries: int = 3) -> dsl.PipelineTask:
    """Let Kubeflow start a task again that has failed, after one minute, then two, then four.

    That is for exit codes 3 (could not start) and 75 (interrupted). Kubeflow makes no difference between codes: a
    request that was refused (2) is refused again, within seconds and before a GPU is used.

    Args:
        task: the task.
        retries: attempts after the first.
    """
    return task.set_retry(num_retries=retries, backoff_duration="60s", backoff_factor=2.0, backoff_max_duration="3600s")
