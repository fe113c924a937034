"""Settings that ZenML's Kubernetes orchestrator takes, and the pod that it makes of them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sentence_transformers.sentence_transformer.training_args import BatchSamplers
from transformers.trainer_utils import IntervalStrategy
from zenml.integrations.kubernetes.flavors.kubernetes_orchestrator_flavor import KubernetesOrchestratorSettings
from zenml.integrations.kubernetes.flavors.kubernetes_step_operator_flavor import KubernetesStepOperatorSettings
from zenml.integrations.kubernetes.manifest_utils import build_pod_manifest
from zenml.utils.source_utils import set_custom_source_root

import embedstep
from embedstep import __version__
from embedstep.errors import InvalidRequestError
from embedstep.request.model import Model

pytestmark = pytest.mark.slow
OnKubernetes = Callable[..., dict[str, Any]]


@pytest.fixture
def on_kubernetes(tmp_path: Path) -> OnKubernetes:
    """The function, imported as from a program in a folder: a worker of the tests is none to ZenML."""
    set_custom_source_root(str(tmp_path))
    from embedstep.orchestration.zenml import on_kubernetes

    return on_kubernetes


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


def test_enums_and_tuples_of_code_are_plain_values_in_a_request(on_kubernetes: OnKubernetes) -> None:
    from embedstep.orchestration.zenml import TrainingArguments, request_with

    given: dict[str, Any] = {
        "batch_sampler": BatchSamplers.NO_DUPLICATES, "eval_strategy": IntervalStrategy.STEPS,
        "label_names": ("a", "b"),
    }  # fmt: skip
    plain = {"batch_sampler": "no_duplicates", "eval_strategy": "steps", "label_names": ["a", "b"]}
    assert json.loads(request_with("model: m", **given))["arguments"] == plain
    found = TrainingArguments(**given).model_dump(mode="json", exclude_none=True)
    assert found == plain
    with pytest.raises(
        InvalidRequestError, match=r"arguments\.learning_rate: needs plain data; a value of type object was given"
    ):
        request_with("model: m", learning_rate=object())  # type: ignore[arg-type]


def test_an_object_of_the_exported_class_sets_only_what_it_holds(on_kubernetes: OnKubernetes) -> None:
    from embedstep.orchestration.zenml import TrainingArguments

    given = embedstep.TrainingArguments("out", seed=3)
    assert TrainingArguments.model_validate(given).model_dump(exclude_none=True) == {"output_dir": "out", "seed": 3}


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
