"""Arguments of a step from YAML and from code."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from sentence_transformers.sentence_transformer.training_args import BatchSamplers
from transformers.trainer_utils import IntervalStrategy

import embedstep
from embedstep.errors import InvalidRequestError
from tests.orchestration.running import Build, Zen

OnKubernetes = Callable[..., dict[str, Any]]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_an_argument_that_cannot_be_is_reported_before_anything_runs(zen: Zen, document: Build) -> None:
    found = zen(
        document(),
        """
        @pipeline(enable_cache=False)
        def once():
            prepare_data(request=request)
            train_embedder(request=request)

        before = Client().list_pipeline_runs(size=1).total
        errors = []
        for arguments in ("{learning_rte: 1.0e-4}", "{max_steps: many}", "{batch_sampler: no_duplicate}"):
            Path("config.yaml").write_text(f"steps: {{train_embedder: {{parameters: {{arguments: {arguments}}}}}}}")
            try:
                once.with_options(config_path="config.yaml")()
            except Exception as error:
                errors.append(str(error))
        out(errors=errors, ran=Client().list_pipeline_runs(size=1).total - before)
        """,
    )
    unknown, no_number, no_sampler = found["errors"]
    assert "learning_rte" in unknown
    assert "max_steps" in no_number
    assert "batch_sampler" in no_sampler
    assert found["ran"] == 0


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
