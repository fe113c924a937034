"""Components of Kubeflow Pipelines, by the real compiler."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import compiler, dsl

from embedstep.errors import InvalidRequestError
from embedstep.orchestration.components import TRAIN
from embedstep.orchestration.kfp import (
    build_component,
    evaluate,
    on_gpus,
    on_nodes,
    one_line,
    prepare,
    promote,
    reference,
    train_embedder,
    with_retries,
    with_secret,
    with_volume,
)
from embedstep.request.arguments.table import CONTRACT

Build = Callable[..., dict[str, Any]]


def compiled(pipeline: Any, folder: Path) -> dict[str, Any]:
    file = folder / "pipeline.yaml"
    compiler.Compiler().compile(pipeline, str(file))
    found: dict[str, Any] = next(iter(yaml.safe_load_all(file.read_text())))
    return found


def inputs_of_task(specification: dict[str, Any]) -> dict[str, Any]:
    """The constants that the one task of a pipeline is given."""
    (task,) = specification["root"]["dag"]["tasks"].values()
    return {
        name: value["runtimeValue"]["constant"]
        for name, value in task["inputs"]["parameters"].items()
        if "runtimeValue" in value
    }


def test_each_argument_is_an_optional_parameter_of_its_type(tmp_path: Path) -> None:
    (component,) = compiled(build_component(TRAIN), tmp_path)["components"].values()
    parameters = component["inputDefinitions"]["parameters"]
    assert set(parameters) == {"request", "as_of", *CONTRACT}
    assert [name for name, one in parameters.items() if not one.get("isOptional")] == ["request"]
    types = {name: one["parameterType"] for name, one in parameters.items()}
    assert types["learning_rate"] == "NUMBER_DOUBLE"
    assert types["per_device_train_batch_size"] == "NUMBER_INTEGER"
    assert types["fp16"] == "BOOLEAN"
    assert types["batch_sampler"] == types["save_steps"] == types["lr_scheduler_kwargs"] == "STRING"
    assert set(component["inputDefinitions"]["artifacts"]) == {"train_data", "eval_data", "base_model"}
    assert set(component["outputDefinitions"]["artifacts"]) == {"model", "metrics", "report", "result"}
    assert set(component["outputDefinitions"]["parameters"]) == {"run_id", "status"}


def test_what_an_author_writes_arrives_as_it_was_written(request_of: Build, tmp_path: Path) -> None:
    """Integers stay integers, inside a mapping too. 0, false and an empty text are values."""
    text = yaml.safe_dump(request_of())

    @dsl.pipeline
    def retrain() -> None:
        train_embedder(
            request=text, learning_rate=1, batch_sampler="no_duplicates", seed=0, fp16=False, run_name="", save_steps=1,
            warmup_steps=0.1, lr_scheduler_kwargs={"num_cycles": 2},
            lr_scheduler_type="cosine_with_restarts",
        )  # fmt: skip

    assert inputs_of_task(compiled(retrain, tmp_path)) == {
        "request": text, "learning_rate": 1.0, "batch_sampler": "no_duplicates", "seed": 0, "fp16": False,
        "run_name": "", "save_steps": "1", "warmup_steps": "0.1", "lr_scheduler_kwargs": '{"num_cycles": 2}',
        "lr_scheduler_type": "cosine_with_restarts",
    }  # fmt: skip


def test_a_parameter_of_the_pipeline_goes_through(request_of: Build, tmp_path: Path) -> None:
    """One that is optional is left out where it is not set."""
    text = one_line(yaml.safe_dump(request_of()))

    @dsl.pipeline
    def retrain(rate: float = 2e-5, request: str = text) -> None:
        train_embedder(request=request, learning_rate=rate)

    (task,) = compiled(retrain, tmp_path)["root"]["dag"]["tasks"].values()
    assert task["inputs"]["parameters"] == {
        "learning_rate": {"componentInputParameter": "rate"},
        "request": {"componentInputParameter": "request"},
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"learning_rate": "quick"}, "arguments.learning_rate: needs a number"),
        ({"batch_sampler": "no_duplicate"}, "did you mean no_duplicates?"),
        ({"learning_rat": 1e-5}, "did you mean learning_rate?"),
        ({"hub_token": "hf_abc"}, "a secret has no place in a request"),
    ],
)
def test_what_is_wrong_is_reported_when_the_pipeline_is_compiled(
    arguments: dict[str, Any], message: str, request_of: Build
) -> None:
    text = yaml.safe_dump(request_of())
    for request in (text, reference("s3://bucket/request.yaml", text)):
        with pytest.raises(InvalidRequestError, match=re.escape(message)) as caught:
            train_embedder(request=request, **arguments)
        assert "hf_abc" not in str(caught.value)


def test_a_long_request_is_given_by_reference(request_of: Build, tmp_path: Path) -> None:
    text = yaml.safe_dump(request_of(arguments={"prompts": {f"column_{n}": "p" * 200 for n in range(200)}}))
    file = tmp_path / "request.yaml"
    file.write_text(text)
    with pytest.raises(InvalidRequestError, match="and a pipeline carries at most 8,192"):
        train_embedder(request=file)

    @dsl.pipeline
    def retrain() -> None:
        train_embedder(request=reference("s3://bucket/request.yaml", text))

    given = inputs_of_task(compiled(retrain, tmp_path))
    assert given["request"].startswith("s3://bucket/request.yaml#sha256=")
    assert len(json.dumps(given)) < 200


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


def test_a_pipeline_trains_scores_and_promotes(evaluated: Build, tmp_path: Path) -> None:
    text = yaml.safe_dump(evaluated())

    @dsl.pipeline
    def retrain() -> None:
        trained = train_embedder(request=text)
        model = trained.outputs["model"]
        evaluate(request=text, model=model)
        promote(request=text, model=model, result=trained.outputs["result"], minimum_gain=0.01)

    tasks = compiled(retrain, tmp_path)["root"]["dag"]["tasks"]
    assert set(tasks) == {"train-embedder", "evaluate", "promote"}
    assert set(tasks["promote"]["dependentTasks"]) == {"train-embedder"}
    assert tasks["promote"]["inputs"]["parameters"]["minimum_gain"] == {"runtimeValue": {"constant": 0.01}}


def test_a_gate_that_cannot_be_is_reported_when_the_pipeline_is_compiled(evaluated: Build) -> None:
    with pytest.raises(InvalidRequestError, match=re.escape("promotion.confidence")):
        promote(request=yaml.safe_dump(evaluated()), model=None, result=None, confidence=2.0)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (
            {"tracking": {"uri": "http://me:hunter2hunter2@mlflow:5000"}},
            "tracking.uri: contains a password, token or signature",
        ),
        ({"arguments": {"learning_rate": -1.0}}, "arguments.learning_rate: must be 0 or more, not -1"),
        ({"loss": "cosnt"}, "no loss is named 'cosnt'; did you mean cosent?"),
    ],
)
def test_what_is_wrong_with_the_request_is_reported_when_the_pipeline_is_compiled(
    request_of: Build, section: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidRequestError, match=re.escape(message)) as caught:
        train_embedder(request=yaml.safe_dump(request_of(**section)))
    assert "hunter2" not in str(caught.value)


def test_no_secret_is_in_a_compiled_pipeline(
    request_of: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = "hf_PlantedSecretOfTheTest0123"
    monkeypatch.setenv("HF_TOKEN", planted)
    text = yaml.safe_dump(request_of(arguments={"hub_token": {"from_env": "HF_TOKEN"}}))

    @dsl.pipeline
    def retrain() -> None:
        with_secret(train_embedder(request=text, push_to_hub=False), "hub", {"token": "HF_TOKEN"})

    file = tmp_path / "pipeline.yaml"
    compiler.Compiler().compile(retrain, str(file))
    assert "HF_TOKEN" in file.read_text()
    assert planted not in file.read_text()


def test_rows_that_prepare_holds_out_need_no_section_of_their_own(request_of: Build, tmp_path: Path) -> None:
    text = yaml.safe_dump(request_of())

    @dsl.pipeline
    def retrain() -> None:
        prepared = prepare(request=text, eval_share=0.1)
        train_embedder(request=text, train_data=prepared.outputs["train_rows"], eval_data=prepared.outputs["eval_rows"])

    tasks = compiled(retrain, tmp_path)["root"]["dag"]["tasks"]
    assert set(tasks["train-embedder"]["inputs"]["artifacts"]) == {"train_data", "eval_data"}


@pytest.mark.parametrize(
    ("parameters", "message"),
    [({"seed": 2.5}, "seed: needs an integer; 2.5 was given"), ({"eval_share": "x"}, "eval_share: needs a number")],
)
def test_a_parameter_that_is_no_field_is_checked_too(
    request_of: Build, parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidRequestError, match=re.escape(message)):
        prepare(request=yaml.safe_dump(request_of()), **parameters)


def test_a_field_of_a_component_is_checked_like_a_parameter_of_its_own(request_of: Build) -> None:
    """With every wrong value at once."""
    message = "metric: needs text; 5 was given\nminimum_gain: needs a number; 'much' was given"
    with pytest.raises(InvalidRequestError, match=re.escape(message)):

        @dsl.pipeline
        def gate(model: dsl.Input[dsl.Model], result: dsl.Input[dsl.Artifact]) -> None:
            promote(request=yaml.safe_dump(request_of()), model=model, result=result, metric=5, minimum_gain="much")
