"""The types of adapters and their options are those of the installed PEFT."""

from typing import Any

import pytest

from embedstep.planning import adapter_kinds
from embedstep.planning.adapter_kinds import (
    ADAPTER_TYPES,
    adapter_options,
    check_kind,
    default_targets,
    installed_options,
)

pytest.importorskip("peft")
LORA = {"peft_type": "LORA"}


def problems(given: dict[str, Any]) -> list[str]:
    return [str(problem) for problem in check_kind(given)]


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"r": "sixteen"}, "model.peft.r: must be int, not 'sixteen'"),
        ({"r": 16.5}, "model.peft.r: must be int, not 16.5"),
        ({"bias": "some"}, "model.peft.bias: must be Literal['none', 'all', 'lora_only'], not 'some'"),
        ({"target_modules": 3}, "model.peft.target_modules: must be Optional[Union[list[str], str]], not 3"),
        ({"merge": "maybe"}, "model.peft.merge: must be true or false, not 'maybe'"),
        ({"peft_type": "LILY"},
         "model.peft.merge: LILY cannot be merged; write false, which publishes the adapter alone"),
        ({"inference_mode": True}, "model.peft.inference_mode: must be False, not True"),
        ({"task_type": "SEQ_CLS"}, "model.peft.task_type: must be FEATURE_EXTRACTION, not 'SEQ_CLS'"),
        ({"init_lora_weights": "eva"},
         "model.peft.init_lora_weights: is eva, which needs a preparation before the training; remove it"),
        ({"layer_replication": [[0, 1]]},
         "model.peft.layer_replication: makes a model of other layers, into which the adapter cannot be merged"),
        ({"eva_config": {"rho": 2.0}},
         "model.peft.eva_config: takes an object of PEFT's own, which a request cannot say"),
        ({"peft_type": "VERA"},
         "model.peft.peft_type: VERA shares state between layers, which sentence-transformers' add_adapter does not "
         "take"),
        ({"peft_type": "PROMPT_TUNING"},
         "model.peft.peft_type: PROMPT_TUNING puts trained tokens before each text, which sentence-transformers' "
         "add_adapter does not take"),
    ],
)  # fmt: skip
def test_what_peft_or_a_training_would_not_take_is_refused(given: dict[str, Any], problem: str) -> None:
    assert problems({**LORA, **given}) == [problem]


@pytest.mark.parametrize(
    ("given", "begin", "end"),
    [
        ({}, "model.peft.peft_type: is missing; known are LORA, ADAMSS, ", "WAVEFT"),
        ({"peft_type": "LORAA"}, "model.peft.peft_type: 'LORAA' is not a type of adapter; ", "did you mean LORA?"),
        ({**LORA, "lora_alfa": 8}, "model.peft.lora_alfa: is not an option of LORA in PEFT; it has r, ",
         "did you mean lora_alpha?"),
    ],
)  # fmt: skip
def test_an_unknown_name_gets_the_known_ones(given: dict[str, Any], begin: str, end: str) -> None:
    (problem,) = problems(given)
    assert problem.startswith(begin)
    assert problem.endswith(end)


def test_numbers_are_what_their_types_say() -> None:
    given = {**LORA, "r": "16", "lora_alpha": 32.0, "lora_dropout": "1e-1", "merge": False, "task_type": None}
    assert problems(given) == []
    assert adapter_options(given) == {"r": 16, "lora_alpha": 32, "lora_dropout": 0.1}


def test_all_types_are_those_of_the_installed_release() -> None:
    from peft import PeftType
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING

    refused = set(adapter_kinds._REFUSED)
    assert {kind.value for kind in PEFT_TYPE_TO_CONFIG_MAPPING} == {*ADAPTER_TYPES, *refused}
    for kind in ADAPTER_TYPES:
        config = PEFT_TYPE_TO_CONFIG_MAPPING[PeftType(kind)]
        assert not PEFT_TYPE_TO_TUNER_MAPPING[PeftType(kind)].uses_shared_state
        common = {"task_type", "peft_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision",
                  "inference_mode"}  # fmt: skip
        fields = {name for name, field in config.__dataclass_fields__.items() if field.init}
        assert set(installed_options(kind) or ()) == fields - common, kind


def test_the_modules_of_a_kind_of_model_are_those_of_peft() -> None:
    assert default_targets("bert") == ["query", "value"]
    assert default_targets("modernbert") is None


def test_options_are_left_to_the_run_where_peft_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter_kinds, "_package", lambda: None)
    adapter_kinds.installed_options.cache_clear()
    try:
        assert problems({**LORA, "rank": 4}) == []
        assert default_targets("bert") is None
        assert adapter_options({**LORA, "rank": 4}) == {"rank": 4}
    finally:
        adapter_kinds.installed_options.cache_clear()
