"""Trainings of our own beside those of a person: a probe, a replay. Nobody records them, and they begin anew."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from embedstep.errors import OK
from embedstep.launch.failures import AttemptFailedError
from embedstep.output.result import StepResult
from embedstep.request.schema import Tracking, TrainRequest
from embedstep.step import run_step


def unrecorded(request: TrainRequest, arguments: Mapping[str, Any]) -> TrainRequest:
    """Return a request that is recorded and pushed nowhere, goes on from no checkpoint, and trains in any case.

    Args:
        request: the request.
        arguments: training arguments that are others, too.
    """
    otherwise = {"resume_from_checkpoint": None, "push_to_hub": False, "report_to": ["none"], **arguments}
    return request.model_copy(
        update={
            "arguments": request.arguments.model_copy(update=otherwise),
            "tracking": Tracking(kind="none"),
            # Here, and not in the folder that pods write to.
            "launch": request.launch.model_copy(update={"kind": "local", "nodes": 1, "trainjob": None}),
            "skip_if_unchanged": False,
            "schedule": None,
        }
    )


def run_well(request: TrainRequest, output: Path, *, overwrite: bool = False) -> StepResult:
    """Run a request to its end, and return its result only where that is good.

    Args:
        request: the request.
        output: the output folder.
        overwrite: replace a finished model that lies there.

    Raises:
        EmbedstepError: as `run_step`.
        AttemptFailedError: the training has failed, in the way that its exit code tells.
    """
    result = run_step(request, output, overwrite=overwrite)
    if result.exit_code != OK:
        assert result.failure is not None
        raise AttemptFailedError(result.failure)
    return result
