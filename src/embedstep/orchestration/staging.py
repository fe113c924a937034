"""The inputs of a task whose training happens in pods of its own, which see a volume and no file of the task."""

import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from embedstep.errors import CannotStartError, InvalidRequestError, Problem
from embedstep.orchestration.task import Task
from embedstep.request.launch import TrainJob

_FOLDER = "inputs"


def with_shared_inputs(task: Task, job: TrainJob) -> Task:
    """Copy the artifacts of a task to the volume of its pods, beside the output folder, and return the task with those.

    A copy is named by its content: the same rows are the same request, and are copied once.

    Raises:
        InvalidRequestError: the volume is not there, from which the task takes its outputs too.
    """
    volume = next(Path(one.path) for one in job.volumes if job.output.startswith(f"{one.path}/"))
    if not volume.is_dir():
        told = f"{volume} is not mounted in this task, which takes the model from there; with_volume(task, ...) does it"
        raise InvalidRequestError([Problem("launch.trainjob.output", told)])
    places = [Path(one.path) for one in job.volumes]
    folder = Path(job.output).with_name(_FOLDER)
    inputs = {
        name: path if any(path.is_relative_to(place) for place in places) else _copied(path, folder / name)
        for name, path in task.inputs.items()
    }
    return replace(task, inputs=inputs)


def _copied(source: Path, folder: Path) -> Path:
    target = folder / _digest(source) / f"data{source.suffix}"
    aside = folder / f".{uuid.uuid4().hex}"
    try:
        if not target.exists():
            aside.mkdir(parents=True)
            (shutil.copytree if source.is_dir() else shutil.copyfile)(source, aside / target.name)
            aside.rename(target.parent)
    except OSError as error:
        if not target.exists():  # and not because another task has been faster
            told = f"{source} cannot be copied to {folder}, where the pods would see it"
            raise CannotStartError(f"{told}: {os.strerror(error.errno or 0).lower()}") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return target


def _digest(source: Path) -> str:
    digest = hashlib.sha256()
    for file in _files(source):
        with file.open("rb") as stream:
            content = hashlib.file_digest(stream, "sha256").digest()
        # Not with the name of the artifact itself, which may be another in each run of a pipeline.
        digest.update(file.relative_to(source).as_posix().encode() + content)
    return digest.hexdigest()[:16]


def _files(source: Path) -> Iterator[Path]:
    if source.is_file():
        yield source
    else:
        yield from (file for file in sorted(source.rglob("*")) if file.is_file())
