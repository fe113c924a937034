"""The program as a whole: its help, its exit codes, and a reader of its output who leaves."""

import json
import os
import pty
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
    assert "75  The step was interrupted. Retry." in shown("--help")
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


def on_a_terminal(environ: dict[str, str], *arguments: str) -> str:
    """Run the program on a terminal, and return what it printed there."""
    master, terminal = pty.openpty()
    with os.fdopen(master, "rb", buffering=0) as reader:
        process = subprocess.Popen(
            [sys.executable, "-m", "embedstep", *arguments],
            stdin=subprocess.DEVNULL, stdout=terminal, stderr=terminal, env={**os.environ, "TERM": "xterm", **environ},
        )  # fmt: skip
        os.close(terminal)
        found = b""
        try:
            while part := reader.read(65536):
                found += part
        except OSError:
            # So a terminal ends when its last writer has closed it.
            pass
        process.wait(timeout=60)
    return found.decode().replace("\r\n", "\n")


@pytest.mark.parametrize(("environ", "has_colour"), [({}, True), ({"NO_COLOR": ""}, True), ({"NO_COLOR": "1"}, False)])
@pytest.mark.parametrize("sections", [{}, {"model": "./none"}], ids=["plan", "problems"])
def test_no_color_turns_off_colour(
    request_file: Callable[..., str], sections: dict[str, Any], environ: dict[str, str], has_colour: bool
) -> None:
    out = on_a_terminal({"COLUMNS": "90", **environ}, "plan", request_file(**sections))
    assert ("\x1b[" in out) is has_colour
    assert ("1 problem" if sections else "arguments\n") in out.replace("\x1b[0m", "")


@pytest.mark.parametrize(("columns", "is_list"), [("60", True), ("120", False)])
def test_a_terminal_s_width_is_used(request_file: Callable[..., str], columns: str, is_list: bool) -> None:
    out = on_a_terminal({"COLUMNS": columns, "NO_COLOR": "1"}, "plan", request_file())
    assert ("    batch share  100%\n" in out) is is_list
