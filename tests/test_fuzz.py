"""No request, however odd, ends in a traceback: the loader, the rules, the data and the plan are asked together."""

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from embedstep.cli.program import main
from embedstep.planning.evaluators import EVALUATORS
from embedstep.planning.losses import LOSSES
from embedstep.request.arguments.schema import Arguments

Document = dict[str, Any]
_ODD: list[Any] = [
    None, True, False, 0, 1, -1, 2.5, 1e308, -1e-308, 10**400, "1e999", "", " ", "no", "docs", "anchor", "*", "\x00",
    "~nobody/x", "ftp://nohost.invalid/x.csv", "memory://none/x.csv", "s3://bucket/x.parquet", "é" * 300, [], [[]], {},
    [1, "a"], {"kind": "cosent"}, {"kind": "matryoshka"}, {"": ""}, {"docs": "cosent", "*": "cosent"}, "steps", "epoch",
]  # fmt: skip
_values = st.one_of(
    st.sampled_from(_ODD),
    st.integers(-3, 200),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=12),
    st.sampled_from([*LOSSES, *EVALUATORS]),
)


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The path of everything inside a document."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def changed(document: Document, path: tuple[str | int, ...], value: Any) -> Document:
    """A copy of the document with another value at `path`."""
    copied = copy.deepcopy(document)
    here: Any = copied
    for key in path[:-1]:
        here = here[key]
    here[path[-1]] = copy.deepcopy(value)
    return copied


@settings(
    deadline=None,
    max_examples=300,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # a document is hard to shrink, and readable as it is
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_no_request_ends_in_a_traceback(evaluated: Callable[..., Document], data: st.DataObject) -> None:
    document = evaluated(loss={"docs": {"kind": "multiple_negatives_ranking", "options": {"scale": 20}}})
    document["evaluators"][0]["options"] = {"accuracy_at_k": [1, 3]}
    for _ in range(data.draw(st.integers(1, 3), label="changes")):
        path = data.draw(st.sampled_from(sorted(places(document), key=str)), label="place")
        document = changed(document, path, data.draw(_values, label="value"))
        if isinstance(document["arguments"], dict):
            name = data.draw(st.sampled_from(sorted(Arguments.model_fields)), label="argument")
            document = changed(document, ("arguments", name), data.draw(_values, label="its value"))
    result = CliRunner().invoke(main, ["check", "-"], input=json.dumps(document))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code in (0, 2, 3)
    assert result.exit_code == 0 or result.stderr.startswith("-: ")


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"arguments": {"num_train_epochs": 1e308}}, "arguments.num_train_epochs: must be 10,000 or less, not 1e+308"),
        ({"arguments": {"learning_rate": "1e999"}}, "arguments.learning_rate: a finite number is needed, not inf"),
        ({"arguments": {"max_steps": -1, "num_train_epochs": "-1e999"}}, "a finite number is needed, not -inf"),
        (
            {"model": {"static": "org/tokenizer", "dimension": 8, "max_seq_length": 9}},
            "max_seq_length belongs to a tran",
        ),
        ({"model": {"path": "build/docstring/minilm"}}, "model.path: build/docstring/minilm does not exist"),
        ({"model": {"path": "./none", "revision": "main"}}, "model.revision: needs a model on the hub"),
        ({"loss": {"*": "cosent", "docs": "cosent"}}, "loss.docs: conflicts with '*'"),
        ({"arguments": {"do_eval": True}}, "arguments.do_eval: is true, but there is nothing under data.eval"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_once_slipped_through(request_of: Callable[..., Document], sections: Document, message: str) -> None:
    result = CliRunner().invoke(main, ["check", "-"], input=json.dumps(request_of(**sections)))
    assert result.exit_code == 2, result.exception
    assert message in result.stderr


@pytest.mark.parametrize("number", [".inf", "-.inf", ".nan"])
@pytest.mark.parametrize("place", ["arguments.lr_scheduler_kwargs", "loss.options"])
def test_a_number_that_json_cannot_hold_is_refused_wherever_it_stands(
    request_of: Callable[..., Document], place: str, number: str
) -> None:
    document = request_of(loss={"kind": "multiple_negatives_ranking"})
    result = CliRunner().invoke(
        main, ["check", "-", "--set", f"{place}={{scale: {number}}}"], input=json.dumps(document)
    )
    assert result.exit_code == 2, result.exception
    assert "a finite number is needed" in result.stderr


def test_mistakes_of_every_kind_come_at_once(request_of: Callable[..., Document]) -> None:
    """An unknown key, a wrong type, a bad override, a rule, an unknown loss, a missing file and a wrong column."""
    document = request_of(loss="cosnt", arguments={"learning_rte": 1, "seed": "x", "fp16": True, "bf16": True})
    document["data"]["train"]["docs"]["columns"]["positive"] = "answer"
    document["model"] = "./none"
    result = CliRunner().invoke(main, ["check", "-", "--set", "arguments"], input=json.dumps(document))
    assert result.exit_code == 2
    lines = result.stderr.splitlines()
    assert lines[0] == "-: 7 problems"
    assert [line.strip().partition(": ")[0] for line in lines[1:]] == [
        "--set arguments", "arguments.seed", "arguments.learning_rte", "arguments.fp16", "model.path", "loss.kind",
        "data.train.docs.columns.positive",
    ]  # fmt: skip


def test_problems_of_the_data_and_of_the_plan_come_at_once(evaluated: Callable[..., Document]) -> None:
    document = evaluated(arguments={"metric_for_best_model": "ndcg", "per_device_train_batch_size": 500})
    document["launch"] = {"processes_per_node": 2}
    document["data"]["train"]["docs"]["columns"]["label"] = "score"
    result = CliRunner().invoke(main, ["check", "-"], input=json.dumps(document))
    assert [line.strip().partition(": ")[0] for line in result.stderr.splitlines()[1:]] == [
        "data.train.docs.columns.label", "data.train.docs", "arguments.metric_for_best_model",
    ]  # fmt: skip
