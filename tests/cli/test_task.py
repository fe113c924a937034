"""`embedstep task` follows the table of components."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from embedstep.cli.program import main
from embedstep.orchestration import commands, components
from embedstep.orchestration.components import COMPONENTS, Component
from embedstep.orchestration.task import Task, executor_input, make_task


def greet(task: Task) -> dict[str, Any]:
    return {"hello": task.parameters["request"]}


GREET = Component(name="greet_all", command="greet", description="Greet all.", parameters=(), outputs=())


def test_every_component_has_a_command_and_its_function() -> None:
    listed = CliRunner().invoke(main, ["task", "--help"]).output
    for component in COMPONENTS.values():
        assert f"\n  {component.command} " in listed
        assert callable(getattr(commands, component.command))


def test_a_row_and_a_function_make_a_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(components, "COMPONENTS", {**COMPONENTS, GREET.name: GREET})
    monkeypatch.setattr(commands, "greet", greet, raising=False)
    task = executor_input(make_task(GREET, tmp_path, {"request": "world"}, {}))
    ended = CliRunner().invoke(main, ["task", "greet", "--executor-input", task])
    assert (ended.exit_code, json.loads(ended.stdout)) == (0, {"hello": "world"})


def test_an_unknown_command_is_refused() -> None:
    ended = CliRunner().invoke(main, ["task", "bake"])
    assert ended.exit_code == 2
    assert "No such command 'bake'" in ended.output
