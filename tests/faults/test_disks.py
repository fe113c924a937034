"""Disks that are full, or cannot be written, and checkpoints that something has damaged."""

import gc
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from embedstep.errors import CannotStartError
from embedstep.output.result import StepResult
from tests.faults.compared import lost
from tests.faults.conftest import Fault

Build = Callable[..., dict[str, Any]]
Train = Callable[..., StepResult]
ARGUMENTS = {"max_steps": 12, "logging_steps": 2, "save_strategy": "steps", "save_steps": 4}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=120m", "none", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def at_step(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[], None]], None]:
    """Return a function that has something done after the n-th train step."""
    from embedstep.worker.trainer.stopping import StopController

    step_end = StopController.on_step_end

    def arm(number: int, do: Callable[[], None]) -> None:
        def on_step_end(self: StopController, args: Any, state: Any, *more: Any, **options: Any) -> None:
            if state.global_step == number:
                do()
            step_end(self, args, state, *more, **options)

        monkeypatch.setattr(StopController, "on_step_end", on_step_end)

    return arm


def fill(disk: Path) -> None:
    with (disk / "ballast").open("wb") as file:
        try:
            while True:
                file.write(b"\0" * 65536)
        except OSError:
            return


@pytest.mark.fault("a disk that is full", "a checkpoint")
def test_a_full_disk(train_here: Train, request_of: Build, at_step: Any, fault: Fault, disk: Path) -> None:
    """The checkpoint before is whole, and with room again the next attempt resumes from it."""
    request = request_of(arguments=ARGUMENTS)
    whole = train_here(request, "whole")
    at_step(7, lambda: fill(disk))
    with pytest.raises(CannotStartError, match="cannot be written: no space left on device") as refused:
        train_here(request, "disk/cut")
    assert refused.value.exit_code == 3
    (disk / "ballast").unlink()
    at_step(0, lambda: None)
    result = train_here(request, "disk/cut")
    assert (result.exit_code, result.train_steps) == (0, 8)
    fault.came_to("3", lost(Path(whole.output), disk / "cut"))


@pytest.mark.fault("a disk that cannot be written", "the output folder")
def test_a_read_only_disk(train_here: Train, request_of: Build, fault: Fault, disk: Path) -> None:
    """What the attempt before has left there stays as it is."""
    request = request_of(arguments=ARGUMENTS)
    before = train_here(request, "disk/cut")
    assert before.exit_code == 0
    gc.collect()  # closes the files of a trainer that has been in this process
    mounted(disk, "ro")
    with pytest.raises(CannotStartError, match="disk/cut cannot be written: read-only file system"):
        train_here({**request, "arguments": {**ARGUMENTS, "overwrite_output_dir": True}}, "disk/cut")
    mounted(disk, "rw")
    assert json.loads((disk / "cut" / "result.json").read_text())["weights_sha256"] == before.weights_sha256
    fault.came_to("3", [] if (disk / "cut" / "model").is_dir() else ["model"])


def mounted(disk: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(disk)], check=True)


def broken_off(
    train_here: Train, request: dict[str, Any], at_step: Any, number: int, before: Callable[[], None] = lambda: None
) -> None:
    """Train until a failure after the n-th step; the next attempt has none.

    Args:
        train_here: the fixture.
        request: the request.
        at_step: the fixture.
        number: the train step.
        before: done right before the failure.
    """

    def stop() -> None:
        before()
        raise RuntimeError("the end of this attempt")

    at_step(number, stop)
    assert train_here(request, "cut").exit_code == 1
    at_step(0, lambda: None)


def cut_short(checkpoint: Path, name: str) -> str:
    file = checkpoint / name
    os.truncate(file, file.stat().st_size // 2)
    return f"{name} has"


def flip(checkpoint: Path, name: str) -> str:
    data = bytearray((checkpoint / name).read_bytes())
    data[len(data) // 2] ^= 1
    (checkpoint / name).write_bytes(data)
    return f"{name} was changed after it was written"


def remove(checkpoint: Path, name: str) -> str:
    (checkpoint / name).unlink()
    if name == "embedstep_manifest.json":
        return "it has no manifest and may be incomplete"
    return f"{name} is missing"


def garble(checkpoint: Path, name: str) -> str:
    (checkpoint / name).write_text("{")
    return "its manifest cannot be read"


@pytest.mark.fault("{damage.__name__} {name}", "the newest checkpoint")
@pytest.mark.parametrize(
    ("damage", "name"),
    [
        (cut_short, "optimizer.pt"),
        pytest.param(cut_short, "trainer_state.json", marks=pytest.mark.slow),
        (flip, "model.safetensors"),
        pytest.param(flip, "optimizer.pt", marks=pytest.mark.slow),
        pytest.param(remove, "scheduler.pt", marks=pytest.mark.slow),
        pytest.param(remove, "rng_state.pth", marks=pytest.mark.slow),
        pytest.param(remove, "embedstep_loop_0.json", marks=pytest.mark.slow),
        (remove, "embedstep_manifest.json"),
        pytest.param(garble, "embedstep_manifest.json", marks=pytest.mark.slow),
    ],
)
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_taken(
    train_here: Train, request_of: Build, at_step: Any, fault: Fault, tmp_path: Path,
    capfd: pytest.CaptureFixture[str], damage: Callable[[Path, str], str], name: str,
) -> None:  # fmt: skip
    request = request_of(arguments=ARGUMENTS)
    whole = train_here(request, "whole")
    broken_off(train_here, request, at_step, 9)
    message = damage(tmp_path / "cut" / "checkpoints" / "checkpoint-8", name)
    result = train_here(request, "cut")
    assert (result.exit_code, result.train_steps) == (0, 8)
    assert f"checkpoint-8 is skipped: {message}" in capfd.readouterr().err
    fault.came_to("0, from the one before", lost(Path(whole.output), tmp_path / "cut"))


@pytest.mark.fault("a clock that was set back between two attempts", "the checkpoints")
def test_rotation_and_resuming_go_by_the_step(
    train_here: Train, request_of: Build, at_step: Any, fault: Fault, tmp_path: Path
) -> None:
    request = request_of(arguments={**ARGUMENTS, "save_steps": 2, "save_total_limit": 2})
    whole = train_here(request, "whole")
    broken_off(train_here, request, at_step, 7)
    checkpoints = tmp_path / "cut" / "checkpoints"
    for path in checkpoints.iterdir():  # the newest looks as if it were the oldest
        step = int(path.name.split("-")[1])
        os.utime(path, (4e9 - step, 4e9 - step))
    result = train_here(request, "cut")
    assert (result.exit_code, result.train_steps) == (0, 6)
    assert sorted(path.name for path in checkpoints.iterdir()) == ["checkpoint-10", "checkpoint-12"]
    fault.came_to("0, from the newest step", lost(Path(whole.output), tmp_path / "cut"))


@pytest.mark.fault("a metrics file whose last line a kill has cut", "metrics.jsonl")
def test_a_cut_line(train_here: Train, request_of: Build, at_step: Any, fault: Fault, tmp_path: Path) -> None:
    request = request_of(arguments=ARGUMENTS)
    whole = train_here(request, "whole")

    def cut_line() -> None:
        with (tmp_path / "cut" / "metrics.jsonl").open("a") as file:
            file.write(json.dumps({"train_step": 8, "loss": 1.0})[:12])

    broken_off(train_here, request, at_step, 9, cut_line)
    assert train_here(request, "cut").exit_code == 0
    fault.came_to("0, each log once", lost(Path(whole.output), tmp_path / "cut"))


@pytest.mark.fault("a flipped bit", "attempts.json")
def test_a_flipped_bit_outside_the_checkpoints(
    train_here: Train, request_of: Build, at_step: Any, fault: Fault, tmp_path: Path
) -> None:
    """In a quotation mark, so that it is no JSON any more."""
    request = request_of(arguments=ARGUMENTS)
    whole = train_here(request, "whole")
    broken_off(train_here, request, at_step, 9)
    file = tmp_path / "cut" / "attempts.json"
    content = bytearray(file.read_bytes())
    content[content.rindex(b'"')] ^= 1
    file.write_bytes(bytes(content))
    assert train_here(request, "cut").exit_code == 0
    fault.came_to("0", lost(Path(whole.output), tmp_path / "cut"))
