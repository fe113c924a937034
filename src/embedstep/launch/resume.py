"""Where an attempt resumes: at a checkpoint that the request names, or at the newest complete one in its folder."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from embedstep.errors import OK, InvalidRequestError, Problem
from embedstep.output.checkpoints import LatestCheckpoint, checkpoints_in, latest_checkpoint
from embedstep.output.folder import OutputFolder
from embedstep.output.position import position_problems
from embedstep.output.result import is_complete, read_json, result_from_json, write_atomically, write_json
from embedstep.planning.plan import Plan
from embedstep.planning.rules import LAST_CHECKPOINT
from embedstep.request.schema import TrainRequest


@dataclass(frozen=True, kw_only=True, slots=True)
class ResumePoint:
    """Where an attempt begins.

    Attributes:
        checkpoint: the checkpoint to resume from; None begins at the first step.
        step: train step of that checkpoint, 0 without one.
        skipped: newer checkpoints, and why each is not used.
        is_here: whether the checkpoint is in the output folder.
        elapsed_seconds: seconds of wall time that earlier starts of the attempt have taken.
        named: the checkpoint that the request names, if it is in the output folder and the training began there.
    """

    checkpoint: str | None = None
    step: int = 0
    skipped: tuple[str, ...] = ()
    is_here: bool = False
    elapsed_seconds: float = 0.0
    named: str | None = None


def can_resume(request: TrainRequest, folder: OutputFolder) -> bool:
    """Whether the attempt may resume from a checkpoint in the output folder, so that these must be kept.

    Args:
        request: the request.
        folder: the output folder, as the previous attempt has left it.
    """
    given = request.arguments.resume_from_checkpoint
    if given is not None and given not in LAST_CHECKPOINT and _is_in(Path(given).expanduser(), folder):
        return True
    if given in LAST_CHECKPOINT or request.resume == "required":
        return True
    return request.resume == "auto" and any(checkpoints_in(folder.checkpoints)) and not _is_complete(folder)


def _is_complete(folder: OutputFolder) -> bool:
    """Whether the previous attempt is complete, so that resuming it would train nothing."""
    try:
        before = result_from_json(read_json(folder.result))
    except (OSError, ValueError, TypeError, KeyError):
        return False
    return before.exit_code == OK and is_complete(before.stop_reason) and folder.model.exists()


def find_resume_point(request: TrainRequest, plan: Plan, folder: OutputFolder, *, resumes: bool) -> ResumePoint:
    """Return where the attempt begins: at a checkpoint or at the first step.

    Args:
        request: the request.
        plan: its plan.
        folder: the output folder, as the previous attempt has left it.
        resumes: whether it may resume from a checkpoint there (`can_resume`).

    Raises:
        InvalidRequestError: a checkpoint is required, and there is none, or it has another order of rows.
    """
    given = request.arguments.resume_from_checkpoint
    if given is not None and given not in LAST_CHECKPOINT:
        return _resume_from_named(Path(given).expanduser(), plan, folder, resumes=resumes)
    if not resumes:
        return ResumePoint()
    # `resume_from_checkpoint` resumes with changed arguments, too, as in the library.
    found = latest_checkpoint(folder.checkpoints, None if given else plan.trained_from)
    if found.checkpoint is None:
        if given or request.resume == "required":
            field = "arguments.resume_from_checkpoint" if given else "resume"
            message = f"is {given or request.resume}, and there is no complete checkpoint in {folder.checkpoints}"
            begins = "resume: auto, the default, begins at the first step where there is none"
            raise InvalidRequestError([Problem(field, "; ".join([message, *found.skipped, begins]))])
        return ResumePoint(skipped=found.skipped)
    is_compared = given is not None and not request.arguments.ignore_data_skip
    if is_compared and (problems := list(position_problems(found.checkpoint, plan.position))):
        raise InvalidRequestError(problems)
    return _resume_from(found)


def _resume_from(found: LatestCheckpoint) -> ResumePoint:
    return ResumePoint(checkpoint=str(found.checkpoint), step=found.step, skipped=found.skipped, is_here=True)


def _resume_from_named(named: Path, plan: Plan, folder: OutputFolder, *, resumes: bool) -> ResumePoint:
    """Return the checkpoint that the request names, or a newer one of an attempt that began there.

    The named one may have been removed by `save_total_limit` since.
    """
    is_here = _is_in(named, folder)
    own = str(named) if is_here else None
    step = _read_last_step(named)
    if resumes and (own is None or _read_began_at(folder) == own):
        found = latest_checkpoint(folder.checkpoints, plan.trained_from)
        if found.step > (step or 0):
            return replace(_resume_from(found), named=own)
    if step is None:
        message = f"{named} is missing or incomplete: its trainer_state.json cannot be read"
        raise InvalidRequestError([Problem("arguments.resume_from_checkpoint", message)])
    return ResumePoint(checkpoint=str(named), step=step, is_here=is_here, named=own)


def _read_last_step(checkpoint: Path) -> int | None:
    try:
        return int(read_json(checkpoint / "trainer_state.json")["global_step"])
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _read_began_at(folder: OutputFolder) -> str | None:
    """Return the checkpoint in the folder that the previous attempt began at because the request named it, or None."""
    return folder.initial_checkpoint.read_text(encoding="utf-8") if folder.initial_checkpoint.exists() else None


def begin_attempt(folder: OutputFolder, start: ResumePoint) -> None:
    """Remove the files of the previous attempt except what this one resumes from, and save that for the workers."""
    folder.clear(with_checkpoints=False)
    resume_at(folder, start)


def resume_at(folder: OutputFolder, start: ResumePoint) -> None:
    """Remove the files of the training except what this start resumes from, and save that for the workers."""
    if start.skipped and start.checkpoint is None:
        # They may hold hours of training, and be skipped because of a mistake in the request.
        kept = folder.archive_checkpoints(0)
        start = replace(start, skipped=(*start.skipped, f"the skipped ones are kept in {kept}"))
    if start.named is not None and start.named == start.checkpoint and _has_come_further(folder, start.step):
        kept = folder.archive_checkpoints(start.step)
        start = replace(start, skipped=(*start.skipped, f"later ones than {Path(start.named).name} are kept in {kept}"))
    folder.clear_training(with_checkpoints=not start.is_here)
    folder.initial_checkpoint.unlink(missing_ok=True)
    if start.named is not None:
        write_atomically(folder.initial_checkpoint, start.named)
    if folder.metrics.exists():
        lines = folder.metrics.read_text(encoding="utf-8", errors="replace")
        write_atomically(folder.metrics, "".join(_kept_metrics(lines, start)))
    write_json(folder.start, asdict(start))


def _has_come_further(folder: OutputFolder, step: int) -> bool:
    return any(other > step for other, _ in checkpoints_in(folder.checkpoints))


def _is_in(checkpoint: Path, folder: OutputFolder) -> bool:
    return checkpoint.resolve().is_relative_to(folder.checkpoints.resolve())


def _kept_metrics(lines: str, start: ResumePoint) -> Iterator[str]:
    """Yield the lines of metrics that the resumed training will not log again: up to the checkpoint.

    Of the checkpoint's own step these are the ones that were logged before it was saved: an evaluation after that is
    repeated. Damaged lines are dropped.
    """
    if start.checkpoint is None:
        return
    state = read_json(Path(start.checkpoint) / "trainer_state.json")
    known = sum(log["step"] == start.step for log in state["log_history"])
    for line in lines.splitlines(keepends=True):
        step = _read_step(line)
        if step is None:
            continue
        known -= step == start.step
        if step < start.step or (step == start.step and known >= 0):
            yield line


def _read_step(line: str) -> int | None:
    """Return the train step of a line of metrics; None if the line is cut or damaged."""
    try:
        return int(json.loads(line)["train_step"]) if line.endswith("\n") else None
    except (ValueError, KeyError, TypeError):
        return None
