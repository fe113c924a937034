"""The components as functions: what an author writes in a pipeline, and what is refused of it there."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import dsl

from embedstep.errors import InvalidRequestError
from embedstep.orchestration.kfp import (
    evaluate,
    prepare,
    promote,
    train_embedder,
)
from tests.orchestration.kfp.compiling import compiled, inputs_of_task

Build = Callable[..., dict[str, Any]]


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


def test_rows_that_prepare_holds_out_need_no_section_of_their_own(request_of: Build, tmp_path: Path) -> None:
    text = yaml.safe_dump(request_of())

    @dsl.pipeline
    def retrain() -> None:
        prepared = prepare(request=text, eval_share=0.1)
        train_embedder(request=text, train_data=prepared.outputs["train_rows"], eval_data=prepared.outputs["eval_rows"])

    tasks = compiled(retrain, tmp_path)["root"]["dag"]["tasks"]
    assert set(tasks["train-embedder"]["inputs"]["artifacts"]) == {"train_data", "eval_data"}
