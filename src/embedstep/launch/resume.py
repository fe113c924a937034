"""What an attempt goes on from: a checkpoint that the request names, or the newest whole one of the attempt before."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from embedstep.errors import OK, InvalidRequestError, Problem
from embedstep.output.checkpoints import LatestCheckpoint, checkpoints_in, latest_checkpoint
from embedstep.output.folder import OutputFolder
from embedstep.output.position import position_problems
from embedstep.output.result import read_json, result_from_json, write_json, write_whole
from embedstep.planning.plan import Plan
from embedstep.planning.rules import LAST_CHECKPOINT
from embedstep.request.schema import TrainRequest


@dataclass(frozen=True, kw_only=True, slots=True)
class ResumePoint:
    """Where an attempt begins.

    Attributes:
        checkpoint: the checkpoint that it goes on from; None begins anew.
        step: the last train step of that which counts.
        skipped: newer checkpoints, and why each is not taken.
        is_here: it lies in the output folder.
        elapsed_seconds: seconds of wall time that earlier starts of the attempt have taken.
        named: the checkpoint that the request names, where that lies in the output folder and the training began there.
    """

    checkpoint: str | None = None
    step: int = 0
    skipped: tuple[str, ...] = ()
    is_here: bool = False
    elapsed_seconds: float = 0.0
    named: str | None = None


def can_resume(request: TrainRequest, folder: OutputFolder) -> bool:
    """Whether the attempt may go on from a checkpoint in the output folder, so that those must not be cleared.

    Args:
        request: the request.
        folder: the output folder, as the attempt before has left it.
    """
    given = request.arguments.resume_from_checkpoint
    if given is not None and given not in LAST_CHECKPOINT and _is_in(Path(given).expanduser(), folder):
        return True
    if given in LAST_CHECKPOINT or request.resume == "required":
        return True
    return request.resume == "auto" and any(checkpoints_in(folder.checkpoints)) and not _has_ended_well(folder)


def _has_ended_well(folder: OutputFolder) -> bool:
    """Whether the attempt before has done all that it was to, so that going on would train nothing."""
    try:
        before = result_from_json(read_json(folder.result))
    except (OSError, ValueError, TypeError, KeyError):
        return False
    return before.exit_code == OK and before.stop_reason is None and folder.model.exists()


def find_resume_point(request: TrainRequest, plan: Plan, folder: OutputFolder, *, resumes: bool) -> ResumePoint:
    """Return where the attempt begins.

    Args:
        request: the request.
        plan: its plan.
        folder: the output folder, as the attempt before has left it.
        resumes: whether it may go on from a checkpoint there (`can_resume`).

    Raises:
        InvalidRequestError: a checkpoint is asked for, and there is none; or its rows came in another order.
    """
    given = request.arguments.resume_from_checkpoint
    if given is not None and given not in LAST_CHECKPOINT:
        return _named(Path(given).expanduser(), plan, folder, resumes=resumes)
    if not resumes:
        return ResumePoint()
    # The library's own word goes on with other arguments, too.
    found = latest_checkpoint(folder.checkpoints, None if given else plan.trained_from)
    if found.checkpoint is None:
        if given or request.resume == "required":
            field = "arguments.resume_from_checkpoint" if given else "resume"
            message = f"is {given or request.resume}, and there is no whole checkpoint in {folder.checkpoints}"
            begins = "resume: auto, which is the default, begins anew where there is none"
            raise InvalidRequestError([Problem(field, "; ".join([message, *found.skipped, begins]))])
        return ResumePoint(skipped=found.skipped)
    is_compared = given is not None and not request.arguments.ignore_data_skip
    if is_compared and (problems := list(position_problems(found.checkpoint, plan.position))):
        raise InvalidRequestError(problems)
    return _from(found)


def _from(found: LatestCheckpoint) -> ResumePoint:
    return ResumePoint(checkpoint=str(found.checkpoint), step=found.step, skipped=found.skipped, is_here=True)


def _named(named: Path, plan: Plan, folder: OutputFolder, *, resumes: bool) -> ResumePoint:
    """Begin at a checkpoint that the request names, or where an attempt that began there has come to since.

    By then the named one may be among those that `save_total_limit` has removed.
    """
    is_here = _is_in(named, folder)
    own = str(named) if is_here else None
    step = _last_step_of(named)
    if resumes and (own is None or _began_at(folder) == own):
        found = latest_checkpoint(folder.checkpoints, plan.trained_from)
        if found.step > (step or 0):
            return replace(_from(found), named=own)
    if step is None:
        message = f"{named} is not there, or torn: its trainer_state.json cannot be read"
        raise InvalidRequestError([Problem("arguments.resume_from_checkpoint", message)])
    return ResumePoint(checkpoint=str(named), step=step, is_here=is_here, named=own)


def _last_step_of(checkpoint: Path) -> int | None:
    try:
        return int(read_json(checkpoint / "trainer_state.json")["global_step"])
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _began_at(folder: OutputFolder) -> str | None:
    """Return the checkpoint in its own folder that the attempt before was to begin at, or None."""
    return folder.began_at.read_text(encoding="utf-8") if folder.began_at.exists() else None


def begin_attempt(folder: OutputFolder, start: ResumePoint) -> None:
    """Leave of the attempt before what this one goes on from, and tell the workers of it."""
    folder.clear(with_checkpoints=False)
    resume_at(folder, start)


def resume_at(folder: OutputFolder, start: ResumePoint) -> None:
    """Leave of the training what this start goes on from, and tell the workers of it."""
    if start.skipped and start.checkpoint is None:
        # Hours of training may be in them, and the difference a mistake.
        aside = folder.set_checkpoints_aside(0)
        start = replace(start, skipped=(*start.skipped, f"what is skipped is kept in {aside}"))
    if start.named is not None and start.named == start.checkpoint and _has_come_further(folder, start.step):
        aside = folder.set_checkpoints_aside(start.step)
        start = replace(start, skipped=(*start.skipped, f"what came after {Path(start.named).name} is kept in {aside}"))
    folder.clear_training(with_checkpoints=not start.is_here)
    folder.began_at.unlink(missing_ok=True)
    if start.named is not None:
        write_whole(folder.began_at, start.named)
    if folder.metrics.exists():
        lines = folder.metrics.read_text(encoding="utf-8", errors="replace")
        write_whole(folder.metrics, "".join(_until(lines, start)))
    write_json(folder.start, asdict(start))


def _has_come_further(folder: OutputFolder, step: int) -> bool:
    return any(other > step for other, _ in checkpoints_in(folder.checkpoints))


def _is_in(checkpoint: Path, folder: OutputFolder) -> bool:
    return checkpoint.resolve().is_relative_to(folder.checkpoints.resolve())


def _until(lines: str, start: ResumePoint) -> Iterator[str]:
    """Give the metrics of what is not done again: of the steps before, and of its step those that the checkpoint knows.

    What was evaluated after the checkpoint at its step is evaluated again. A line that cannot be read is none.
    """
    if start.checkpoint is None:
        return
    state = read_json(Path(start.checkpoint) / "trainer_state.json")
    known = sum(log["step"] == start.step for log in state["log_history"])
    for line in lines.splitlines(keepends=True):
        step = _step_of(line)
        if step is None:
            continue
        known -= step == start.step
        if step < start.step or (step == start.step and known >= 0):
            yield line


def _step_of(line: str) -> int | None:
    """Return the train step of a line of metrics; one that was cut or damaged has none."""
    try:
        return int(json.loads(line)["train_step"]) if line.endswith("\n") else None
    except (ValueError, KeyError, TypeError):
        return None
