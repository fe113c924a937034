"""Dumps of arguments, and what the class of sentence-transformers 3.0 wrote for the same arguments."""

import enum
import json
from pathlib import Path
from typing import Any

import pytest

from embedstep.errors import InvalidRequestError
from embedstep.planning.rules import check_rules
from embedstep.request.arguments import process
from embedstep.request.arguments.dumps import to_dict
from embedstep.request.arguments.schema import Arguments
from embedstep.request.arguments.support import NAMES_IN_3_0
from embedstep.request.arguments.table import CONTRACT
from embedstep.request.arguments.training_arguments import TrainingArguments
from embedstep.request.schema import TrainRequest
from embedstep.runtime.world import World
from tests.places import RECORDED_3_0, ROOT
from tests.request.arguments import test_setters

DEFAULTS: dict[str, Any] = RECORDED_3_0["defaults"]
CASES: list[dict[str, Any]] = [*RECORDED_3_0["constructor_single"], *RECORDED_3_0["constructor_combo"]]
DUMPED = [case for case in CASES if "error" not in case]
REFUSED = [case for case in CASES if "error" in case]
ALONE = World()

OTHER_VALUES: dict[str, tuple[dict[str, Any], str]] = {
    '{"per_device_train_batch_size": "16"}': (
        {"per_device_train_batch_size": 16, "train_batch_size": 16}, "a number as text is read as the number"),
    '{"learning_rate": "5e-5"}': ({"learning_rate": 5e-05}, "a number as text is read as the number"),
    '{"adam_epsilon": "1e-8"}': ({"adam_epsilon": 1e-08}, "a number as text is read as the number"),
    '{"lr_scheduler_kwargs": "{\\"num_cycles\\": 2}"}': (
        {"lr_scheduler_kwargs": {"num_cycles": 2}}, "a mapping as JSON text is read as the mapping"),
    '{"gradient_checkpointing_kwargs": "{\\"use_reentrant\\": false}"}': (
        {"gradient_checkpointing_kwargs": {"use_reentrant": False}}, "a mapping as JSON text is read as the mapping"),
    '{"push_to_hub_model_id": "org/m"}': ({"hub_model_id": "org/m"}, "the class repeated an owner that was given"),
}  # fmt: skip
"""Cases with another dump: the values that differ, and why."""
REFUSED_HERE = {
    '{"log_level": "bogus"}': "unknown levels are refused at once, not when the trainer is built",
    '{"log_level_replica": "bogus"}': "unknown levels are refused at once, not when the trainer is built",
    '{"push_to_hub_token": "hf_secret2"}': "a request must not hold a token",
    '{"push_to_hub_token": "t", "hub_token": "u"}': "a request must not hold a token",
}
"""Cases that 3.0 accepted, and why they are refused."""
ACCEPTED_HERE = {
    '{"evaluation_strategy": false}': "YAML 1.1 reads the word no as false",
    '{"save_strategy": false}': "YAML 1.1 reads the word no as false",
    '{"fsdp": null}': "the installed class accepts null",
    '{"lr_scheduler_type": "cosine_with_min_lr"}': "it came later",
    '{"batch_sampler": "no_duplicates_hashed"}': "it came later",
    '{"fp16": true}': "arguments alone do not know the machine",
    '{"fp16_full_eval": true}': "arguments alone do not know the machine",
    '{"tf32": true}': "arguments alone do not know the machine",
}
"""Cases that 3.0 refused, and why they are accepted."""


class IntervalStrategy(enum.Enum):
    """As the libraries have it."""

    STEPS = "steps"


def key_of(case: dict[str, Any]) -> str:
    return json.dumps(case["kwargs"])


def arguments_of(kwargs: dict[str, Any]) -> TrainingArguments:
    """The arguments of a case; its key `__enum__` names an argument whose value is an enumeration."""
    marked = kwargs.get("__enum__")
    values = {name: value for name, value in kwargs.items() if name != "__enum__"}
    if marked:
        values[marked] = IntervalStrategy.STEPS
    return TrainingArguments(**{"output_dir": "out", **values})


def refusals(arguments: Arguments) -> list[str]:
    """The problems of a request with these arguments."""
    dataset = {"docs": {"path": "a.parquet", "columns": {"anchor": "q", "positive": "p"}}}
    evaluated = {"eval": dataset} if arguments.eval_strategy != "no" or arguments.do_eval else {}
    request = TrainRequest.model_validate(
        {
            "model": "folder",
            "data": {"train": dataset, **evaluated},
            "loss": "multiple_negatives_ranking",
            "arguments": arguments,
        }
    )
    return [str(problem) for problem in check_rules(request)]


def without_machine(recorded: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """A recorded dump without what the class asked its machine: time, host, owner of the token, installed trackers."""
    text = json.dumps(recorded).replace("/<TIMESTAMP>_<HOST>", "").replace("<USER>/", "")
    found: dict[str, Any] = json.loads(text)
    if given.get("report_to") in (None, "all", ["all"]):
        found["report_to"] = [] if isinstance(found["report_to"], list) else "[]"
    return found


def assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Equal in names, order, values and types, except that floats may be written for integers."""
    assert list(found) == list(expected)
    assert found == expected
    for name, value in expected.items():
        if type(found[name]) is not type(value):
            assert (type(found[name]), type(value)) == (float, int), name


def test_the_defaults_are_dumped_to_the_letter() -> None:
    recorded = without_machine(json.loads(DEFAULTS["to_json_string"]), {})
    assert TrainingArguments("out").to_json_string() == json.dumps(recorded, indent=2)


def test_the_names_are_those_of_the_signature_in_its_order() -> None:
    assert tuple(row["name"] for row in RECORDED_3_0["signature"]) == NAMES_IN_3_0
    assert {name for name, row in CONTRACT.items() if row.since == "sentence-transformers 3.0"} == set(NAMES_IN_3_0)


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "visible_gpus", lambda environ: 0)


@pytest.mark.parametrize("case", DUMPED, ids=key_of)
def test_a_constructor_call_gives_the_dump_of_3_0(case: dict[str, Any]) -> None:
    if key_of(case) in REFUSED_HERE:
        with pytest.raises(InvalidRequestError):
            arguments_of(case["kwargs"])
        return
    other, _ = OTHER_VALUES.get(key_of(case), ({}, ""))
    arguments = arguments_of(case["kwargs"])
    expected = without_machine({**DEFAULTS["to_dict"], **case["to_dict_changed"]}, case["kwargs"])
    assert expected | other != expected or not other, "no longer differs"
    ours = {name: value for name, value in other.items() if name in expected}
    assert_same(arguments.to_dict(), expected | ours)
    assert arguments.to_json_string() == json.dumps(arguments.to_dict(), indent=2)
    sanitized = without_machine({**DEFAULTS["to_sanitized_dict"], **case["to_sanitized_changed"]}, case["kwargs"])
    shown = {name: value if isinstance(value, int | float | str) else str(value) for name, value in other.items()}
    assert_same(arguments.to_sanitized_dict(), sanitized | shown)


@pytest.mark.parametrize("case", REFUSED, ids=key_of)
def test_what_3_0_refused_is_refused(case: dict[str, Any]) -> None:
    try:
        arguments = arguments_of(case["kwargs"])
        arguments.to_dict()
    except (InvalidRequestError, FileNotFoundError):
        assert key_of(case) not in ACCEPTED_HERE
        return
    assert bool(refusals(arguments)) is (key_of(case) not in ACCEPTED_HERE), refusals(arguments)


def test_every_difference_is_a_recorded_case() -> None:
    keys = {key_of(case) for case in CASES}
    assert OTHER_VALUES.keys() | REFUSED_HERE.keys() | ACCEPTED_HERE.keys() <= keys
    assert (len(CASES), len(DUMPED), len(REFUSED)) == (263, 219, 44)
    assert refusals(Arguments(output_dir="out")) == []


def test_the_docs_give_each_difference_with_its_reason() -> None:
    page = " ".join((ROOT / "docs/arguments.md").read_text().split())
    other = [reason for _, reason in OTHER_VALUES.values()]
    reasons = {*other, *REFUSED_HERE.values(), *ACCEPTED_HERE.values(), *test_setters.REFUSED_HERE.values(),
               *test_setters.OTHER_DUMPS.values()}  # fmt: skip
    assert {reason for reason in reasons if f": {reason}" not in page} == set()
    names = {name for case in (*OTHER_VALUES, *REFUSED_HERE, *ACCEPTED_HERE) for name in json.loads(case)}
    assert {name for name in names if f"`{name}" not in page.partition("case by case")[2]} == set()


@pytest.mark.parametrize(
    ("later", "expected"),
    [
        ({"eval_strategy": "epoch"}, {"evaluation_strategy": "epoch", "do_eval": True}),
        ({"activation_checkpointing": True}, {"gradient_checkpointing": True}),
        ({"activation_checkpointing_kwargs": {"a": 1}}, {"gradient_checkpointing_kwargs": {"a": 1}}),
        ({"train_sampling_strategy": "group_by_length"}, {"group_by_length": True}),
        ({"accelerator_config": {"split_batches": True, "dispatch_batches": False}},
         {"split_batches": True, "dispatch_batches": False}),
        ({"include_num_input_tokens_seen": "non_padding"}, {"include_num_input_tokens_seen": True}),
        ({"lr_scheduler_type": "reduce_lr_on_plateau", "eval_strategy": "epoch"},
         {"lr_scheduler_type": "reduce_lr_on_plateau", "evaluation_strategy": "epoch", "do_eval": True,
          "metric_for_best_model": "loss", "greater_is_better": False}),
    ],
)  # fmt: skip
def test_a_later_name_is_dumped_under_the_name_in_3_0(later: dict[str, Any], expected: dict[str, Any]) -> None:
    plain = to_dict(Arguments(output_dir="out"), ALONE)
    assert to_dict(Arguments(output_dir="out", **later), ALONE) == {**plain, **expected}


def test_several_processes_drop_the_last_batch() -> None:
    world = World(rank=3, local_rank=1, world_size=4, local_world_size=2, node_rank=1)
    values = to_dict(Arguments(), world)
    assert (values["local_rank"], values["dataloader_drop_last"]) == (1, True)


def test_a_path_stays_as_it_is_written() -> None:
    values = to_dict(Arguments(output_dir="~/x/", push_to_hub_model_id="m"), ALONE)
    assert values["output_dir"] == values["run_name"] == "~/x/"
    assert (values["logging_dir"], values["hub_model_id"]) == ("~/x/runs", "m")


def test_without_an_output_folder_nothing_is_derived_from_it() -> None:
    values = to_dict(Arguments(push_to_hub_organization="org"), ALONE)
    assert [values[name] for name in ("output_dir", "logging_dir", "run_name", "hub_model_id")] == [None] * 4


def test_the_batch_sizes_of_the_sanitized_dump_are_multiplied_by_the_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "visible_gpus", lambda environ: 2)
    values = TrainingArguments(per_gpu_eval_batch_size=4).to_sanitized_dict()
    assert (values["train_batch_size"], values["eval_batch_size"]) == (16, 8)


def test_fsdp_settings_are_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "fsdp.json"
    file.write_text('{"fsdp_xla": true, "transformer_layer_cls_to_wrap": "A"}')
    values = to_dict(Arguments(fsdp_config=str(file), fsdp=["full_shard"]), ALONE)
    assert values["fsdp_config"] == {
        "xla": True, "transformer_layer_cls_to_wrap": ["A"], "min_num_params": 0, "xla_fsdp_grad_ckpt": False,
    }  # fmt: skip
    file.write_text("[]")
    with pytest.raises(ValueError, match="holds no JSON mapping"):
        to_dict(Arguments(fsdp_config=str(file)), ALONE)


def test_a_dump_reads_back_as_the_same_dump() -> None:
    arguments = Arguments.model_validate({"output_dir": "out", "evaluation_strategy": "steps", "no_cuda": True})
    again = Arguments.model_validate(to_dict(arguments, ALONE))
    assert again.is_dump
    assert to_dict(again, ALONE) == to_dict(arguments, ALONE)
