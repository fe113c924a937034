"""`--set` changes one value of a document, wherever it stands."""

from typing import Any

import pytest

from embedstep.request.document import parse_document
from embedstep.request.overrides import apply_overrides
from embedstep.request.scalars import plain


def changed(text: str, *overrides: str) -> tuple[Any, list[str]]:
    document = parse_document(text)
    problems = [str(problem) for problem in apply_overrides(document, overrides)]
    return plain(document.data), problems


def test_sections_are_made_on_the_way_and_lists_are_counted_from_zero() -> None:
    data, problems = changed("evaluators: [{name: a}, {name: b}]", "evaluators.1.name=c", "launch.nodes=2")
    assert data == {"evaluators": [{"name": "a"}, {"name": "c"}], "launch": {"nodes": 2}}
    assert problems == []


def test_a_value_is_read_as_yaml() -> None:
    data, _ = changed("{}", "loss={kind: matryoshka}", "tracking.uri=null", "arguments.seed=7")
    assert data == {"loss": {"kind": "matryoshka"}, "tracking": {"uri": None}, "arguments": {"seed": 7}}


def test_an_argument_replaces_its_other_name_in_the_document() -> None:
    assert changed("arguments: {evaluation_strategy: epoch}", "arguments.eval_strategy=steps")[0] == {
        "arguments": {"eval_strategy": "steps"}
    }


@pytest.mark.parametrize(
    "overrides",
    [
        ["arguments"],
        ["=3"],
        ["arguments..seed=1"],
        ["evaluators.5.name=c"],
        ["evaluators.x=c"],
        ["model.path.deeper=1"],
        ["loss={"],
        ["arguments.eval_strategy=no", "arguments.evaluation_strategy=no"],
    ],
    ids=str,
)
def test_what_cannot_be_set_is_one_problem(overrides: list[str]) -> None:
    _, problems = changed("model: {path: here}\nevaluators: [{name: a}]", *overrides)
    assert len(problems) == 1
    assert problems[0].startswith("--set")
