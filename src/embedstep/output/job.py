"""Jobs for modules of `worker.jobs`: JSON in, work in a process of its own, JSON or a failure out.

The work needs libraries that take seconds to import, and memory that is free again when the process ends.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from embedstep.errors import OK, CannotStartError, EmbedstepError, InvalidRequestError, StepInterruptedError
from embedstep.output.result import read_json, write_atomically, write_json
from embedstep.runtime.process import LaunchCommand, run_process

_JOB, _RESULT, _FAILURE = "job.json", "result.json", "failure.json"


def run_job(
    module: str,
    job: Mapping[str, Any],
    folder: Path,
    *,
    title: str,
    error: type[EmbedstepError],
    shows_progress: bool = False,
) -> Any:
    """Run `python -m MODULE FOLDER`, and return what `serve_job` wrote there.

    Args:
        module: module of `embedstep.worker.jobs`.
        job: the job, as plain data.
        folder: folder for the files of this job, made if missing.
        title: the job in words, for the message of a process that ended without one.
        error: class of the error then.
        shows_progress: whether the libraries may show progress bars.

    Raises:
        InvalidRequestError: the job was refused.
        CannotStartError: the process could not be started, or something that the job needs is missing.
        StepInterruptedError: a signal arrived.
        EmbedstepError: the job failed in another way; an `error`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / _JOB, job)
    argv = (sys.executable, "-m", f"embedstep.worker.jobs.{module}", str(folder))
    quiet = {} if shows_progress else {"TQDM_DISABLE": "1"}
    end = run_process(LaunchCommand(argv=argv, env={**os.environ, **quiet}))
    if end.signalled is not None:
        raise StepInterruptedError(end.signalled)
    if end.code != OK:
        message = f"{title} ended with code {end.code}; see the output above"
        raise _read_failure(folder / _FAILURE) or error(message)
    return read_json(folder / _RESULT)


def _read_failure(file: Path) -> EmbedstepError | None:
    if not file.exists():
        return None
    failure = read_json(file)
    if failure["problems"]:
        return InvalidRequestError.from_lines(failure["problems"])
    return CannotStartError(failure["message"])


def serve_job(work: Callable[[dict[str, Any], Path], Any], folder: Path) -> int:
    """Do the job in a folder, in the process that `run_job` started, and return the exit code.

    Args:
        work: gets the job and the folder, and returns plain data.
        folder: folder of the job.
    """
    try:
        result = work(read_json(folder / _JOB), folder)
    except (InvalidRequestError, CannotStartError) as error:
        problems = [str(problem) for problem in error.problems] if isinstance(error, InvalidRequestError) else []
        write_json(folder / _FAILURE, {"problems": problems, "message": str(error)})
        return error.exit_code
    # Not `write_json`, which refuses NaN: a model that diverged has such scores.
    write_atomically(folder / _RESULT, json.dumps(result))
    return OK
