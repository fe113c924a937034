"""The class for Python authors: what its users write, and what the class of sentence-transformers 3.0 returned."""

import copy
import json
import pickle
from typing import Any

import pytest

import embedstep
from embedstep import BatchSamplers, MultiDatasetBatchSamplers, TrainingArguments, TrainRequest
from embedstep.errors import InvalidRequestError
from embedstep.planning.rules import check_rules
from embedstep.request.arguments.lossless import to_lossless
from embedstep.request.arguments.process import ProcessArguments
from embedstep.request.arguments.schema import Arguments
from tests.places import RECORDED_3_0

DEFAULTS: dict[str, Any] = RECORDED_3_0["defaults"]
MACHINE = {"logging_dir": "out/runs", "report_to": []}
"""What 3.0 derives from the clock, the host and the installed trackers."""
MEMBERS = {*DEFAULTS["properties"], *RECORDED_3_0["method_signatures"]}


def request_with(arguments: Any) -> TrainRequest:
    return TrainRequest.model_validate(
        {
            "model": "folder",
            "data": {"train": {"docs": {"path": "a.parquet", "columns": {"anchor": "q", "positive": "p"}}}},
            "loss": "multiple_negatives_ranking",
            "arguments": arguments,
        }
    )


def test_it_has_every_member_of_3_0() -> None:
    assert len(MEMBERS) == 27
    assert set(dir(TrainingArguments)) >= MEMBERS


def test_the_name_of_the_library_is_the_same_class() -> None:
    assert embedstep.SentenceTransformerTrainingArguments is TrainingArguments


def test_every_example_of_3_0_runs() -> None:
    args = TrainingArguments("working_dir")
    args = args.set_training(learning_rate=1e-4, batch_size=32)
    assert args.learning_rate == 1e-4
    args = args.set_evaluate(strategy="steps", steps=100)
    assert args.eval_steps == 100
    args = args.set_testing(batch_size=32)
    assert args.per_device_eval_batch_size == 32
    args = args.set_save(strategy="steps", steps=100)
    assert args.save_steps == 100
    args = args.set_logging(strategy="steps", steps=100)
    assert args.logging_steps == 100
    args = args.set_push_to_hub("me/awesome-model")
    assert args.hub_model_id == "me/awesome-model"
    args = args.set_optimizer(name="adamw_torch", beta1=0.8)
    assert args.optim == "adamw_torch"
    args = args.set_lr_scheduler(name="cosine", warmup_ratio=0.05)
    assert args.warmup_ratio == 0.05
    args = args.set_dataloader(train_batch_size=16, eval_batch_size=64)
    assert args.per_device_train_batch_size == 16
    assert args.learning_rate == 5e-5  # set_optimizer wrote its default


def test_the_example_of_the_documentation_runs() -> None:
    args = TrainingArguments(
        output_dir="models/mpnet-base-all-nli-triplet",
        num_train_epochs=1,
        per_device_train_batch_size=16,
        per_device_eval_batch_size=16,
        warmup_ratio=0.1,
        fp16=False,
        bf16=False,
        batch_sampler=BatchSamplers.NO_DUPLICATES,
        multi_dataset_batch_sampler=MultiDatasetBatchSamplers.ROUND_ROBIN,
        evaluation_strategy="steps",
        eval_steps=100,
        save_strategy="steps",
        save_steps=100,
        save_total_limit=2,
        logging_steps=100,
        run_name="mpnet-base-all-nli-triplet",
    )
    assert (args.batch_sampler, args.multi_dataset_batch_sampler) == ("no_duplicates", "round_robin")
    values = args.to_dict()
    assert {name: values[name] for name in ("eval_steps", "do_eval", "batch_sampler", "num_train_epochs")} == {
        "eval_steps": 100, "do_eval": True, "batch_sampler": "no_duplicates", "num_train_epochs": 1.0,
    }  # fmt: skip


def test_an_attribute_can_be_assigned_and_is_read_as_in_a_request() -> None:
    given = TrainingArguments("out", evaluation_strategy="steps")
    given.learning_rate = "2e-5"  # type: ignore[assignment]
    given.eval_strategy = "epoch"
    assert (given.learning_rate, given.eval_strategy) == (2e-5, "epoch")
    assert to_lossless(given) == {"output_dir": "out", "learning_rate": 2e-5, "eval_strategy": "epoch"}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("learning_rate", "fast", "arguments.learning_rate: needs a number; 'fast' was given"),
        ("bf16", "perhaps", "arguments.bf16: needs true or false; 'perhaps' was given"),
        ("learning_rat", 1, "arguments.learning_rat: is not a training argument; did you mean learning_rate?"),
        ("batch_sampler", "NO_DUPLICATES",
         "arguments.batch_sampler: must be batch_sampler, no_duplicates, no_duplicates_hashed or group_by_label; "
         "'NO_DUPLICATES' was given; did you mean no_duplicates?"),
    ],
)  # fmt: skip
def test_a_wrong_value_has_the_message_of_a_request_file(name: str, value: Any, message: str) -> None:
    given = TrainingArguments("out", seed=3)
    with pytest.raises(InvalidRequestError) as assigned:
        setattr(given, name, value)
    with pytest.raises(InvalidRequestError) as constructed:
        TrainingArguments(**{name: value})
    assert str(assigned.value) == str(constructed.value) == message
    assert to_lossless(given) == {"output_dir": "out", "seed": 3}


def test_all_wrong_values_are_reported_at_once() -> None:
    with pytest.raises(InvalidRequestError) as error:
        TrainingArguments(seed="x", learning_rate="y")
    assert {problem.path for problem in error.value.problems} == {"arguments.learning_rate", "arguments.seed"}


def test_the_dumps_of_the_defaults_are_those_of_3_0() -> None:
    args = TrainingArguments("out")
    assert args.to_dict() == {**DEFAULTS["to_dict"], **MACHINE}
    assert list(args.to_dict()) == list(DEFAULTS["to_dict"])
    assert args.to_json_string() == json.dumps(args.to_dict(), indent=2)
    assert args.to_sanitized_dict() == {**DEFAULTS["to_sanitized_dict"], "logging_dir": "out/runs", "report_to": "[]"}


def test_the_dump_of_set_arguments_has_their_values() -> None:
    args = TrainingArguments("out", learning_rate=2e-5).set_training(batch_size=32, num_epochs=2)
    args.weight_decay = 0.01
    changed = {
        name: value for name, value in args.to_dict().items() if value != TrainingArguments("out").to_dict()[name]
    }
    assert changed == {
        "do_train": True, "per_device_train_batch_size": 32, "weight_decay": 0.01, "num_train_epochs": 2.0,
    }  # fmt: skip


def test_several_processes_show_in_the_dump(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2",
                        "GROUP_RANK": "1"}.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    values = TrainingArguments("out").to_dict()
    assert (values["local_rank"], values["dataloader_drop_last"]) == (1, True)


def test_a_request_takes_every_value_that_the_object_holds() -> None:
    args = TrainingArguments("out", prompts={"q": "query: "}, hub_token={"from_env": "MY_TOKEN"}, seed=42)
    args.set_training(learning_rate=1e-4, batch_size=32).set_logging(report_to="tensorboard")
    args.evaluation_strategy = "no"
    args.num_train_epochs = 2
    found = request_with(args).arguments
    assert type(found) is Arguments
    assert found == Arguments.model_validate(to_lossless(args))
    assert to_lossless(found) == to_lossless(args)
    assert (found.learning_rate, found.num_train_epochs, found.report_to) == (1e-4, 2.0, ["tensorboard"])
    assert found.prompts == {"q": "query: "}
    assert found.hub_token is not None
    assert found.hub_token.from_env == "MY_TOKEN"
    assert not found.is_dump
    assert check_rules(request_with(args)) == []


def test_a_list_that_was_changed_in_place_is_passed_too() -> None:
    args = TrainingArguments("out", lr_scheduler_type="cosine", lr_scheduler_kwargs={"num_cycles": 1})
    args.debug.append("underflow_overflow")
    assert args.lr_scheduler_kwargs is not None
    args.lr_scheduler_kwargs["num_cycles"] = 2
    found = request_with(args).arguments
    assert (found.debug, found.lr_scheduler_kwargs) == (["underflow_overflow"], {"num_cycles": 2})


def test_a_request_does_not_change_with_the_object() -> None:
    args = TrainingArguments("out", debug=["underflow_overflow"])
    request = request_with(args)
    args.seed = 7
    args.debug.clear()
    assert (request.arguments.seed, request.arguments.debug) == (42, ["underflow_overflow"])


def test_a_request_accepts_the_object_in_its_constructor() -> None:
    document = request_with({})
    request = TrainRequest(
        model=document.model,
        data=document.data,
        loss=document.loss,
        arguments=TrainingArguments("out").set_training(batch_size=32),
    )
    assert request.arguments.per_device_train_batch_size == 32


def test_the_dump_of_an_object_reads_as_the_same_arguments() -> None:
    args = TrainingArguments("out", learning_rate=1e-4).set_evaluate(strategy="steps", steps=7)
    again = TrainingArguments.model_validate(args.to_dict())
    assert again.is_dump
    assert (again.learning_rate, again.eval_strategy, again.eval_steps) == (1e-4, "steps", 7)


def test_copies_are_equal_and_independent() -> None:
    args = TrainingArguments("out", seed=3, evaluation_strategy="epoch")
    for again in (copy.deepcopy(args), pickle.loads(pickle.dumps(args))):
        assert again == args
        again.seed = 4
        assert args.seed == 3


def test_it_answers_for_its_process() -> None:
    assert issubclass(TrainingArguments, ProcessArguments)
    assert TrainingArguments(use_cpu=True).device == "cpu"
