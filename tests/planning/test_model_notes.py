"""What a plan says of its model: what may surprise, memory, prompts and limits."""

from pathlib import Path
from typing import Any

import pytest

from embedstep.planning.model_notes import explain_model, plan_model
from embedstep.planning.prompts import PlannedPrompts, plan_prompts
from embedstep.request.model import Model
from tests.model_files import CONFIG, write_model
from tests.planning.test_checks import request
from tests.planning.test_model_checks import facts_of


@pytest.mark.parametrize(("architecture", "added"), [("BertModel", "the mean"), ("Qwen3ForCausalLM", "the last token")])
def test_pooling_that_is_added_is_noted(tmp_path: Path, architecture: str, added: str) -> None:
    section = Model(path=str(write_model(tmp_path, modules=None, config={**CONFIG, "architectures": [architecture]})))
    (note,) = explain_model(section, facts_of(section))
    assert note.startswith(f"the model's files name no pooling, so that an embedding is {added}")


@pytest.mark.parametrize(
    ("optimizer", "asked", "size"),
    [
        ("adamw_torch", {}, 16),
        ("adamw_torch", {"dtype": "bfloat16"}, 8),
        ("sgd", {}, 8),
        ("adafactor", {}, 8),
        ("adamw_bnb_8bit", {}, 10),
        ("lion_32bit", {}, 12),
    ],
)
def test_the_memory_of_weights_gradients_and_optimizer(
    tmp_path: Path, optimizer: str, asked: dict[str, Any], size: int
) -> None:
    section = Model(path=str(write_model(tmp_path)), model_kwargs=asked)
    planned = plan_model(section, facts_of(section), optimizer, PlannedPrompts())
    assert planned is not None
    assert planned.memory_bytes == 1376 * size


def test_the_plan_shows_prompts_and_limits_as_the_request_changes_them(tmp_path: Path) -> None:
    folder = write_model(tmp_path, settings={"prompts": {"query": "q: "}})
    section = Model(path=str(folder), prompts={"document": "d: "}, max_seq_length=16)
    facts = facts_of(section)
    planned = plan_model(section, facts, "adamw_torch", plan_prompts(request(model=section.model_dump()), facts))
    assert planned is not None
    assert (planned.prompts, planned.max_seq_length) == ({"query": "q: ", "document": "d: "}, 16)
