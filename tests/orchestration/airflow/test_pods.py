"""The pod that a task asks for, and what its end is to Airflow, without a cluster."""

from typing import Any

import pytest

from tests.orchestration.airflow.running import Airflow

pytestmark = pytest.mark.airflow

OPERATOR = """
        from kubernetes.client import V1EmptyDirVolumeSource, V1Volume, V1VolumeMount
        from embedstep.orchestration.airflow.pods import EmbedstepPodOperator

        context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
        cluster = {"name": "c", "cluster": {"server": "http://127.0.0.1:9"}}
        Path("config").write_text(json.dumps(
            {"current-context": "c", "contexts": [context], "clusters": [cluster], "users": [{"name": "u", "user": {}}]}
        ))

        def operator(**more):
            return EmbedstepPodOperator(
                task_id="train", component="train_embedder", request="model: m", folder="/shared/out",
                image="embedstep:1", namespace="ml", in_cluster=False, config_file="config", **more,
            )
"""


def test_shared_memory_is_that_of_the_pod_unless_a_volume_is_mounted_there(airflow: Airflow) -> None:
    found = airflow(
        None,
        OPERATOR
        + """
        def memory(task):
            names = {mount.mount_path: mount.name for mount in task.volume_mounts}
            (volume,) = (one for one in task.volumes if one.name == names["/dev/shm"])
            return volume.empty_dir.medium, volume.empty_dir.size_limit

        small = V1Volume(name="small", empty_dir=V1EmptyDirVolumeSource(medium="Memory", size_limit="1Gi"))
        own = operator(volumes=[small], volume_mounts=[V1VolumeMount(name="small", mount_path="/dev/shm")])
        out(default=memory(operator()), own=memory(own), volumes=len(own.volumes))
        """,
    )
    assert (found["default"], found["own"], found["volumes"]) == (["Memory", None], ["Memory", "1Gi"], 1)


def test_the_sidecar_of_the_outputs_needs_no_other_image(airflow: Airflow) -> None:
    found = airflow(
        None,
        OPERATOR
        + """
        pod = operator().build_pod_request_obj()
        out(images={one.name: one.image for one in pod.spec.containers})
        """,
    )
    assert found["images"] == {"base": "embedstep:1", "airflow-xcom-sidecar": "embedstep:1"}


@pytest.mark.parametrize(
    ("code", "message", "raised"),
    [
        (0, "", "AirflowException"),
        (2, "", "AirflowFailException"),
        (4, "", "AirflowFailException"),
        (75, '{"exit_code": 75, "failure": {"kind": "signal", "message": "interrupted by SIGTERM", "exit_code": 75}}',
         "AirflowException"),
    ],
)  # fmt: skip
def test_the_end_of_the_container_is_a_state_of_airflow(airflow: Airflow, code: int, message: str, raised: str) -> None:
    """Where a pod fails whose container has not, as when it is evicted, Airflow's own error stays."""
    pod: dict[str, Any] = {"code": code, "message": message}
    found = airflow(
        None,
        OPERATOR
        + f"""
        from airflow.sdk.exceptions import AirflowException
        from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
        from kubernetes import client

        def fails(*arguments, **options):
            raise AirflowException("the pod has failed")

        KubernetesPodOperator.cleanup = fails
        given = {pod!r}
        ended = client.V1ContainerStateTerminated(exit_code=given["code"], message=given["message"])
        status = client.V1ContainerStatus(
            name="base", state=client.V1ContainerState(terminated=ended), image="", image_id="", ready=False,
            restart_count=0,
        )
        pod = client.V1Pod(status=client.V1PodStatus(container_statuses=[status]))
        try:
            operator().cleanup(pod, pod)
        except Exception as error:
            out(raised=type(error).__name__, message=str(error))
        """,
    )
    assert found["raised"] == raised
    assert ("the pod has failed" if code == 0 else f"(exit code {code})" if message else f"exit code {code};") in found[
        "message"
    ]
