"""Arguments as they were written: plain data that reads back as equal arguments."""

import json
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedstep.request.arguments.lossless import to_lossless
from embedstep.request.arguments.schema import Arguments
from embedstep.request.arguments.types import AcceleratorConfig, FromEnvironment

LOSSLESS: list[dict[str, Any]] = [
    {},
    {"evaluation_strategy": "steps"},
    {"eval_strategy": "epoch", "evaluation_strategy": "steps"},
    {"tpu_metrics_debug": True},
    {"tpu_metrics_debug": True, "debug": ["underflow_overflow"]},
    {"dispatch_batches": True, "split_batches": True},
    {"dispatch_batches": True, "accelerator_config": {"even_batches": False}},
    {"fsdp_min_num_params": 100, "fsdp_transformer_layer_cls_to_wrap": "BertLayer"},
    {"fsdp_min_num_params": 100, "fsdp_config": {"min_num_params": 5, "xla": True}},
    {"push_to_hub_token": {"from_env": "HF_TOKEN"}},
    {"logging_steps": 1.0, "save_steps": 10},
]


@pytest.mark.parametrize("written", LOSSLESS)
def test_current_names_that_reading_added_are_left_out(written: dict[str, Any]) -> None:
    assert to_lossless(Arguments.model_validate(written)) == written


def test_a_current_name_that_reading_would_add_is_left_out() -> None:
    arguments = Arguments.model_validate({"evaluation_strategy": "steps", "eval_strategy": "steps"})
    assert to_lossless(arguments) == {"evaluation_strategy": "steps"}


TEXTS = st.text(max_size=5).filter(lambda text: text not in ("None", "NULL", "Null", "nil"))
JSON = st.dictionaries(TEXTS, st.none() | st.booleans() | st.integers() | TEXTS | st.lists(TEXTS), max_size=3)


def values_of(annotation: Any) -> st.SearchStrategy[Any]:
    """Any value of a field's type."""
    simple: dict[Any, st.SearchStrategy[Any]] = {
        bool: st.booleans(),
        int: st.integers(-(2**63) + 1, 2**63 - 1),
        float: st.floats(allow_nan=False, allow_infinity=False),
        str: TEXTS,
        type(None): st.none(),
        FromEnvironment: st.builds(FromEnvironment, from_env=st.sampled_from(["HF_TOKEN", "other_1"])),
    }
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return values_of(inner[0])
    if origin is Literal:
        return st.sampled_from(inner)
    if origin in (Union, UnionType):
        return st.one_of(*map(values_of, inner))
    if origin is list:
        return st.lists(values_of(inner[0]), max_size=3)
    if origin is dict:
        is_any = get_origin(inner[1]) is Annotated and get_args(inner[1])[0] is Any
        return JSON if is_any else st.dictionaries(TEXTS, values_of(inner[1]), max_size=2)
    if annotation is AcceleratorConfig:
        return st.fixed_dictionaries(
            {},
            optional={name: values_of(kind) for name, kind in get_type_hints(annotation, include_extras=True).items()},
        )
    return simple[annotation]


FIELDS = st.fixed_dictionaries(
    {}, optional={name: values_of(field.annotation) for name, field in Arguments.model_fields.items()}
)


def no_json_by_chance(values: dict[str, Any]) -> bool:
    """Whether no text begins like JSON, which a field for mappings would read."""
    return not any(isinstance(value, str) and value.lstrip().startswith("{") for value in values.values())


def test_a_default_that_was_changed_in_place_counts_as_written() -> None:
    arguments = Arguments(seed=3)
    arguments.debug.append("underflow_overflow")
    assert to_lossless(arguments) == {"seed": 3, "debug": ["underflow_overflow"]}


@given(FIELDS.filter(no_json_by_chance))
def test_the_lossless_form_reads_back_equal(values: dict[str, Any]) -> None:
    arguments = Arguments.model_validate(values)
    again = Arguments.model_validate(json.loads(json.dumps(to_lossless(arguments))))
    assert again == arguments
    assert again.model_fields_set == arguments.model_fields_set
    assert again.is_dump == arguments.is_dump
