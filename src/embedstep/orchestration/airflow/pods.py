"""An operator that runs a component in a pod, built on Airflow's KubernetesPodOperator."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.providers.cncf.kubernetes.utils.xcom_sidecar import PodDefaults
from airflow.sdk.exceptions import AirflowException
from kubernetes.client import V1EmptyDirVolumeSource, V1Pod, V1Volume, V1VolumeMount

from embedstep.launch.kubernetes.volumes import SHARED_MEMORY
from embedstep.orchestration.airflow.component import ComponentOperator
from embedstep.orchestration.airflow.outcome import conclude

_XCOM = Path(PodDefaults.XCOM_MOUNT_PATH) / "return.json"
"""File whose content Airflow takes as the return value of the task."""


class EmbedstepPodOperator(ComponentOperator, KubernetesPodOperator):
    """Runs a component in a pod. Its artifacts are files in `folder`, on a volume that the pods of all tasks mount.

    With `deferrable=True` no Airflow worker waits for it. Shared memory is limited only by the memory of the pod. The
    sidecar that returns the outputs to Airflow uses the same image, so no other image is pulled.
    """

    template_fields = (*KubernetesPodOperator.template_fields, *ComponentOperator.template_fields)

    def __init__(
        self,
        *,
        volumes: Sequence[V1Volume] | None = None,
        volume_mounts: Sequence[V1VolumeMount] | None = None,
        do_xcom_push: bool = True,
        **kwargs: Any,
    ) -> None:
        """Describe the task.

        Args:
            volumes: volumes of the pod.
            volume_mounts: where they are mounted; one at `/dev/shm` replaces the shared memory.
            do_xcom_push: return the output parameters; without them later tasks cannot know that nothing was trained.
            kwargs: arguments of ComponentOperator and KubernetesPodOperator, such as `image`.
        """
        volumes, volume_mounts = volumes or (), volume_mounts or ()
        if not any(mount.mount_path == SHARED_MEMORY for mount in volume_mounts):
            memory = V1Volume(name="shared-memory", empty_dir=V1EmptyDirVolumeSource(medium="Memory"))
            volumes = [*volumes, memory]
            volume_mounts = [*volume_mounts, V1VolumeMount(name=memory.name, mount_path=SHARED_MEMORY)]
        super().__init__(
            volumes=list(volumes), volume_mounts=list(volume_mounts), do_xcom_push=do_xcom_push, **kwargs
        )  # fmt: skip

    def execute(self, context: Any) -> Any:
        """Run the pod, or defer to the triggerer.

        Raises:
            AirflowSkipException: later tasks have nothing to do.
            AirflowFailException: the request was refused, or memory ran out.
            AirflowException: it failed, and a retry may succeed.
        """
        from embedstep.orchestration.task import executor_input

        command, task = self.make_task_of_component()
        if self.do_xcom_push:
            task = replace(task, output_file=_XCOM)
        self.cmds = ["embedstep"]
        self.arguments = ["task", command, "--executor-input", executor_input(task)]
        return self._concluded(super().execute(context))

    def trigger_reentry(self, context: Any, event: Any) -> Any:
        """Continue after the triggerer has seen the pod end."""
        return self._concluded(super().trigger_reentry(context, event))

    def _concluded(self, outcome: Any) -> Any:
        return conclude(0, outcome) if isinstance(outcome, dict) else outcome

    def build_pod_request_obj(self, context: Any = None) -> V1Pod:
        """Build the pod, with the same image in the sidecar."""
        pod = super().build_pod_request_obj(context)
        for container in pod.spec.containers:
            if container.name == PodDefaults.SIDECAR_CONTAINER_NAME:
                container.image = self.hook.get_xcom_sidecar_container_image() or self.image
        return pod

    def cleanup(self, pod: Any, remote_pod: Any, *args: Any, **kwargs: Any) -> None:
        """Remove the pod, and map the exit code of its container to an exception of Airflow."""
        code, message = _read_end(remote_pod, self.base_container_name)
        try:
            super().cleanup(pod, remote_pod, *args, **kwargs)
        except AirflowException as error:
            if code:
                conclude(code, {}, message)
            raise error from None


def _read_end(pod: Any, container: str) -> tuple[int, str]:
    """Return the exit code of a container, 0 if it has not ended, and its termination message."""
    statuses = (pod.status.container_statuses if pod and pod.status else None) or []
    ended = [one.state.terminated for one in statuses if one.name == container and one.state]
    return (int(ended[0].exit_code), ended[0].message or "") if ended and ended[0] else (0, "")
