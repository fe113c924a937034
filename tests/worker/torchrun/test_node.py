"""torchrun with a record of how its ranks ended."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from embedstep.worker.torchrun.node import _last_lines
from tests.conftest import wait_for


def test_the_last_lines_are_shown_without_secrets(tmp_path: Path) -> None:
    folder = tmp_path / "run_1" / "attempt_0" / "3"
    folder.mkdir(parents=True)
    assert _last_lines(tmp_path, 3) == []
    file = folder / "stderr.log"
    file.write_text("one\nwith hf_abcdefghijklmnopqrstuvwxyz\n")
    assert _last_lines(tmp_path, 3) == ["one", "with ***"]
    file.write_text("\n".join(f"line {number} " + "x" * 300 for number in range(100_000)))
    message = _last_lines(tmp_path, 3)
    assert [line[:10] for line in message] == [f"line {number}" for number in range(99_980, 100_000)]
    file.write_text("x" * 1_000_000)
    assert _last_lines(tmp_path, 3) == []


def started(output: Path, rank: str, *, processes: int = 1) -> "subprocess.Popen[str]":
    """Start the agent as the launcher does, which keeps its end of the pipe; the ranks are a script of the shell."""
    (output / "attempt").mkdir(parents=True)
    agent = subprocess.Popen(
        [
            sys.executable, "-m", "embedstep.worker.torchrun.agent", str(output), "shared", "60", "30", "0",
            "--standalone", f"--nproc-per-node={processes}", "--no-python", "sh", "-c", rank,
        ],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert agent.stdin is not None
    agent.stdin.write("train")
    agent.stdin.flush()
    return agent


@pytest.mark.torchrun
def test_the_code_and_the_last_lines_of_the_first_rank_that_failed_are_kept(tmp_path: Path) -> None:
    rank = 'if [ "$RANK" = 1 ]; then echo "these are its last words" >&2; exit 7; fi; sleep 60'
    agent = started(tmp_path / "out", rank, processes=2)
    code = agent.wait(60)
    out, err = agent.communicate()
    assert code == 7, err
    ranks = {one["rank"]: one for one in json.loads((tmp_path / "out" / "attempt" / "ranks-0.json").read_text())}
    assert (ranks[1]["exit_code"], ranks[1]["log"], ranks[1]["no_memory"]) == (7, ["these are its last words"], "")
    assert "these are its last words\n" in err
    assert "Traceback" not in out + err


@pytest.mark.torchrun
def test_the_ranks_end_with_the_process_that_has_started_them(tmp_path: Path) -> None:
    """As after `kill -9`: nobody would publish the model, and GPUs would stay occupied."""
    rank = f"trap 'exit 75' TERM; touch {tmp_path}/begun; while true; do sleep 0.1; done"
    agent = started(tmp_path / "out", rank)
    wait_for((tmp_path / "begun").exists)
    _, err = agent.communicate(timeout=60)
    assert agent.returncode == 75, err
    assert "the process that started this training is gone; ending the training\n" in err
