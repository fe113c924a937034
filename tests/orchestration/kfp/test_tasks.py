"""What a task gets from the cluster, by the real compiler."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import compiler, dsl

from embedstep.errors import InvalidRequestError
from embedstep.orchestration.kfp import (
    on_gpus,
    on_nodes,
    train_embedder,
    with_retries,
    with_secret,
    with_volume,
)

Build = Callable[..., dict[str, Any]]


def test_a_training_with_everything_around_it(request_of: Build, tmp_path: Path) -> None:
    """What the cluster gets: accelerator, shared memory, secret by reference, volume, nodes, retries, no cache.

    Other rows behind the same address would be the same input to a cache.
    """
    text = yaml.safe_dump(request_of())

    @dsl.pipeline
    def retrain() -> None:
        task = train_embedder(request=text, output_dir="/checkpoints/docs")
        on_gpus(task, 4, cpu="8", memory="64Gi", shared_memory="16Gi")
        with_secret(task, "hub", {"token": "HF_TOKEN"})
        with_volume(task, "checkpoints", "/checkpoints")
        on_nodes(task, {"gpu": "h100"}, tolerations={"nvidia.com/gpu": "NoSchedule"})
        with_retries(task, 3)

    file = tmp_path / "pipeline.yaml"
    compiler.Compiler().compile(retrain, str(file))
    specification, platform = yaml.safe_load_all(file.read_text())
    (task,) = specification["root"]["dag"]["tasks"].values()
    assert "enableCache" not in task.get("cachingOptions", {})
    assert task["retryPolicy"]["maxRetryCount"] == 3
    (executor,) = specification["deploymentSpec"]["executors"].values()
    container = executor["container"]
    assert container["resources"]["accelerator"]["resourceCount"] == "4"
    assert container["resources"]["accelerator"]["resourceType"] == "nvidia.com/gpu"
    assert container["env"] == [{"name": "EMBEDSTEP_GPUS", "value": "4"}]
    assert container["command"] == ["embedstep", "task", "train"]
    (given,) = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values()
    assert given["emptyDirMounts"] == [
        {"medium": "Memory", "mountPath": "/dev/shm", "sizeLimit": "16Gi", "volumeName": "shm"}
    ]
    (secret,) = given["secretAsEnv"]
    assert secret["secretName"] == "hub"
    assert secret["keyToEnv"] == [{"envVar": "HF_TOKEN", "secretKey": "token"}]
    assert given["pvcMount"][0]["mountPath"] == "/checkpoints"
    assert given["nodeSelector"]["labels"] == {"gpu": "h100"}
    assert given["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]


def test_the_name_of_a_secret_may_be_a_parameter_of_the_pipeline(request_of: Build, tmp_path: Path) -> None:
    text = yaml.safe_dump(request_of())

    @dsl.pipeline
    def retrain(secret: str = "hub") -> None:
        with_secret(train_embedder(request=text), secret, {"token": "HF_TOKEN"})

    compiler.Compiler().compile(retrain, str(tmp_path / "pipeline.yaml"))
    _, platform = yaml.safe_load_all((tmp_path / "pipeline.yaml").read_text())
    (given,) = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values()
    assert given["secretAsEnv"][0]["secretNameParameter"] == {"componentInputParameter": "secret"}


def test_gpus_have_to_be_known_and_of_one_kind(request_of: Build) -> None:
    text = yaml.safe_dump(request_of())

    def of_a_parameter(gpus: int = 2) -> None:
        on_gpus(train_embedder(request=text), gpus)

    def of_two_kinds() -> None:
        on_gpus(on_gpus(train_embedder(request=text), 1), 1, accelerator="rdma/hca")

    messages = {
        of_a_parameter: "known when the pipeline is compiled",
        of_two_kinds: "Kubeflow Pipelines allows one kind",
    }
    for pipeline, words in messages.items():
        with pytest.raises(InvalidRequestError, match=words):
            dsl.pipeline(pipeline)
