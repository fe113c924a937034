"""Settings that ZenML's Kubernetes orchestrator takes, and the pod that it makes of them."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from zenml.integrations.kubernetes.flavors.kubernetes_orchestrator_flavor import KubernetesOrchestratorSettings
from zenml.integrations.kubernetes.flavors.kubernetes_step_operator_flavor import KubernetesStepOperatorSettings
from zenml.integrations.kubernetes.manifest_utils import build_pod_manifest

from embedstep import __version__
from embedstep.errors import InvalidRequestError
from embedstep.request.model import Model

pytestmark = pytest.mark.slow
OnKubernetes = Callable[..., dict[str, Any]]


def test_a_pod_has_what_was_asked_for(on_kubernetes: OnKubernetes) -> None:
    settings = on_kubernetes(
        gpus=4, cpu="8", memory="64Gi", shared_memory="16Gi", claims={"shared": "/shared"},
        node_selectors={"gpu": "h100"}, tolerations={"nvidia.com/gpu": "NoSchedule"},
    )  # fmt: skip
    known = KubernetesOrchestratorSettings.model_validate(settings["orchestrator.kubernetes"])
    pod: Any = build_pod_manifest(
        pod_name="train", image_name="embedstep:0.1.0", command=["python"], args=[], privileged=False, env={},
        pod_settings=known.pod_settings,
    )  # fmt: skip
    (container,) = pod.spec.containers
    assert container.resources["limits"] == {"cpu": "8", "memory": "64Gi", "nvidia.com/gpu": "4"}
    mounts = {mount["mountPath"] if isinstance(mount, dict) else mount.mount_path for mount in container.volume_mounts}
    assert {"/dev/shm", "/shared"} <= mounts
    assert pod.spec.node_selector == {"gpu": "h100"}
    assert "EMBEDSTEP_GPUS" in str(container.env)


def test_a_step_operator_has_several_pods(on_kubernetes: OnKubernetes) -> None:
    settings = on_kubernetes(pods=2, gpus=8, claims={"shared": "/shared"})
    known = KubernetesStepOperatorSettings.model_validate(settings["step_operator.kubernetes"])
    assert known.pod_count == 2
    assert known.pod_settings is not None
    assert known.pod_settings.resources["limits"] == {"nvidia.com/gpu": "8"}
    with pytest.raises(InvalidRequestError, match=r"on_kubernetes\.pods: needs an integer of at least 1; 0 was given"):
        on_kubernetes(pods=0)


@pytest.mark.parametrize("gpus", [-1, True, 1.5])
def test_a_number_of_gpus_that_is_none_is_reported(on_kubernetes: OnKubernetes, gpus: Any) -> None:
    with pytest.raises(InvalidRequestError, match=r"on_kubernetes\.gpus: needs an integer of at least 0"):
        on_kubernetes(gpus=gpus)


def test_another_base_model_behind_the_same_path_is_another_training(
    on_kubernetes: OnKubernetes, tiny_model: Path, tmp_path: Path
) -> None:
    """ZenML's key has the path; what `prepare_data` says of it has the weights."""
    from embedstep.orchestration.zenml.steps import _training_inputs

    shutil.copytree(tiny_model, tmp_path / "model")
    model = Model(path=str(tmp_path / "model"))
    before = _training_inputs(model)
    assert before == {**_training_inputs(Model(path=str(tiny_model))), "version": __version__}
    with (tmp_path / "model" / "model.safetensors").open("ab") as file:
        file.write(b"another")
    assert _training_inputs(model)["base"] != before["base"] is not None
    assert _training_inputs(Model(path="of/the-hub"))["base"] is None
