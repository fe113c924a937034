"""The forms in which arguments come: dumps of either era, JSON text, floats for integers, enum values, live objects."""

import json
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from embedstep.request.arguments.schema import Arguments
from tests.places import SEED_ERA

CASES = [case for case in SEED_ERA["constructor_single"] if "to_dict_changed" in case]


def read(raw: Any) -> Arguments:
    return Arguments.model_validate(raw)


def chosen(arguments: Arguments) -> dict[str, Any]:
    """What was chosen, without what every dump of the seed holds."""
    everywhere = {"output_dir", "logging_dir", "prediction_loss_only"}
    return {name: getattr(arguments, name) for name in arguments.model_fields_set - everywhere}


def test_a_dump_of_the_seed_s_defaults_chooses_nothing() -> None:
    text = SEED_ERA["defaults"]["to_json_string"]
    for raw in (text, json.loads(text), SEED_ERA["defaults"]["to_dict"]):
        assert read(raw).is_dump
        assert chosen(read(raw)) == {}


def test_a_dump_of_today_s_defaults_chooses_nothing() -> None:
    from sentence_transformers import SentenceTransformerTrainingArguments

    live = SentenceTransformerTrainingArguments(output_dir="out", use_cpu=False)
    for raw in (live, live.to_dict(), live.to_json_string()):
        assert read(raw).is_dump
        # The optimizer is said, because it is another one than the seed's default.
        assert chosen(read(raw)) == {"optim": "adamw_torch_fused"}
        assert read(raw).output_dir == "out"


@pytest.mark.parametrize(
    ("given", "today"),
    [
        ({"learning_rate": 3e-4, "num_train_epochs": 2.0}, {}),
        ({"eval_strategy": "steps", "eval_steps": 7}, {"do_eval": True}),
        ({"batch_sampler": "no_duplicates", "seed": 3}, {}),
        ({"save_strategy": "epoch", "gradient_accumulation_steps": 4}, {}),
        ({"prompts": {"anchor": "query: "}, "use_cpu": True}, {}),
    ],
    ids=str,
)
def test_a_live_object_of_today_gives_what_it_was_given(given: dict[str, Any], today: dict[str, Any]) -> None:
    from sentence_transformers import SentenceTransformerTrainingArguments

    live = SentenceTransformerTrainingArguments(output_dir="out", **given)
    found = {
        name: value for name, value in chosen(read(live)).items() if name not in ("dataloader_pin_memory", "optim")
    }
    assert {name: value for name, value in found.items() if name not in today} == given


def test_a_token_in_a_live_object_is_never_taken_over() -> None:
    from sentence_transformers import SentenceTransformerTrainingArguments

    live = SentenceTransformerTrainingArguments(output_dir="out", hub_token="hf_plantedplantedplanted")
    assert read(live).hub_token is None
    assert "planted" not in repr(read(live))


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["kwargs"])[:60])
def test_a_dump_of_the_seed_reads_as_what_it_was_made_from(case: dict[str, Any]) -> None:
    """The dump of one constructor call holds the value that the call gave, where we accept it at all."""
    dump = {**SEED_ERA["defaults"]["to_dict"], **case["to_dict_changed"]}
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
"""What a dump holds of the machine and of secrets, and so chooses nothing by."""
REFUSED_IN_DUMPS = {
    "learning_rate", "weight_decay", "seed", "per_device_train_batch_size", "max_steps", "warmup_steps", "adam_epsilon",
    "num_train_epochs", "log_level", "log_level_replica", "logging_steps", "save_steps", "eval_steps", "debug", "fsdp",
}  # fmt: skip
"""Arguments that the seed's class stored unchecked, such as text for a number or a log level that does not exist."""


def test_integers_that_became_floats_and_texts_are_repaired() -> None:
    found = read({"max_steps": 10.0, "per_device_train_batch_size": "16", "seed": 3.0, "learning_rate": "2e-5"})
    assert (found.max_steps, found.per_device_train_batch_size, found.seed, found.learning_rate) == (10, 16, 3, 2e-5)


class Sampler(Enum):
    """An enum as either era has them."""

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
    assert read({"hub_token": placeholder, "push_to_hub_token": placeholder}).hub_token is None


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
def test_older_names_are_today_s(older: dict[str, Any], name: str, value: object) -> None:
    assert getattr(read(older), name) == value


ODD: list[Any] = [None, True, 0, -1, 2.5, 10**400, "", "x", "no", [], [[]], {}, {"a": [1]}, [None], ["a", {}]]


@pytest.mark.parametrize("name", Arguments.model_fields)
def test_no_odd_value_of_an_argument_is_more_than_refused(name: str) -> None:
    for value in ODD:
        for raw in ({name: value}, {**SEED_ERA["defaults"]["to_dict"], "eval_strategy": "no", name: value}):
            try:
                read(raw)
            except ValidationError as error:
                assert error.error_count() > 0  # noqa: PT017


@pytest.mark.parametrize("text", ["json", "yaml", "nested text"])
@pytest.mark.parametrize("era", ["seed", "today"])
def test_a_full_dump_in_a_request_file_is_read(text: str, era: str, tmp_path: Path) -> None:
    """Through the front door, where numbers and words keep their look until their type is known."""
    from embedstep.planning.rules import check_rules
    from embedstep.request.loading import load_request

    if era == "seed":
        dump = json.loads(SEED_ERA["defaults"]["to_json_string"])
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


def test_a_name_that_stands_twice_in_json_text_is_refused() -> None:
    with pytest.raises(ValidationError, match="max_steps stands twice; keep one"):
        read('{"max_steps": 4, "seed": 1, "max_steps": 9}')


def test_words_and_numbers_in_settings_are_what_they_say() -> None:
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
