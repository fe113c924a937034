"""Commands on a run that has ended, where there is none: each refuses with a sentence and exit code 2."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from embedstep.cli.program import main

Build = Callable[..., dict[str, Any]]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


@pytest.fixture
def request_file(evaluated: Build, tmp_path: Path) -> str:
    (tmp_path / "request.yaml").write_text(yaml.safe_dump(evaluated(tracking={"kind": "none"})))
    return str(tmp_path / "request.yaml")


@pytest.mark.parametrize("command", ["report", "replay", "sync"])
def test_a_folder_without_a_run_is_refused(command: str, tmp_path: Path) -> None:
    ended = run(command, str(tmp_path / "none"))
    assert (ended.exit_code, ended.stdout) == (2, "")
    assert str(tmp_path / "none") in ended.stderr
    assert not (tmp_path / "none").exists()


def test_a_gate_without_a_model_is_refused(request_file: str, tmp_path: Path) -> None:
    ended = run("promote", request_file, str(tmp_path / "none"))
    assert ended.exit_code == 2
    assert str(tmp_path / "none") in ended.stderr


def test_scores_need_a_model(request_file: str) -> None:
    assert "--model" in run("evaluate", request_file).stderr
    assert run("evaluate", request_file, "--model", "nameless").exit_code == 2


def test_a_request_without_a_registry_has_nothing_to_roll_back(request_file: str) -> None:
    ended = run("rollback", request_file)
    assert ended.exit_code == 2
    assert "register_as" in ended.stderr
