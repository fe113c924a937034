"""The inputs of a task that trains in pods of its own, which see a shared volume but no file of the task."""

import os
import shutil
import uuid
from dataclasses import replace
from pathlib import Path

from embedstep.errors import CannotStartError, InvalidRequestError, Problem
from embedstep.orchestration.task import Task
from embedstep.request.launch import TrainJob
from embedstep.runtime.digests import sha256_files

_FOLDER = "inputs"


def stage_inputs(task: Task, job: TrainJob) -> Task:
    """Copy the artifacts of a task to the volume of its pods, and return the task with the copies as inputs.

    A copy is named by its digest, so the same rows give the same request and are copied once.

    Raises:
        InvalidRequestError: the volume, from which the task also reads its outputs, is not mounted.
        CannotStartError: an artifact cannot be copied.
    """
    volume = next(Path(one.path) for one in job.volumes if job.output.startswith(f"{one.path}/"))
    if not volume.is_dir():
        message = f"{volume} is not mounted in this task, which reads the model from there; use with_volume(task, ...)"
        raise InvalidRequestError([Problem("launch.trainjob.output", message)])
    places = [Path(one.path) for one in job.volumes]
    folder = Path(job.output).with_name(_FOLDER)
    inputs = {
        name: path if any(path.is_relative_to(place) for place in places) else _copy(path, folder / name)
        for name, path in task.inputs.items()
    }
    return replace(task, inputs=inputs)


def _copy(source: Path, folder: Path) -> Path:
    # Without the name of the artifact, which may differ from run to run.
    target = folder / sha256_files(source, _files(source))[:16] / f"data{source.suffix}"
    staging = folder / f".{uuid.uuid4().hex}"
    try:
        if not target.exists():
            staging.mkdir(parents=True)
            (shutil.copytree if source.is_dir() else shutil.copyfile)(source, staging / target.name)
            # In one step, so that another task sees the whole copy or none.
            staging.rename(target.parent)
    except OSError as error:
        if not target.exists():  # another task may have been faster
            reason = os.strerror(error.errno or 0).lower()
            raise CannotStartError(f"{source} cannot be copied to the pods' volume at {folder}: {reason}") from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return target


def _files(source: Path) -> list[Path]:
    return [source] if source.is_file() else [file for file in sorted(source.rglob("*")) if file.is_file()]
