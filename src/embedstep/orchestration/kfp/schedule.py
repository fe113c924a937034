"""`embedstep schedule kubeflow`: a recurring run of a compiled pipeline in Kubeflow Pipelines."""

import io
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml
from kfp_server_api import ApiException
from urllib3.exceptions import HTTPError

from embedstep.errors import CannotStartError, EmbedstepError, InvalidRequestError, Problem, first_line
from embedstep.launch.kubernetes.pods import parse_object
from embedstep.orchestration.scheduled import Scheduled
from embedstep.orchestration.task import read_document
from embedstep.request.loading import load_request
from embedstep.request.schema import TrainRequest
from embedstep.runtime.digests import sha256_text

SCHEDULED_TIME = "[[ScheduledTime.2006-01-02T15:04:05Z]]"
"""Kubeflow's controller replaces it with the scheduled time of a run, in UTC. The layout is Go's."""
_MARK = "embedstep "
"""Start of the description of our recurring runs; the digest of what they run follows."""
_PAGE = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class RecurringRun:
    """A recurring run to create.

    Attributes:
        name: name of the recurring run, unique in its experiment.
        cron_expression: six fields, with the seconds first.
        no_catchup: whether only the latest of several missed times is run.
        max_concurrency: runs at the same time.
        params: parameters of the pipeline.
        pipeline: SHA-256 of the pipeline's file.
    """

    name: str
    cron_expression: str
    no_catchup: bool
    max_concurrency: int
    params: Mapping[str, str]
    pipeline: str

    @property
    def description(self) -> str:
        """Description that identifies a recurring run as ours, and as unchanged."""
        return _MARK + sha256_text(json.dumps(asdict(self), sort_keys=True))


def build_recurring_run(
    request: TrainRequest, specification: Mapping[str, Any], digest: str, name: str | None
) -> RecurringRun:
    """Convert a request's schedule to a recurring run.

    Args:
        request: a request with a schedule.
        specification: the compiled pipeline.
        digest: SHA-256 of its file.
        name: name of the recurring run; None for that of the pipeline.

    Raises:
        InvalidRequestError: Kubeflow cannot express the schedule.
    """
    schedule = request.schedule
    assert schedule is not None
    if schedule.timezone != "UTC":
        message = (
            f"is {schedule.timezone}, but recurring runs of Kubeflow have no time zone: they use that of the "
            "controller, UTC unless its CRON_SCHEDULE_TIMEZONE is set; write timezone: UTC and hours in UTC"
        )
        raise InvalidRequestError([Problem("schedule.timezone", message)])
    return RecurringRun(
        name=name or specification["pipelineInfo"]["name"],
        cron_expression=f"0 {schedule.cron}",
        no_catchup=not schedule.catch_up,
        max_concurrency=1,
        params={"as_of": SCHEDULED_TIME} if "as_of" in _parameters(specification) else {},
        pipeline=digest,
    )


def _parse_pipeline(pipeline: str) -> dict[str, Any]:
    try:
        found = next(iter(yaml.safe_load_all(pipeline)))
        if isinstance(found["root"], dict) and isinstance(found["pipelineInfo"]["name"], str):
            specification: dict[str, Any] = found
            return specification
    except (yaml.YAMLError, StopIteration, TypeError, KeyError):
        pass
    raise InvalidRequestError([Problem("--pipeline", "is not a pipeline compiled by kfp")])


def _parameters(specification: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the parameters of a compiled pipeline by name."""
    found: Mapping[str, Any] = specification["root"].get("inputDefinitions", {}).get("parameters", {})
    return found


def schedule_notes(request: TrainRequest, run: RecurringRun) -> Iterator[str]:
    """Yield where Kubeflow does not follow the schedule exactly."""
    assert request.schedule is not None
    if request.schedule.overlap == "skip":
        yield "Kubeflow does not skip a run that is due while the previous one is still running: the newest waits"
    if "as_of" not in run.params:
        yield "the pipeline has no parameter as_of, so every run uses data.as_of of its request"


def _schedule_mismatch(request: TrainRequest, specification: Mapping[str, Any]) -> Iterator[str]:
    """Yield a note if the pipeline's request has another schedule, or none, from which a run learns that it is late."""
    text = str(_parameters(specification).get("request", {}).get("defaultValue", ""))
    try:
        theirs = load_request(read_document(text)).schedule
    except EmbedstepError:
        return  # another kind of pipeline, or only the cluster can read its request
    if theirs != request.schedule:
        had = "none" if theirs is None else f"{theirs.cron} in {theirs.timezone}"
        yield (
            f"the request in the pipeline has the schedule {had}, so its runs cannot detect that they are superseded; "
            "write this schedule into the request and compile the pipeline again"
        )


def apply_recurring_run(client: Any, experiment: str, run: RecurringRun, pipeline: Path) -> tuple[str, str]:
    """Create a recurring run, or replace one that has changed, because Kubeflow cannot update it.

    Args:
        client: a `kfp.Client`.
        experiment: name of the experiment, created if missing.
        run: the recurring run.
        pipeline: file of the compiled pipeline.

    Returns:
        What was done, and the id of the recurring run.

    Raises:
        InvalidRequestError: a recurring run of this name was not created by embedstep.
        CannotStartError: Kubeflow does not answer or denies access.
    """
    with _translate_errors():
        where = client.create_experiment(experiment).experiment_id
        former = [item for item in _recurring_runs(client, where) if item.display_name == run.name]
        if foreign := [item for item in former if not str(item.description or "").startswith(_MARK)]:
            message = (
                f"{run.name} is a recurring run that embedstep did not create ({foreign[0].recurring_run_id}); "
                "choose another name, or delete it"
            )
            raise InvalidRequestError([Problem("--name", message)])
        if [(item.description, str(item.status)) for item in former] == [(run.description, "ENABLED")]:
            return "unchanged", str(former[0].recurring_run_id)
        made = client.create_recurring_run(
            experiment_id=where, job_name=run.name, description=run.description, no_catchup=run.no_catchup,
            cron_expression=run.cron_expression, max_concurrency=run.max_concurrency, params=dict(run.params),
            # A cache would take changed rows at the same address for the same input.
            pipeline_package_path=str(pipeline), enable_caching=False,
        )  # fmt: skip
        # Last, so that a failure above leaves the former schedule in place.
        for item in former:
            client.delete_recurring_run(item.recurring_run_id)
    return "replaced" if former else "created", str(made.recurring_run_id)


def _recurring_runs(client: Any, experiment: str) -> Iterator[Any]:
    token = ""
    while True:
        page = client.list_recurring_runs(page_token=token, page_size=_PAGE, experiment_id=experiment)
        yield from page.recurring_runs or []
        token = page.next_page_token or ""
        if not token:
            return


@contextmanager
def _translate_errors() -> Iterator[None]:
    """Convert errors of Kubeflow's client to ours, and suppress what it prints."""
    try:
        with redirect_stdout(io.StringIO()):
            yield
    except ApiException as error:
        answer = parse_object(error.body) or {}
        message = answer.get("message") or answer.get("error") or error.reason
        if error.status in (401, 403):
            raise CannotStartError(f"Kubeflow denies access: {message}") from None
        if error.status in (400, 422):
            raise InvalidRequestError([Problem("schedule", f"Kubeflow refuses it: {message}")]) from None
        raise CannotStartError(f"Kubeflow answers {error.status}: {message}") from None
    except (HTTPError, OSError, ValueError) as error:
        raise CannotStartError(f"Kubeflow does not answer: {first_line(error)}") from None


def _connect(host: str | None, namespace: str | None, token: str | None) -> Any:
    if token is not None and token not in os.environ:
        raise InvalidRequestError([Problem("--token-from-env", f"{token} is not set")])
    from kfp.client import Client

    where = {"namespace": namespace} if namespace else {}
    with _translate_errors():
        return Client(host=host, existing_token=os.environ[token] if token else None, **where)


def schedule_pipeline(
    request: TrainRequest,
    pipeline: Path,
    *,
    name: str | None = None,
    experiment: str | None = None,
    host: str | None = None,
    namespace: str | None = None,
    token_from_env: str | None = None,
    dry_run: bool = False,
) -> Scheduled:
    """Schedule a compiled pipeline in Kubeflow.

    Args:
        request: a request with a schedule.
        pipeline: file of the compiled pipeline.
        name: name of the recurring run; None for that of the pipeline.
        experiment: name of the experiment; None for that of the recurring run.
        host: address of Kubeflow Pipelines; None for that in the environment or in the cluster.
        namespace: namespace, if Kubeflow has several users.
        token_from_env: variable with the access token.
        dry_run: change nothing.

    Raises:
        InvalidRequestError: Kubeflow cannot express the schedule, or the file is not a compiled pipeline.
        CannotStartError: Kubeflow does not answer or denies access.
    """
    text = pipeline.read_bytes().decode(errors="replace")
    specification = _parse_pipeline(text)
    run = build_recurring_run(request, specification, sha256_text(text), name)
    done, number = "would be created or replaced", ""
    if not dry_run:
        done, number = apply_recurring_run(
            _connect(host, namespace, token_from_env), experiment or run.name, run, pipeline
        )
    facts = (
        ("recurring run", " ".join(filter(None, (run.name, done, number)))),
        ("experiment", experiment or run.name),
        ("cron_expression", run.cron_expression),
        ("no_catchup", str(run.no_catchup).lower()),
        ("max_concurrency", str(run.max_concurrency)),
        *((f"parameter {key}", value) for key, value in run.params.items()),
        ("pipeline", f"{pipeline} ({run.pipeline[:12]})"),
    )
    return Scheduled(facts=facts, notes=(*schedule_notes(request, run), *_schedule_mismatch(request, specification)))
