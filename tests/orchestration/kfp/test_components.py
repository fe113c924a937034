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
    one_line,
    prepare,
    promote,
    reference,
    train_embedder,
    with_secret,
)
from embedstep.request.arguments.table import CONTRACT
from tests.orchestration.kfp.compiling import compiled, inputs_of_task

Build = Callable[..., dict[str, Any]]


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
