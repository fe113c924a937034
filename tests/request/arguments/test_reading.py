"""The forms that arguments come in: dumps, JSON text, floats for integers, enumerations, objects, nulls."""

import dataclasses
import json
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from embedstep.request.arguments.rules import check_arguments
from embedstep.request.arguments.schema import Arguments
from embedstep.request.loading import load_request
from tests.places import RECORDED_3_0

CASES = [case for case in RECORDED_3_0["constructor_single"] if "to_dict_changed" in case]


def read(raw: Any) -> Arguments:
    return Arguments.model_validate(raw)


def chosen(arguments: Arguments) -> dict[str, Any]:
    """What was chosen, without what every dump of 3.0 holds."""
    everywhere = {"output_dir", "logging_dir", "prediction_loss_only"}
    return {name: getattr(arguments, name) for name in arguments.model_fields_set - everywhere}


def test_a_dump_of_the_defaults_of_3_0_chooses_nothing() -> None:
    text = RECORDED_3_0["defaults"]["to_json_string"]
    for raw in (text, json.loads(text), RECORDED_3_0["defaults"]["to_dict"]):
        assert read(raw).is_dump
        assert chosen(read(raw)) == {}


def test_a_dump_of_the_installed_defaults_chooses_only_another_optimizer() -> None:
    from sentence_transformers import SentenceTransformerTrainingArguments

    live = SentenceTransformerTrainingArguments(output_dir="out", use_cpu=False)
    for raw in (live, live.to_dict(), live.to_json_string()):
        assert read(raw).is_dump
        # The default optimizer is another one than in 3.0.
        assert chosen(read(raw)) == {"optim": "adamw_torch_fused"}
        assert read(raw).output_dir == "out"


@pytest.mark.parametrize(
    ("given", "derived"),
    [
        ({"learning_rate": 3e-4, "num_train_epochs": 2.0}, {}),
        ({"eval_strategy": "steps", "eval_steps": 7}, {"do_eval": True}),
        ({"batch_sampler": "no_duplicates", "seed": 3}, {}),
        ({"save_strategy": "epoch", "gradient_accumulation_steps": 4}, {}),
        ({"prompts": {"anchor": "query: "}, "use_cpu": True}, {}),
    ],
    ids=str,
)
def test_an_installed_object_gives_what_it_was_given(given: dict[str, Any], derived: dict[str, Any]) -> None:
    from sentence_transformers import SentenceTransformerTrainingArguments

    live = SentenceTransformerTrainingArguments(output_dir="out", **given)
    found = {
        name: value for name, value in chosen(read(live)).items() if name not in ("dataloader_pin_memory", "optim")
    }
    assert {name: value for name, value in found.items() if name not in derived} == given


def test_a_token_in_an_installed_object_is_never_copied() -> None:
    from sentence_transformers import SentenceTransformerTrainingArguments

    live = SentenceTransformerTrainingArguments(output_dir="out", hub_token="hf_plantedplantedplanted")
    assert read(live).hub_token is None
    assert "planted" not in repr(read(live))


def test_trackers_of_an_installed_object_are_kept_and_those_of_a_3_0_dump_are_not() -> None:
    from sentence_transformers import SentenceTransformerTrainingArguments

    live = SentenceTransformerTrainingArguments(output_dir="out", report_to=["tensorboard"])
    assert read(live).report_to == ["tensorboard"]
    assert read({**RECORDED_3_0["defaults"]["to_dict"], "report_to": ["tensorboard"]}).report_to is None


def test_a_batch_sampler_that_is_a_class_is_refused_and_not_dropped() -> None:
    from sentence_transformers import SentenceTransformerTrainingArguments
    from sentence_transformers.base.sampler import DefaultBatchSampler

    live = SentenceTransformerTrainingArguments(output_dir="out", batch_sampler=DefaultBatchSampler)
    with pytest.raises(ValidationError, match="batch_sampler"):
        read(live)


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["kwargs"])[:60])
def test_a_dump_of_3_0_reads_as_the_arguments_that_it_was_made_from(case: dict[str, Any]) -> None:
    """The value of one constructor call is in the arguments that its dump gives, unless it is refused."""
    dump = {**RECORDED_3_0["defaults"]["to_dict"], **case["to_dict_changed"]}
    if refused := refusals(dump):
        assert refused <= REFUSED_IN_DUMPS
        return
    arguments = read(dump)
    assert arguments.is_dump
    for name in case["kwargs"].keys() & case["to_dict_changed"].keys() - MACHINE:
        value = case["to_dict_changed"][name]
        assert name in arguments.model_fields_set or value in (0, None), name


def refusals(dump: dict[str, Any]) -> set[str]:
    """The arguments that are refused in a dump."""
    try:
        read(dump)
    except ValidationError as error:
        return {str(detail["loc"][0]) for detail in error.errors()}
    return set()


MACHINE = {"report_to", "local_rank", "hub_token", "push_to_hub_token", "logging_dir", "run_name", "do_eval"}
"""Facts of the machine and secrets, by which a dump chooses nothing."""
REFUSED_IN_DUMPS = {
    "learning_rate", "weight_decay", "seed", "per_device_train_batch_size", "max_steps", "warmup_steps", "adam_epsilon",
    "num_train_epochs", "log_level", "log_level_replica", "logging_steps", "save_steps", "eval_steps", "debug", "fsdp",
}  # fmt: skip
"""Arguments that 3.0 stored unchecked, such as text for a number or an unknown log level."""


def test_integers_that_became_floats_and_texts_are_repaired() -> None:
    found = read({"max_steps": 10.0, "per_device_train_batch_size": "16", "seed": 3.0, "learning_rate": "2e-5"})
    assert (found.max_steps, found.per_device_train_batch_size, found.seed, found.learning_rate) == (10, 16, 3, 2e-5)


class Sampler(Enum):
    """An enumeration as the libraries have them."""

    NO_DUPLICATES = "no_duplicates"


def test_enums_are_their_values() -> None:
    assert read({"batch_sampler": Sampler.NO_DUPLICATES}).batch_sampler == "no_duplicates"
    assert read({"report_to": [Sampler.NO_DUPLICATES]}).report_to == ["no_duplicates"]


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("lr_scheduler_kwargs", '{"num_cycles": 2}', {"num_cycles": 2}),
        ("lr_scheduler_kwargs", ' {"power": 1.5}', {"power": 1.5}),
        ("accelerator_config", '{"split_batches": true}', {"split_batches": True}),
        ("prompts", '{"anchor": "query: "}', {"anchor": "query: "}),
        ("gradient_checkpointing_kwargs", '{"use_reentrant": false}', {"use_reentrant": False}),
    ],
)
def test_mappings_written_as_text_are_read(name: str, text: str, value: object) -> None:
    assert getattr(read({name: text}), name) == value


@pytest.mark.parametrize("placeholder", ["<HUB_TOKEN>", "<PUSH_TO_HUB_TOKEN>"])
def test_the_placeholder_of_a_token_is_no_token(placeholder: str) -> None:
    tokens = {"hub_token": placeholder, "push_to_hub_token": placeholder}
    assert read({**tokens, "_n_gpu": 0}).hub_token is None


@pytest.mark.parametrize("placeholder", ["<HUB_TOKEN>", "<PUSH_TO_HUB_TOKEN>", "<token>"])
@pytest.mark.parametrize("name", ["hub_token", "push_to_hub_token"])
def test_a_placeholder_that_a_person_writes_is_refused(name: str, placeholder: str) -> None:
    with pytest.raises(ValidationError, match=f"{placeholder} is the placeholder of a secret"):
        read({name: placeholder, "push_to_hub": True})


def test_a_token_is_named_by_its_variable_and_never_written() -> None:
    found = read({"push_to_hub_token": {"from_env": "MY_TOKEN"}})
    assert found.hub_token is not None
    assert found.hub_token.from_env == "MY_TOKEN"
    with pytest.raises(ValidationError, match=r"write \{from_env: HF_TOKEN\}"):
        read({"hub_token": "hf_plantedplantedplanted"})


def test_text_that_is_no_mapping_is_refused_with_the_way_out() -> None:
    with pytest.raises(ValidationError, match="to_json_string"):
        read("training_args.bin")


@pytest.mark.parametrize(
    ("older", "name", "value"),
    [
        ({"evaluation_strategy": "no"}, "eval_strategy", "no"),
        ({"evaluation_strategy": False}, "eval_strategy", "no"),
        ({"per_gpu_train_batch_size": 4}, "per_device_train_batch_size", 4),
        ({"per_gpu_train_batch_size": 0}, "per_device_train_batch_size", 8),
        ({"no_cuda": True}, "use_cpu", True),
        ({"no_cuda": False}, "use_cpu", False),
        ({"adafactor": True}, "optim", "adafactor"),
        ({"torchdynamo": "eager"}, "torch_compile_backend", "eager"),
        ({"push_to_hub_model_id": "m"}, "hub_model_id", "m"),
        ({"push_to_hub_model_id": "m", "push_to_hub_organization": "o"}, "hub_model_id", "o/m"),
        ({"push_to_hub_organization": "o", "output_dir": "runs/docs"}, "hub_model_id", "o/docs"),
        ({"split_batches": True}, "accelerator_config", {"split_batches": True}),
        ({"dispatch_batches": False, "accelerator_config": {"even_batches": True}}, "accelerator_config",
         {"dispatch_batches": False, "even_batches": True}),
        ({"fsdp_min_num_params": 100}, "fsdp_config", {"min_num_params": 100}),
        ({"fsdp_transformer_layer_cls_to_wrap": "A", "fsdp_config": {"transformer_layer_cls_to_wrap": ["B"]}},
         "fsdp_config", {"transformer_layer_cls_to_wrap": ["B", "A"]}),
        ({"fp16_backend": "cpu_amp"}, "half_precision_backend", "cpu_amp"),
        ({"fsdp_transformer_layer_cls_to_wrap": "BertLayer"}, "fsdp_config",
         {"transformer_layer_cls_to_wrap": ["BertLayer"]}),
        ({"include_num_input_tokens_seen": True}, "include_num_input_tokens_seen", "all"),
        ({"group_by_length": True}, "train_sampling_strategy", "group_by_length"),
        ({"gradient_checkpointing": True}, "activation_checkpointing", True),
        ({"evaluation_strategy": "epoch", "eval_strategy": "epoch"}, "eval_strategy", "epoch"),
    ],
    ids=str,
)  # fmt: skip
def test_an_older_name_sets_the_current_one(older: dict[str, Any], name: str, value: object) -> None:
    assert getattr(read(older), name) == value


REFUSED_NULLS = {
    "eval_strategy", "hub_strategy", "logging_strategy", "lr_scheduler_type", "optim", "save_strategy",
    "dataloader_num_workers", "logging_steps", "save_steps", "warmup_steps",
}  # fmt: skip
"""Arguments whose null the installed class refuses at once."""
FAILING_NULLS = {
    **dict.fromkeys(("adam_beta1", "adam_beta2", "adam_epsilon", "learning_rate", "weight_decay"), "the optimizer"),
    **dict.fromkeys(("max_steps", "num_train_epochs"), "the length of the training"),
    **dict.fromkeys(("per_device_train_batch_size", "per_device_eval_batch_size"), "the batch size of a process"),
    "max_grad_norm": "the comparison with 0",
    "gradient_accumulation_steps": "the number of updates in an epoch",
    "label_smoothing_factor": "the label smoother",
    "include_num_input_tokens_seen": "null differs from no, so tokens would be counted",
    "seed": "the random generators",
    **dict.fromkeys(("log_level", "log_level_replica"), "the table of levels"),
    "ddp_timeout": "the timeout of the process group",
    "batch_sampler": "rows would be trained one by one in their order",
    "multi_dataset_batch_sampler": "no sampler would be chosen",
}
"""Arguments whose null the installed class stores, and what fails or goes wrong with it later."""


def test_null_is_accepted_exactly_where_the_installed_class_works_with_it() -> None:
    from sentence_transformers import SentenceTransformerTrainingArguments

    refused_there, refused_here = set(), set()
    for name in [field.name for field in dataclasses.fields(SentenceTransformerTrainingArguments)]:
        try:
            SentenceTransformerTrainingArguments(**{"output_dir": "out", "use_cpu": True, name: None})
        except (TypeError, ValueError):
            refused_there.add(name)
        try:
            read({name: None})
        except ValidationError:
            refused_here.add(name)
    assert refused_there == REFUSED_NULLS
    assert refused_here == REFUSED_NULLS | FAILING_NULLS.keys()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("debug", []), ("fsdp", []), ("include_for_metrics", []), ("learning_rate_mapping", {}), ("router_mapping", {}),
        ("bf16", False), ("gradient_checkpointing", False), ("logging_nan_inf_filter", False),
        ("report_to", None), ("prompts", None),
    ],
)  # fmt: skip
def test_null_means_what_it_means_in_the_installed_class(name: str, value: Any) -> None:
    given = read({name: None})
    assert getattr(given, name) == value
    assert check_arguments(given) == []


@pytest.mark.parametrize(
    "name", ["do_train", "do_eval", "length_column_name", "remove_unused_columns", "eval_do_concat_batches"]
)
def test_null_unsets_an_argument_that_the_installed_trainer_does_not_read(name: str) -> None:
    given = read({name: None})
    assert getattr(given, name) == Arguments.model_fields[name].default
    assert name not in given.model_fields_set
    assert check_arguments(given) == []


def test_nulls_in_a_request_file_are_read_too() -> None:
    text = "model: m\ndata: {train: {docs: {path: a.csv, columns: {anchor: a, positive: b}}}}\nloss: cosent\n"
    names = ("debug", "fsdp", "router_mapping", "include_for_metrics")
    given = load_request(f"{text}arguments: {{{', '.join(f'{name}: null' for name in names)}}}\n").arguments
    assert [getattr(given, name) for name in names] == [[], [], {}, []]


ODD: list[Any] = [None, True, 0, -1, 2.5, 10**400, "", "x", "no", [], [[]], {}, {"a": [1]}, [None], ["a", {}]]


@pytest.mark.parametrize("name", Arguments.model_fields)
def test_an_odd_value_is_accepted_or_refused_and_never_a_crash(name: str) -> None:
    for value in ODD:
        for raw in ({name: value}, {**RECORDED_3_0["defaults"]["to_dict"], "eval_strategy": "no", name: value}):
            try:
                read(raw)
            except ValidationError as error:
                assert error.error_count() > 0  # noqa: PT017


@pytest.mark.parametrize("text", ["json", "yaml", "nested text"])
@pytest.mark.parametrize("release", ["3.0", "installed"])
def test_a_full_dump_in_a_request_file_is_read(text: str, release: str, tmp_path: Path) -> None:
    """Through the loader, which keeps the text of numbers until their type is known."""
    from embedstep.planning.rules import check_rules

    if release == "3.0":
        dump = json.loads(RECORDED_3_0["defaults"]["to_json_string"])
    else:
        from sentence_transformers import SentenceTransformerTrainingArguments

        dump = json.loads(SentenceTransformerTrainingArguments(output_dir="out").to_json_string())
    document = {
        "model": "folder",
        "data": {"train": {"docs": {"path": "a.csv", "columns": {"anchor": "a", "positive": "p"}}}},
        "loss": "multiple_negatives_ranking",
        "arguments": json.dumps(dump) if text == "nested text" else dump,
    }
    request = load_request(yaml.safe_dump(document) if text == "yaml" else json.dumps(document))
    assert request.arguments.is_dump
    assert check_rules(request) == []


def test_a_repeated_name_in_json_text_is_refused() -> None:
    with pytest.raises(ValidationError, match="max_steps occurs twice; keep one"):
        read('{"max_steps": 4, "seed": 1, "max_steps": 9}')


def test_booleans_and_numbers_in_settings_are_read_from_text() -> None:
    given = read({
        "accelerator_config": '{"split_batches": "false"}', "learning_rate_mapping": {"embeddings": "1e-2"},
        "gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": "no"},
        "include_num_input_tokens_seen": "True", "save_strategy": "False", "resume_from_checkpoint": True,
        "router_mapping": {"anchor": "on"},
    })  # fmt: skip
    assert given.accelerator_config == {"split_batches": False}
    assert given.learning_rate_mapping == {"embeddings": 0.01}
    assert given.activation_checkpointing_kwargs == {"use_reentrant": False}
    assert (given.include_num_input_tokens_seen, given.save_strategy) == ("all", "no")
    assert given.resume_from_checkpoint == "true"
    assert given.router_mapping == {"anchor": "on"}
    with pytest.raises(ValidationError, match="split_batch\n"):
        read({"accelerator_config": {"split_batch": True}})
