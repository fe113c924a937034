"""The program as a whole: its help, its exit codes, and a reader of its output who leaves."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner

from embedstep.cli.program import main


def shown(*arguments: str) -> str:
    return CliRunner().invoke(main, arguments).output


def test_help_has_examples() -> None:
    for name in ("check", "plan", "run", "schema"):
        assert "Example" in shown(name, "--help")
    assert "75  interrupted" in shown("--help")
    assert shown("--version") == "embedstep, version 0.1.0\n"


@pytest.mark.parametrize(("sections", "code"), [({}, 0), ({"model": "./none"}, 2)])
def test_a_reader_who_leaves_changes_no_exit_code(
    request_file: Callable[..., str], sections: dict[str, Any], code: int
) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "embedstep", "plan", request_file(**sections)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        err = process.stderr.read()
    assert process.returncode == code
    assert b"Traceback" not in err


def test_the_program_ends_with_the_code_and_the_whole_output(request_file: Callable[..., str]) -> None:
    def program(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "embedstep", *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=dict(os.environ), check=False)

    assert len(json.loads(program("plan", request_file(), "--json").stdout)["ledger"]) == 151
    assert program("check", "none.yaml").returncode == 2
    assert program("bogus").returncode == 2
