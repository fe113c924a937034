"""Changes of arguments, and what the setters of sentence-transformers 3.0 wrote for the same calls."""

import ast
import inspect
from collections.abc import Callable
from enum import Enum
from typing import Any

import pytest

from embedstep.errors import InvalidRequestError
from embedstep.request.arguments.ledger import ledger
from embedstep.request.arguments.lossless import to_lossless
from embedstep.request.arguments.rules import check_arguments
from embedstep.request.arguments.training_arguments import TrainingArguments
from tests.places import RECORDED_3_0

CALLS: list[dict[str, Any]] = RECORDED_3_0["setters"]
SETTERS: list[str] = list(RECORDED_3_0["setter_writes"])
LISTS = {"all": ["all"], "none": ["none"]}
"""A tracker that 3.0 keeps as a word is a list of one."""
REFUSED_HERE = {
    ("set_logging", "level"): "unknown levels are refused at once, not when the trainer is built",
    ("set_push_to_hub", "token"): "a request must not hold a token",
}
"""Calls that 3.0 accepted, and why they are refused."""
OTHER_DUMPS = {
    "prediction_loss_only": "the constructor forces it, and a dump describes constructed arguments",
    "report_to": "the constructor makes a list of the word",
}
"""Arguments with another value in the dump of 3.0 after a call, and why."""


class IntervalStrategy(Enum):
    """As the libraries have it."""

    STEPS = "steps"
    NO = "no"


def fresh(**values: Any) -> TrainingArguments:
    return TrainingArguments("out", **values)


def id_of(call: dict[str, Any]) -> str:
    return f"{call['method']}({', '.join(f'{name}={value!r}' for name, value in call['kwargs'].items())})"


def plain(value: Any) -> Any:
    """A recorded value, an enumeration as its value."""
    return value["value"] if isinstance(value, dict) and "__enum__" in value else value


def is_refused_here(call: dict[str, Any]) -> bool:
    reasons = [key for key in REFUSED_HERE if key[0] == call["method"] and key[1] in call["kwargs"]]
    return bool(reasons) and call["kwargs"].get("level") != "info"


def parameters_of(signature: str) -> dict[str, Any]:
    """Names and defaults of a signature that is written out."""
    function = ast.parse(f"def f{signature}: ...").body[0]
    assert isinstance(function, ast.FunctionDef)
    names = [argument.arg for argument in function.args.args][1:]
    defaults = [ast.literal_eval(default) for default in function.args.defaults]
    required = [inspect.Parameter.empty] * (len(names) - len(defaults))
    return dict(zip(names, [*required, *defaults], strict=True))


@pytest.mark.parametrize("name", SETTERS)
def test_a_setter_has_the_parameters_of_3_0(name: str) -> None:
    signature = inspect.signature(getattr(fresh(), name))
    found = {key: parameter.default for key, parameter in signature.parameters.items()}
    expected = parameters_of(RECORDED_3_0["method_signatures"][name])
    assert list(found.items()) == list(expected.items())


@pytest.mark.parametrize("name", SETTERS)
def test_a_call_without_parameters_writes_what_3_0_writes(name: str) -> None:
    required = {"model_id": "m"} if name == "set_push_to_hub" else {}
    written = to_lossless(getattr(fresh(), name)(**required))
    assert written.pop("output_dir") == "out"
    expected = {key: plain(value) for key, value in RECORDED_3_0["setter_writes"][name].items()}
    if "report_to" in expected:
        expected["report_to"] = LISTS[expected["report_to"]]
    assert written == expected


@pytest.mark.parametrize("call", [call for call in CALLS if "error" not in call], ids=id_of)
def test_a_call_changes_what_3_0_changes(call: dict[str, Any]) -> None:
    given = fresh()
    setter: Callable[..., TrainingArguments] = getattr(given, call["method"])
    if is_refused_here(call):
        with pytest.raises(InvalidRequestError):
            setter(**call["kwargs"])
        return
    assert setter(**call["kwargs"]) is given
    for name, change in call["changed"].items():
        value = plain(change["after"])
        assert getattr(given, name) == (LISTS.get(value, value) if name == "report_to" else value)
    expected = {**RECORDED_3_0["defaults"]["to_dict"], **call["to_dict_changed"], "logging_dir": "out/runs"}
    found = given.to_dict()
    assert {name for name in found if found[name] != expected[name]} <= OTHER_DUMPS.keys()


@pytest.mark.parametrize("call", [call for call in CALLS if "error" in call], ids=id_of)
def test_what_3_0_refused_is_refused_and_changes_nothing(call: dict[str, Any]) -> None:
    given = fresh()
    error = {"ValueError": InvalidRequestError, "TypeError": TypeError}[call["error"]["type"]]
    with pytest.raises(error):
        getattr(given, call["method"])(**call["kwargs"])
    assert to_lossless(given) == {"output_dir": "out"}


def test_no_delay_is_a_delay_of_zero_in_the_run() -> None:
    given = fresh().set_evaluate(strategy="steps", steps=100)
    assert given.eval_delay is None
    entries = ledger(given, gpus=0, world_size=1, has_evaluation=True)
    assert {entry.name: entry.value for entry in entries}["eval_delay"] == 0.0


def test_a_strategy_may_be_a_member_of_an_enumeration() -> None:
    given = fresh().set_evaluate(strategy=IntervalStrategy.STEPS, steps=7)  # type: ignore[arg-type]
    assert (given.eval_strategy, given.do_eval) == ("steps", True)
    assert given.set_evaluate(strategy=IntervalStrategy.NO).do_eval is False  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("setter", "name"),
    [("set_evaluate", "eval_steps"), ("set_save", "save_steps"), ("set_logging", "logging_steps")],
)
def test_a_strategy_by_steps_needs_steps(setter: str, name: str) -> None:
    with pytest.raises(InvalidRequestError, match=rf"^arguments\.{name}: must be above 0 with the strategy steps$"):
        getattr(fresh(), setter)(strategy="steps", steps=0)


@pytest.mark.parametrize(
    ("before", "setter", "given", "names"),
    [
        ({"eval_strategy": "epoch"}, "set_evaluate", {"strategy": "steps"}, {"eval_strategy": "steps"}),
        ({"evaluation_strategy": "epoch"}, "set_evaluate", {}, {"eval_strategy": "no"}),
        ({"activation_checkpointing": True}, "set_training", {},
         {"activation_checkpointing": False, "gradient_checkpointing": False}),
        ({"adafactor": True}, "set_optimizer", {"name": "sgd"}, {"optim": "sgd", "adafactor": False}),
        ({"push_to_hub_model_id": "m", "push_to_hub_organization": "o"}, "set_push_to_hub", {"model_id": "me/n"},
         {"hub_model_id": "me/n", "push_to_hub_model_id": None, "push_to_hub_organization": None}),
        ({"push_to_hub_token": {"from_env": "OLD"}}, "set_push_to_hub", {"model_id": "m"},
         {"hub_token": None, "push_to_hub_token": None}),
    ],
)  # fmt: skip
def test_the_last_call_wins_over_other_names_for_the_same(
    before: dict[str, Any], setter: str, given: dict[str, Any], names: dict[str, Any]
) -> None:
    after = getattr(fresh(**before), setter)(**given)
    assert {name: getattr(after, name) for name in names} == names
    assert check_arguments(after) == []


def test_an_older_batch_size_is_not_dropped_silently() -> None:
    # In 3.0 the older name always wins, so the size that was set last would never be used.
    after = fresh(per_gpu_train_batch_size=4).set_training(batch_size=32)
    assert [problem.path for problem in check_arguments(after)] == ["arguments.per_gpu_train_batch_size"]


def test_a_token_is_given_by_the_name_of_its_variable() -> None:
    given = fresh().set_push_to_hub("me/m", token={"from_env": "HF_TOKEN"})
    assert given.hub_token is not None
    assert given.hub_token.from_env == "HF_TOKEN"
    with pytest.raises(InvalidRequestError, match=r"^arguments\.hub_token: a secret has no place in a request"):
        given.set_push_to_hub("me/m", token="hf_x")  # type: ignore[arg-type]
