"""The examples of docs/extending.md: each declaration is one, and each piece of a request names what is declared."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import yaml

import embedstep
from embedstep.request.arguments.schema import Arguments
from embedstep.request.datasets import Dataset
from embedstep.request.model import Model
from embedstep.request.schema import Evaluator, Loss, Tracking
from tests.places import ROOT

PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (An? .+?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
EXPECTED: dict[str, tuple[str, Callable[[Any], str]]] = {
    "A loss": ("LossKind", lambda piece: Loss.model_validate(piece["loss"]).kind),
    "An evaluator": ("EvaluatorKind", lambda piece: Evaluator.model_validate(piece["evaluators"][0]).kind),
    "A module": ("ModuleKind", lambda piece: (Model.model_validate(piece["model"]).modules or [])[-1].kind),
    "A batch sampler": (
        "BatchSamplerKind",
        lambda piece: str(Arguments.model_validate(piece["arguments"]).batch_sampler),
    ),
    "A row function": (
        "RowFunctionKind",
        lambda piece: Dataset.model_validate(piece["data"]["train"]["docs"]).row_function.kind,  # type: ignore[union-attr]
    ),
    "A source of rows": (
        "RowSourceKind",
        lambda piece: Dataset.model_validate(piece["data"]["train"]["docs"]).rows.kind,  # type: ignore[union-attr]
    ),
    "A transform": (
        "TransformKind",
        lambda piece: Dataset.model_validate(piece["data"]["train"]["docs"]).transform.kind,  # type: ignore[union-attr]
    ),
    "A tracker": ("TrackerKind", lambda piece: Tracking.model_validate(piece["tracking"]).kind),
}


def test_the_page_has_each_kind() -> None:
    assert set(SECTIONS) == set(EXPECTED)


@pytest.mark.usefixtures("birdsong")
@pytest.mark.parametrize("section", EXPECTED)
def test_an_example_is_a_declaration_that_the_request_names(section: str) -> None:
    class_name, named = EXPECTED[section]
    code, piece = (re.findall(rf"```{kind}\n(.*?)```", SECTIONS[section], re.DOTALL)[0] for kind in ("python", "yaml"))
    names: dict[str, Any] = {}
    exec(code, names)
    declared = [value for value in names.values() if isinstance(value, getattr(embedstep, class_name))]
    assert [item.name for item in declared] == [named(yaml.safe_load(piece))]
