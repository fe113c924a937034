"""Ranks that are there before torchrun is, and have what torchrun gives a rank once it starts them."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

import pytest

from embedstep.worker.torchrun.early_ranks import EarlyRanks, become_rank

RANK = """
import os, sys
from embedstep.worker.torchrun.early_ranks import become_rank

before = os.environ.get("RANK")
become_rank(os.environ)
print(before, os.environ["RANK"], os.environ.get("EMBEDSTEP_EARLY_RANK"), sys.stdin.read() == "", *sys.argv[1:])
print("to the log", file=sys.stderr)
sys.exit(int(os.environ["RANK"]))
"""


class Handler:
    """What torch opens for a rank, and how it starts one: here with a command that says so."""

    def __init__(self, stdout: TextIO | None, stderr: TextIO | None) -> None:
        self._stdout, self._stderr = stdout, stderr

    def _popen(self, args: tuple[str, ...], env: Mapping[str, str]) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(["sh", "-c", "exit 99"])


@pytest.fixture
def handler() -> type[Any]:
    """A class of its own for each test, as the ranks replace its method."""
    return type("Handler", (Handler,), {})


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "a_rank.py").write_text(RANK)
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}


@pytest.mark.interpreter
def test_a_rank_gets_its_environment_and_its_output_when_it_is_started(
    tmp_path: Path, handler: type[Any], environ: dict[str, str]
) -> None:
    ranks = EarlyRanks.start(["out", "--standalone", "--nproc-per-node=2", "-m", "a_rank", "x"], environ)
    ranks.serve(handler)
    args = (sys.executable, "-u", "-m", "a_rank", "x")
    codes = []
    for rank in ("0", "3"):
        out, err = tmp_path / f"out{rank}", tmp_path / f"err{rank}"
        with out.open("w") as stdout, err.open("w") as stderr:
            codes.append(handler(stdout, stderr)._popen(args, {**environ, "RANK": rank}).wait(60))
        assert out.read_text() == f"None {rank} None True x\n"
        assert err.read_text() == "to the log\n"
    # A third one, and another program, are started as ever.
    codes += [handler(None, None)._popen(given, environ).wait(60) for given in (args, ("sh",))]
    assert codes == [0, 3, 99, 99]


@pytest.mark.interpreter
def test_a_rank_that_has_died_has_failed(tmp_path: Path, handler: type[Any], environ: dict[str, str]) -> None:
    (tmp_path / "a_rank.py").write_text("raise SystemExit(5)")
    ranks = EarlyRanks.start(["--standalone", "--nproc-per-node=1", "-m", "a_rank"], environ)
    ranks.serve(handler)
    assert ranks._processes[0].wait(60) == 5
    # More than a pipe holds, so that writing it fails.
    started = handler(None, None)._popen((sys.executable, "-u", "-m", "a_rank"), {"RANK": "0" * 200_000})
    assert started.wait(60) == 5


@pytest.mark.interpreter
def test_ranks_that_torchrun_does_not_take_end(handler: type[Any], environ: dict[str, str]) -> None:
    """As where it was given another interpreter; they would keep memory until the end of the training."""
    ranks = EarlyRanks.start(["--standalone", "--nproc-per-node=2", "-m", "a_rank"], environ)
    waiting = list(ranks._processes)
    ranks.serve(handler)
    assert handler(None, None)._popen(("another", "-m", "a_rank"), environ).wait(60) == 99
    assert [process.wait(60) for process in waiting] == [0, 0]


@pytest.mark.parametrize(
    "argv",
    [
        ["--nnodes=2", "--nproc-per-node=1", "-m", "a_rank"],
        ["--standalone", "--nproc-per-node=1", "--no-python", "sh"],
        ["--standalone", "-m", "a_rank"],
        ["--standalone", "--nproc-per-node=gpu", "-m", "a_rank"],
    ],
)
def test_other_ranks_are_left_to_torchrun(argv: list[str], handler: type[Any], environ: dict[str, str]) -> None:
    ranks = EarlyRanks.start(argv, environ)
    ranks.serve(handler)
    assert handler(None, None)._popen((), environ).wait(60) == 99


@pytest.mark.interpreter
def test_a_rank_that_is_never_started_ends(environ: dict[str, str], tmp_path: Path) -> None:
    code = "import os; from embedstep.worker.torchrun.early_ranks import become_rank; become_rank(os.environ); print(1)"
    ended = subprocess.run(
        [sys.executable, "-c", code], env={**environ, "EMBEDSTEP_EARLY_RANK": "1"}, stdin=subprocess.DEVNULL,
        capture_output=True, check=True,
    )  # fmt: skip
    assert ended.stdout == b""


def test_any_other_process_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps({"environ": {"RANK": "1"}, "files": {}})))
    environ = {"RANK": "0"}
    become_rank(environ)
    assert environ == {"RANK": "0"}
