"""A pipeline of ZenML as a schedule of the active stack's orchestrator: what `embedstep schedule zenml` does."""

from importlib import import_module
from pathlib import Path
from typing import Any

from zenml.client import Client
from zenml.config.schedule import Schedule
from zenml.utils.source_utils import set_custom_source_root

from embedstep.errors import InvalidRequestError, Problem
from embedstep.orchestration.scheduled import Scheduled
from embedstep.request.schema import TrainRequest


def schedule_of(request: TrainRequest, name: str) -> Schedule:
    """Return ZenML's own description of a request's schedule.

    Raises:
        InvalidRequestError: ZenML cannot express it.
    """
    found = request.schedule
    assert found is not None
    if found.timezone != "UTC":
        told = (
            f"is {found.timezone}, and a schedule of ZenML has no time zone; write timezone: UTC, and the hours for it"
        )
        raise InvalidRequestError([Problem("schedule.timezone", told)])
    return Schedule(name=name, cron_expression=found.cron, catchup=found.catch_up)


def _pipeline(place: str) -> Any:
    module, sign, name = place.partition(":")
    # ZenML takes the folder of the program for that of the pipelines, and the program is embedstep here.
    set_custom_source_root(str(Path.cwd()))
    try:
        if sign:
            return getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InvalidRequestError([Problem("--pipeline", f"{place} cannot be loaded: {error}")]) from None
    raise InvalidRequestError([Problem("--pipeline", f"needs the form module:pipeline; {place!r} was given")])


def schedule_pipeline(request: TrainRequest, pipeline: str, *, name: str | None, dry_run: bool) -> Scheduled:
    """Have the active stack of ZenML run a pipeline at the times of a request's schedule.

    Args:
        request: has a schedule.
        pipeline: where the pipeline is, as `module:name`; it is called with the request.
        name: name of the schedule; None for that of the pipeline.
        dry_run: change nothing.

    Raises:
        InvalidRequestError: there is no such pipeline, or ZenML or its stack cannot schedule it.
    """
    runs = _pipeline(pipeline)
    wanted = schedule_of(request, name or runs.name)
    done = "would be created or replaced" if dry_run else _scheduled(runs, wanted, request)
    facts = (("schedule", f"{wanted.name} {done}"), ("catchup", str(wanted.catchup)), ("pipeline", pipeline))
    late = "what becomes of a run that is due while the one before still runs is the orchestrator's to say"
    return Scheduled(facts=facts, notes=(late,))


def _scheduled(runs: Any, wanted: Schedule, request: TrainRequest) -> str:
    client = Client()
    stack = client.active_stack
    if not stack.orchestrator.config.is_schedulable:
        told = (
            f"the orchestrator {stack.orchestrator.name!r} of the stack {stack.name!r} does not schedule; those of "
            "Kubernetes, Kubeflow, Airflow and the clouds do"
        )
        raise InvalidRequestError([Problem("schedule", told)])
    former = client.list_schedules(name=wanted.name).items
    if any(one.cron_expression == wanted.cron_expression and one.catchup == wanted.catchup for one in former):
        return "unchanged"
    runs.with_options(schedule=wanted)(request=request.model_dump_json(exclude_unset=True))
    # Only now: whatever fails before this leaves the former schedule as it is.
    for one in former:
        client.delete_schedule(one.id, soft=False)
    return "replaced" if former else "created"
