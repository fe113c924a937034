"""Signals, kills and failures of real processes under torchrun."""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.conftest import wait_for
from tests.faults.compared import lost
from tests.faults.conftest import Fault
from tests.faults.processes import FAULTS, Attempt, faulty, trained

pytestmark = [pytest.mark.torchrun, pytest.mark.slow]
Build = Callable[..., dict[str, Any]]
Whole = Callable[[int], Path]
STEPS = 60
ARGUMENTS = {
    "max_steps": STEPS, "save_strategy": "steps", "save_steps": 10, "eval_strategy": "steps", "eval_steps": 15,
    "logging_steps": 2, "save_total_limit": 2,
}  # fmt: skip


@pytest.fixture
def document(evaluated: Build) -> Callable[..., dict[str, Any]]:
    """Build the request of these tests."""

    def build(processes: int, **launch: Any) -> dict[str, Any]:
        return evaluated(arguments=ARGUMENTS, launch={"processes_per_node": processes, **launch})

    return build


@pytest.fixture(scope="module")
def folder_of_wholes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the trainings are that nobody disturbs."""
    return tmp_path_factory.mktemp("whole")


@pytest.fixture
def whole(folder_of_wholes: Path, document: Build) -> Whole:
    """Return the training with so many processes that nobody disturbs, made once."""

    def made(processes: int) -> Path:
        output = f"whole-{processes}"
        if not (folder_of_wholes / output / "model").exists():
            trained(folder_of_wholes, document(processes), output)
        return folder_of_wholes / output

    return made


def error_of(attempt: Attempt) -> Any:
    return json.loads((attempt.output / "error.json").read_text())


def signal_it(attempt: Attempt, whom: str) -> None:
    """Send SIGTERM."""
    match whom:
        case "the step":
            attempt.process.terminate()
        case "torchrun":
            attempt.torchrun.terminate()
        case "the last rank":
            attempt.ranks[-1].terminate()
        case "all processes":
            for process in attempt.everything:
                process.terminate()


@pytest.mark.fault("SIGTERM to {whom}", "training, {processes} processes")
@pytest.mark.parametrize(
    ("whom", "processes"),
    [("the step", 1), ("the step", 2), ("torchrun", 2), ("the last rank", 2), ("all processes", 2)],
)
def test_sigterm(document: Build, whole: Whole, fault: Fault, tmp_path: Path, whom: str, processes: int) -> None:
    """All ranks stop after the same step, save, and say so; the next attempt resumes there."""
    attempt = Attempt(tmp_path, document(processes), "cut")
    attempt.wait_for_logs(3)
    signal_it(attempt, whom)
    output = attempt.ends(75, within=20)
    assert "Traceback" not in output
    message = error_of(attempt)["message"]
    assert message.startswith("interrupted by SIGTERM after train step ")
    step = int(message.split("train step ")[1].split(" of ")[0])
    assert (attempt.output / "checkpoints" / f"checkpoint-{step}").is_dir()
    output = Attempt(tmp_path, document(processes), "cut").ends(0)
    assert f"resuming after train step {step} of {STEPS}" in output
    fault.came_to(f"75 after step {step}", lost(whole(processes), tmp_path / "cut", resumed=True))


@pytest.mark.fault("Ctrl-C", "training")
def test_ctrl_c(document: Build, fault: Fault, whole: Whole, tmp_path: Path) -> None:
    """A person sees what happens now, and what the same key does once more."""
    attempt = Attempt(tmp_path, document(1), "cut")
    attempt.wait_for_logs(3)
    attempt.process.send_signal(signal.SIGINT)
    output = attempt.ends(75)
    assert "SIGINT: saving a checkpoint and ending within 25 s. Press Ctrl-C again to end now." in output
    assert "Traceback" not in output
    trained(tmp_path, document(1), "cut")
    fault.came_to("75", lost(whole(1), tmp_path / "cut", resumed=True))


def signalled_while_saving(folder: Path, request: dict[str, Any], **fault: str) -> Attempt:
    """An attempt that has received SIGTERM in its second save, in which its first rank waits."""
    sign = folder / "saving"
    attempt = Attempt(folder, request, "cut", **faulty("wait", "second save", rank=0, FAULT_SIGN=str(sign), **fault))
    wait_for(sign.exists)
    attempt.process.terminate()
    return attempt


@pytest.mark.fault("a second SIGTERM", "a checkpoint that takes long")
def test_a_second_signal_shortens(document: Build, fault: Fault, whole: Whole, tmp_path: Path) -> None:
    attempt = signalled_while_saving(tmp_path, document(1))
    time.sleep(1.5)
    attempt.process.terminate()
    output = attempt.ends(75, within=15)
    assert error_of(attempt)["message"].startswith("interrupted by SIGTERM, and again before it had saved; ")
    output = Attempt(tmp_path, document(1), "cut").ends(0)
    assert f"resuming after train step 10 of {STEPS}" in output
    fault.came_to("75", lost(whole(1), tmp_path / "cut", resumed=True))


@pytest.mark.fault("SIGTERM", "a checkpoint that takes longer than torchrun's 30 s")
def test_a_long_grace_is_given(document: Build, fault: Fault, whole: Whole, tmp_path: Path) -> None:
    """Saving takes 35 s, and the request gives it 60."""
    request = document(2, grace_seconds=60)
    attempt = signalled_while_saving(tmp_path, request, FAULT_SECONDS="35")
    attempt.ends(75, within=55)
    assert error_of(attempt)["message"].startswith("interrupted by SIGTERM after train step ")
    trained(tmp_path, request, "cut")
    fault.came_to("75 after 35 s", lost(whole(2), tmp_path / "cut", resumed=True))


@pytest.mark.fault("a checkpoint that takes longer than the grace", "SIGTERM")
def test_the_grace_is_kept(document: Build, fault: Fault, whole: Whole, tmp_path: Path) -> None:
    request = document(2, grace_seconds=6)
    attempt = signalled_while_saving(tmp_path, request)
    attempt.ends(75, within=10)
    assert error_of(attempt)["message"].startswith("interrupted by SIGTERM, and had not saved within 5 s; ")
    trained(tmp_path, request, "cut")
    fault.came_to("75 within the grace", lost(whole(2), tmp_path / "cut", resumed=True))


@pytest.mark.fault("kill -9 of the rank that saves", "a checkpoint, {processes} processes")
@pytest.mark.parametrize("processes", [1, 2])
def test_a_kill_while_saving(document: Build, whole: Whole, fault: Fault, tmp_path: Path, processes: int) -> None:
    """What was being written is none, and the next attempt resumes from the one before."""
    attempt = Attempt(tmp_path, document(processes), "cut", **faulty("kill", "second save", rank=0))
    attempt.ends(1)
    assert [path.name for path in (attempt.output / "checkpoints").glob("checkpoint-*")] == ["checkpoint-10"]
    output = Attempt(tmp_path, document(processes), "cut").ends(0)
    assert f"resuming after train step 10 of {STEPS}" in output
    fault.came_to("1, the checkpoint before taken", lost(whole(processes), attempt.output, resumed=True))


@pytest.mark.fault("kill -9 of {whom}", "training, {processes} processes")
@pytest.mark.parametrize(
    ("whom", "processes", "code"),
    [("a rank", 2, 1), ("torchrun", 1, 1), ("the step", 2, -9), ("all processes", 2, -9)],
)
def test_kill(
    document: Build, whole: Whole, fault: Fault, tmp_path: Path, whom: str, processes: int, code: int
) -> None:  # fmt: skip
    """The others end within seconds, and the next attempt resumes from the last whole checkpoint."""
    attempt = Attempt(tmp_path, document(processes), "cut")
    attempt.wait_for_checkpoint(10)
    processes_of_it = attempt.everything
    match whom:
        case "a rank":
            attempt.ranks[-1].kill()
        case "torchrun":
            attempt.torchrun.kill()
        case "the step":
            attempt.process.kill()
        case "all processes":
            for process in reversed(processes_of_it):
                process.kill()
    killed = time.monotonic()
    attempt.ends(code)
    _, alive = psutil.wait_procs(processes_of_it, timeout=10)
    assert not [left for left in alive if left.is_running() and left.status() != psutil.STATUS_ZOMBIE]
    seconds = time.monotonic() - killed
    assert seconds < 10, "a dead peer is found within 10 s"
    trained(tmp_path, document(processes), "cut")
    fault.came_to(f"{code}, all gone after {seconds:.1f} s", lost(whole(processes), tmp_path / "cut", resumed=True))


@pytest.mark.fault("{what}", "one of two ranks")
@pytest.mark.parametrize(
    ("what", "at", "code", "kind", "message"),
    [
        ("raise", "plan", 1, "ValueError", "injected on this rank, with the token ***"),
        ("raise", "step", 1, "ValueError", "injected on this rank, with the token ***"),
        ("exit", "plan", 1, "exit", "rank 1 ended with code 7"),
        ("memory", "plan", 4, "MemoryError", "injected"),
        ("torch memory", "step", 4, "RuntimeError", "DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_the_failing_rank_stands_first(
    request_of: Build, tmp_path: Path, fault: Fault, what: str, at: str, code: int, kind: str, message: str
) -> None:
    request = request_of(launch={"processes_per_node": 2})
    attempt = Attempt(tmp_path, request, "cut", **faulty(what, at, rank=1))
    output = attempt.ends(code)
    error = error_of(attempt)
    assert (error["rank"], error["kind"]) == (1, kind)
    assert message in error["message"]
    assert error["log"][-1:] == (["these were its last words"] if what == "exit" else [])
    assert output.count("last words") == (what == "exit")
    first = error["message"].splitlines()[0]
    assert (first if first.startswith("rank 1 ") else f"rank 1: {first}") in output
    assert output.count("failed first") <= 1
    assert "ChildFailedError" not in output
    assert "hf_abc" not in output + (attempt.output / "error.json").read_text()
    assert not (attempt.output / "model").exists()
    fault.came_to(f"{code}, rank 1 named", None)


@pytest.mark.interpreter  # whose imports are the start-up
@pytest.mark.fault("SIGTERM to {whom}", "start-up")
@pytest.mark.parametrize("whom", ["the step", "the last rank"])
def test_a_signal_at_the_start(document: Build, fault: Fault, tmp_path: Path, whom: str) -> None:
    """There is nothing to save yet."""
    attempt = Attempt(tmp_path, document(2), "cut")
    attempt.wait_for_ranks(2)
    time.sleep(1)
    signal_it(attempt, whom)
    output = attempt.ends(75)
    assert "Traceback" not in output
    assert error_of(attempt)["message"].startswith("interrupted by SIGTERM; ")
    fault.came_to("75", None)


@pytest.mark.fault("SIGTERM to {whom}", "an evaluator, shared out over 2 processes in unequal parts")
@pytest.mark.parametrize("whom", ["the step", "the last rank"])
def test_an_evaluator_is_left_together(evaluated: Build, fault: Fault, tmp_path: Path, whom: str) -> None:
    """The ranks have unequal numbers of batches in it; none waits for another, and the next attempt evaluates again."""
    arguments = {**ARGUMENTS, "max_steps": 3, "eval_steps": 1, "logging_steps": 1, "per_device_eval_batch_size": 8}
    request = evaluated(arguments=arguments, launch={"processes_per_node": 2, "grace_seconds": 30})
    rows = [{"anchor": f"what is {number}", "positive": f"the number {number} " * 20} for number in range(2501)]
    (tmp_path / "eval.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    request["data"]["eval"]["docs"]["path"] = str(tmp_path / "eval.jsonl")
    attempt = Attempt(tmp_path, request, "cut")
    attempt.wait_for_logs(2)
    time.sleep(3)
    signal_it(attempt, whom)
    output = attempt.ends(75, within=15)
    assert "Traceback" not in output
    assert error_of(attempt)["message"].startswith("interrupted by SIGTERM after train step ")
    trained(tmp_path, request, "cut")
    fault.came_to("75", lost(trained(tmp_path, request, "whole"), tmp_path / "cut"))


@pytest.mark.fault("SIGTERM to the workers of the loader", "training")
def test_loader_workers_are_shielded(evaluated: Build, fault: Fault, tmp_path: Path) -> None:
    """A signal to every process of a container reaches them too; the rank still needs their batches."""
    request = evaluated(arguments={**ARGUMENTS, "dataloader_num_workers": 2})
    trained(tmp_path, request, "whole")
    attempt = Attempt(tmp_path, request, "cut")
    attempt.wait_for_logs(3)
    (rank,) = attempt.ranks
    workers = [child for child in rank.children() if "embedstep.worker" in child.cmdline()]
    assert len(workers) == 2
    for worker in workers:
        worker.terminate()
    attempt.ends(0)
    fault.came_to("0, trained to the end", lost(tmp_path / "whole", attempt.output))


@pytest.mark.fault("SIGTERM", "the model is saved, after the training")
def test_a_model_that_is_being_saved_is_finished(document: Build, fault: Fault, whole: Whole, tmp_path: Path) -> None:
    """All that is left is to give it its name."""
    sign = tmp_path / "saving"
    environ = faulty("wait", "model", rank=0, FAULT_SIGN=str(sign), FAULT_SECONDS="1")
    attempt = Attempt(tmp_path, document(2), "cut", **environ)
    wait_for(sign.exists)
    attempt.process.terminate()
    attempt.ends(0)
    fault.came_to("0, the model is there", lost(whole(2), attempt.output))


@pytest.mark.fault("{what}", "the model goes to the hub, after the training")
@pytest.mark.parametrize(("what", "fault_of", "code"), [("SIGTERM", "wait", 75), ("an upload that fails", "raise", 1)])
def test_an_upload_is_done_again(
    document: Build, fault: Fault, whole: Whole, tmp_path: Path, what: str, fault_of: str, code: int
) -> None:  # fmt: skip
    """What was trained is not trained again."""
    request = document(1, grace_seconds=6)
    request["arguments"] |= {"push_to_hub": True, "hub_model_id": "org/m", "hub_strategy": "end"}
    sign, uploads = tmp_path / "uploading", tmp_path / "uploads.jsonl"
    environ = {"UPLOADS_TO": str(uploads)}
    attempt = Attempt(tmp_path, request, "cut", **faulty(fault_of, "upload", rank=0, FAULT_SIGN=str(sign), **environ))
    if what == "SIGTERM":
        wait_for(sign.exists)
        attempt.process.terminate()
    attempt.ends(code)
    assert not uploads.exists()
    shown = Attempt(tmp_path, request, "cut", PYTHONPATH=FAULTS, **environ).ends(0)
    assert f"resuming after train step {STEPS} of {STEPS}" in shown
    (upload,) = map(json.loads, uploads.read_text().splitlines())
    assert upload["repo_id"] == "org/m"
    assert "model.safetensors" in upload["files"]
    fault.came_to(f"{code}, then uploaded without training", lost(whole(1), attempt.output))


@pytest.mark.fault("two launches of one output folder", "training")
def test_one_attempt_at_a_time(document: Build, fault: Fault, whole: Whole, tmp_path: Path) -> None:
    first = Attempt(tmp_path, document(1), "cut")
    first.wait_for_logs(1)
    second = Attempt(tmp_path, document(1), "cut")
    output = second.ends(3)
    assert "is in use by another step; wait for that, or choose another" in output
    output = first.ends(0)
    ghost = Attempt(tmp_path, document(1), "cut")
    output = ghost.ends(2)
    assert "holds a finished model; add --overwrite, or choose another folder" in output
    fault.came_to("3 for the second, 2 for a ghost", lost(whole(1), tmp_path / "cut"))


@pytest.mark.fault("a rank that stands still (SIGSTOP), then SIGTERM", "training, 2 processes")
def test_a_rank_that_stands_still_does_not_keep_the_others(
    document: Build, fault: Fault, whole: Whole, tmp_path: Path
) -> None:
    request = document(2, grace_seconds=6)
    attempt = Attempt(tmp_path, request, "cut")
    attempt.wait_for_checkpoint(10)
    os.kill(attempt.ranks[1].pid, signal.SIGSTOP)
    attempt.process.terminate()
    attempt.ends(75, within=10)
    trained(tmp_path, request, "cut")
    fault.came_to("75 within the grace", lost(whole(2), tmp_path / "cut", resumed=True))


@pytest.mark.fault("a rank that stands still", "an exchange of 2 processes")
def test_a_rank_that_stands_still_is_named(document: Build, fault: Fault, whole: Whole, tmp_path: Path) -> None:
    """The limit is the request's own, and torchrun gives the silent one its 30 s to end."""
    request = document(2)
    request["arguments"] = {**request["arguments"], "ddp_timeout": 8}
    sign = tmp_path / "still"
    attempt = Attempt(tmp_path, request, "cut", **faulty("wait", "step", rank=1, FAULT_SIGN=str(sign)))
    wait_for(sign.exists)
    attempt.ends(75, within=50)
    assert error_of(attempt)["message"].startswith("rank 1 did not answer for as long as arguments.ddp_timeout allows")
    trained(tmp_path, request, "cut")
    fault.came_to("75, the silent one named", lost(whole(2), tmp_path / "cut"))


@pytest.mark.fault("kill -9 of a rank, with launch.max_restarts", "training, 2 processes")
def test_all_are_started_again(document: Build, fault: Fault, whole: Whole, tmp_path: Path) -> None:
    """Within one attempt, from the last whole checkpoint, as often as the request says and no more."""
    attempt = Attempt(tmp_path, document(2, max_restarts=1), "cut")
    attempt.wait_for_checkpoint(10)
    attempt.ranks[-1].kill()
    output = attempt.ends(0)
    assert "rank 1 was killed by SIGKILL" in output
    assert "restarting all processes (1 of 1)" in output
    result = json.loads((attempt.output / "result.json").read_text())
    assert (result["restarts"], result["train_steps"]) == (1, STEPS)
    fault.came_to("0 after one restart", lost(whole(2), attempt.output))


@pytest.mark.fault("a rank that raises in every start", "training")
def test_starts_are_counted(request_of: Build, fault: Fault, tmp_path: Path) -> None:
    request = request_of(launch={"max_restarts": 2}, arguments={"max_steps": 6})
    attempt = Attempt(tmp_path, request, "cut", **faulty("raise", "step", rank=0))
    output = attempt.ends(1)
    assert output.count("restarting all processes") == 2
    assert error_of(attempt)["message"].startswith("injected on this rank")
    fault.came_to("1 after two restarts", None)
