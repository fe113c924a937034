"""The request as a whole: short forms, and what follows from several sections."""

import json
from collections.abc import Callable
from typing import Any

from embedstep.request.loading import load_request
from embedstep.request.model import Model
from embedstep.request.schema import Loss, TrainRequest

Build = Callable[..., dict[str, Any]]


def request(**sections: Any) -> TrainRequest:
    columns = {"anchor": "q", "positive": "a"}
    document = {
        "model": "org/model",
        "data": {"train": {"docs": {"path": "a.parquet", "columns": columns}}},
        "loss": "multiple_negatives_ranking",
    }
    return load_request(json.dumps({**document, **sections}))


def test_a_string_is_short_for_a_model_and_for_a_loss() -> None:
    assert request().model == Model.model_validate({"path": "org/model"})
    assert request().loss_of("docs") == Loss.model_validate({"kind": "multiple_negatives_ranking"})


def test_one_loss_is_that_of_every_dataset_and_a_named_one_of_its_own() -> None:
    assert request().loss_of("anything") == request().loss_of("docs")
    named = request(loss={"docs": "cosent"})
    assert named.loss_of("docs") == Loss.model_validate("cosent")
    assert named.loss_of("other") is None


def test_the_run_name_of_the_arguments_counts_where_tracking_has_none() -> None:
    arguments = {"run_name": "from-arguments"}
    assert request(arguments=arguments).named_tracking.run_name == "from-arguments"
    assert request(arguments=arguments, tracking={"run_name": "own"}).named_tracking.run_name == "own"
    assert request().named_tracking.run_name is None


def test_a_step_trains_unless_do_train_is_written_as_false() -> None:
    assert request().trains
    assert request(arguments={"do_train": True}).trains
    assert not request(arguments={"do_train": False}).trains
