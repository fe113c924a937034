"""The setters, beside what those of the seed era really wrote."""

import ast
import inspect
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from embedstep.request.arguments import setters
from embedstep.request.arguments.dumps import Machine, to_dict, to_lossless
from embedstep.request.arguments.ledger import ledger
from embedstep.request.arguments.rules import check_arguments
from embedstep.request.arguments.schema import Arguments
from embedstep.request.arguments.setters import (
    set_dataloader,
    set_evaluate,
    set_logging,
    set_lr_scheduler,
    set_optimizer,
    set_push_to_hub,
    set_save,
    set_testing,
    set_training,
)
from tests.places import SEED_ERA

CALLS: list[dict[str, Any]] = SEED_ERA["setters"]
FRESH = Arguments(output_dir="out")
THERE = Machine(trackers=("tensorboard",), log_folder="runs/<TIMESTAMP>_<HOST>")
FUNCTIONS: dict[str, Callable[..., Arguments]] = {name: getattr(setters, name) for name in SEED_ERA["setter_writes"]}
LISTS = {"all": ["all"], "none": ["none"]}
"""A tracker that the seed keeps as a word is a list of one."""
REFUSED_HERE = {
    ("set_logging", "level"): "unknown levels are refused at once, not when the trainer is built",
    ("set_push_to_hub", "token"): "a token has no place in a request",
}
"""Calls that the seed accepted, and why they are refused."""
OTHER_DUMPS = {
    "prediction_loss_only": "the constructor forces it, and a dump is of constructed arguments",
    "report_to": "the constructor makes a list of the word",
}
"""Arguments that stand otherwise in the seed's dump after a call, and why."""


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


@pytest.mark.parametrize("name", FUNCTIONS)
def test_names_and_defaults_are_the_seeds(name: str) -> None:
    found = {key: parameter.default for key, parameter in inspect.signature(FUNCTIONS[name]).parameters.items()}
    assert found.pop("arguments") is inspect.Parameter.empty
    assert found == parameters_of(SEED_ERA["method_signatures"][name])
    assert list(found) == list(parameters_of(SEED_ERA["method_signatures"][name]))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_call_without_parameters_writes_what_the_seed_writes(name: str) -> None:
    required = {"model_id": "m"} if name == "set_push_to_hub" else {}
    written = to_lossless(FUNCTIONS[name](FRESH, **required))
    assert written.pop("output_dir") == "out"
    expected = {key: plain(value) for key, value in SEED_ERA["setter_writes"][name].items()}
    if "report_to" in expected:
        expected["report_to"] = LISTS[expected["report_to"]]
    assert written == expected


@pytest.mark.parametrize("call", [call for call in CALLS if "error" not in call], ids=id_of)
def test_a_call_does_what_the_seeds_does(call: dict[str, Any]) -> None:
    function = FUNCTIONS[call["method"]]
    if is_refused_here(call):
        with pytest.raises(ValidationError):
            function(FRESH, **call["kwargs"])
        return
    given = function(FRESH, **call["kwargs"])
    for name, change in call["changed"].items():
        value = plain(change["after"])
        assert getattr(given, name) == (LISTS.get(value, value) if name == "report_to" else value)
    expected = {**SEED_ERA["defaults"]["to_dict"], **call["to_dict_changed"]}
    found = to_dict(given, machine=THERE)
    assert {name for name in found if found[name] != expected[name]} <= OTHER_DUMPS.keys()


@pytest.mark.parametrize("call", [call for call in CALLS if "error" in call], ids=id_of)
def test_what_the_seed_refused_is_refused(call: dict[str, Any]) -> None:
    error = {"ValueError": ValueError, "TypeError": TypeError}[call["error"]["type"]]
    with pytest.raises(error):
        FUNCTIONS[call["method"]](FRESH, **call["kwargs"])


def test_every_example_of_the_seed_works() -> None:
    given = set_training(FRESH, learning_rate=1e-4, batch_size=32)
    given = set_evaluate(given, strategy="steps", steps=100)
    given = set_testing(given, batch_size=32)
    given = set_save(given, strategy="steps", steps=100)
    given = set_logging(given, strategy="steps", steps=100)
    given = set_push_to_hub(given, "me/awesome-model")
    given = set_optimizer(given, name="adamw_torch", beta1=0.8)
    given = set_lr_scheduler(given, name="cosine", warmup_ratio=0.05)
    given = set_dataloader(given, train_batch_size=16, eval_batch_size=64)
    assert check_arguments(given) == []
    assert (given.learning_rate, given.per_device_train_batch_size, given.eval_strategy) == (5e-05, 16, "steps")
    assert (given.adam_beta1, given.warmup_ratio, given.hub_model_id) == (0.8, 0.05, "me/awesome-model")


def test_no_delay_is_a_delay_of_nothing_when_it_is_run() -> None:
    given = set_evaluate(FRESH, strategy="steps", steps=100)
    assert given.eval_delay is None
    entries = ledger(given, gpus=0, world_size=1, has_evaluation=True)
    assert {entry.name: entry.value for entry in entries}["eval_delay"] == 0.0


def test_the_arguments_that_go_in_stay_as_they_are() -> None:
    set_training(FRESH, batch_size=32)
    assert to_lossless(FRESH) == {"output_dir": "out"}


@pytest.mark.parametrize(
    ("before", "function", "given", "names"),
    [
        ({"eval_strategy": "epoch"}, set_evaluate, {"strategy": "steps"}, {"eval_strategy": "steps"}),
        ({"evaluation_strategy": "epoch"}, set_evaluate, {}, {"eval_strategy": "no"}),
        ({"activation_checkpointing": True}, set_training, {},
         {"activation_checkpointing": False, "gradient_checkpointing": False}),
        ({"adafactor": True}, set_optimizer, {"name": "sgd"}, {"optim": "sgd", "adafactor": False}),
        ({"push_to_hub_model_id": "m", "push_to_hub_organization": "o"}, set_push_to_hub, {"model_id": "me/n"},
         {"hub_model_id": "me/n", "push_to_hub_model_id": None, "push_to_hub_organization": None}),
        ({"push_to_hub_token": {"from_env": "OLD"}}, set_push_to_hub, {"model_id": "m"},
         {"hub_token": None, "push_to_hub_token": None}),
    ],
)  # fmt: skip
def test_the_last_call_wins_over_other_names_for_the_same(
    before: dict[str, Any], function: Callable[..., Arguments], given: dict[str, Any], names: dict[str, Any]
) -> None:
    after = function(Arguments.model_validate(before), **given)
    assert {name: getattr(after, name) for name in names} == names
    assert check_arguments(after) == []


def test_an_older_batch_size_is_not_forgotten_in_silence() -> None:
    # There the older name wins for good, so the size that was asked for last would never be used.
    after = set_training(Arguments(per_gpu_train_batch_size=4), batch_size=32)
    assert [problem.path for problem in check_arguments(after)] == ["arguments.per_gpu_train_batch_size"]


def test_a_token_is_given_by_the_name_of_its_variable() -> None:
    given = set_push_to_hub(FRESH, "me/m", token={"from_env": "HF_TOKEN"})
    assert given.hub_token is not None
    assert given.hub_token.from_env == "HF_TOKEN"
    with pytest.raises(ValidationError, match="a secret has no place in a request"):
        set_push_to_hub(FRESH, "me/m", token="hf_x")  # type: ignore[arg-type]
