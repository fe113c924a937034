"""`embedstep schedule zenml`: a schedule for a pipeline in the orchestrator of the active stack."""

from importlib import import_module
from pathlib import Path
from typing import Any

from zenml.client import Client
from zenml.config.schedule import Schedule
from zenml.utils.source_utils import set_custom_source_root

from embedstep.errors import InvalidRequestError, Problem
from embedstep.orchestration.scheduled import Scheduled
from embedstep.request.schema import TrainRequest


def build_schedule(request: TrainRequest, name: str) -> Schedule:
    """Convert a request's schedule to ZenML's.

    Raises:
        InvalidRequestError: ZenML cannot express the schedule.
    """
    found = request.schedule
    assert found is not None
    if found.timezone != "UTC":
        message = f"is {found.timezone}, but schedules of ZenML have no time zone; write timezone: UTC and hours in UTC"
        raise InvalidRequestError([Problem("schedule.timezone", message)])
    return Schedule(name=name, cron_expression=found.cron, catchup=found.catch_up)


def _load_pipeline(place: str) -> Any:
    module, sign, name = place.partition(":")
    # ZenML looks for pipelines next to the program, which is embedstep here.
    set_custom_source_root(str(Path.cwd()))
    try:
        if sign:
            return getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InvalidRequestError([Problem("--pipeline", f"{place} cannot be loaded: {error}")]) from None
    raise InvalidRequestError([Problem("--pipeline", f"needs the form module:pipeline; {place!r} was given")])


def schedule_pipeline(request: TrainRequest, pipeline: str, *, name: str | None, dry_run: bool) -> Scheduled:
    """Schedule a pipeline in the active stack of ZenML.

    Args:
        request: a request with a schedule.
        pipeline: the pipeline as `module:name`; it is called with the request.
        name: name of the schedule; None for that of the pipeline.
        dry_run: change nothing.

    Raises:
        InvalidRequestError: the pipeline cannot be loaded, or ZenML or its stack cannot schedule it.
    """
    runs = _load_pipeline(pipeline)
    wanted = build_schedule(request, name or runs.name)
    done = "would be created or replaced" if dry_run else _apply(runs, wanted, request)
    facts = (("schedule", f"{wanted.name} {done}"), ("catchup", str(wanted.catchup)), ("pipeline", pipeline))
    note = "the orchestrator decides what happens to a run that is due while the previous one is still running"
    return Scheduled(facts=facts, notes=(note,))


def _apply(runs: Any, wanted: Schedule, request: TrainRequest) -> str:
    client = Client()
    stack = client.active_stack
    if not stack.orchestrator.config.is_schedulable:
        message = (
            f"the orchestrator {stack.orchestrator.name!r} of the stack {stack.name!r} cannot schedule; those of "
            "Kubernetes, Kubeflow, Airflow and the clouds can"
        )
        raise InvalidRequestError([Problem("schedule", message)])
    former = client.list_schedules(name=wanted.name).items
    if any(one.cron_expression == wanted.cron_expression and one.catchup == wanted.catchup for one in former):
        return "unchanged"
    runs.with_options(schedule=wanted)(request=request.model_dump_json(exclude_unset=True))
    # Last, so that a failure above leaves the former schedule in place.
    for one in former:
        client.delete_schedule(one.id, soft=False)
    return "replaced" if former else "created"
