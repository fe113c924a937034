"""A compiled pipeline as a recurring run of Kubeflow Pipelines: what `embedstep schedule kubeflow` does."""

import hashlib
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
from embedstep.orchestration.scheduled import Scheduled
from embedstep.orchestration.task import document_of
from embedstep.request.loading import load_request
from embedstep.request.schema import TrainRequest

SCHEDULED_TIME = "[[ScheduledTime.2006-01-02T15:04:05Z]]"
"""What Kubeflow's controller replaces by the time that a run is for, in UTC, laid out as Go lays out times."""
_MARK = "embedstep "
"""How the description of a recurring run begins that was made here; the digest of what it runs follows."""
_PAGE = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class RecurringRun:
    """What Kubeflow is asked for.

    Attributes:
        name: name of the recurring run, one of its kind in its experiment.
        cron_expression: six fields, with the seconds first.
        no_catchup: whether times that were missed are left out but for the newest.
        max_concurrency: runs at the same time.
        params: parameters of the pipeline.
        pipeline: digest of the pipeline, as 64 hexadecimal digits.
    """

    name: str
    cron_expression: str
    no_catchup: bool
    max_concurrency: int
    params: Mapping[str, str]
    pipeline: str

    @property
    def description(self) -> str:
        """Mark by which a run is known again, and known to be the same."""
        return _MARK + hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


def recurring_run_of(
    request: TrainRequest, specification: Mapping[str, Any], digest: str, name: str | None
) -> RecurringRun:
    """Return the recurring run of a request's schedule.

    Args:
        request: has a schedule.
        specification: the compiled pipeline.
        digest: digest of its file.
        name: its name; None for that of the pipeline.

    Raises:
        InvalidRequestError: Kubeflow cannot express the schedule.
    """
    schedule = request.schedule
    assert schedule is not None
    if schedule.timezone != "UTC":
        told = (
            f"is {schedule.timezone}, and a recurring run of Kubeflow has no time zone: it goes by that of its "
            "controller, UTC unless CRON_SCHEDULE_TIMEZONE says otherwise there; write timezone: UTC, and the hours "
            "for it"
        )
        raise InvalidRequestError([Problem("schedule.timezone", told)])
    return RecurringRun(
        name=name or specification["pipelineInfo"]["name"],
        cron_expression=f"0 {schedule.cron}",
        no_catchup=not schedule.catch_up,
        max_concurrency=1,
        params={"as_of": SCHEDULED_TIME} if "as_of" in _parameters(specification) else {},
        pipeline=digest,
    )


def _specification(pipeline: str) -> dict[str, Any]:
    try:
        found = next(iter(yaml.safe_load_all(pipeline)))
        if isinstance(found["root"], dict) and isinstance(found["pipelineInfo"]["name"], str):
            specification: dict[str, Any] = found
            return specification
    except (yaml.YAMLError, StopIteration, TypeError, KeyError):
        pass
    raise InvalidRequestError([Problem("--pipeline", "is no pipeline that kfp's compiler has written")])


def _parameters(specification: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the parameters of a compiled pipeline by their names."""
    found: Mapping[str, Any] = specification["root"].get("inputDefinitions", {}).get("parameters", {})
    return found


def notes_of(request: TrainRequest, run: RecurringRun) -> Iterator[str]:
    """Yield what Kubeflow does in another way than the schedule says."""
    assert request.schedule is not None
    if request.schedule.overlap == "skip":
        yield "a run that is due while the one before still runs is not left out by Kubeflow: the newest waits for it"
    if "as_of" not in run.params:
        yield "the pipeline has no parameter as_of, so each run has the data.as_of of its request"


def _another_schedule(request: TrainRequest, specification: Mapping[str, Any]) -> Iterator[str]:
    """Yield a note where the runs of the pipeline know another schedule, or none, to tell by which one comes late."""
    text = str(_parameters(specification).get("request", {}).get("defaultValue", ""))
    try:
        theirs = load_request(document_of(text)).schedule
    except EmbedstepError:
        return  # a pipeline of somebody's own, or its request lies where only the cluster sees it
    if theirs != request.schedule:
        had = "none" if theirs is None else f"{theirs.cron} in {theirs.timezone}"
        yield (
            f"the schedule of the pipeline's own request is {had}, so its runs cannot tell which of them comes late; "
            "write this one into the request, and compile the pipeline of it"
        )


def scheduled(client: Any, experiment: str, run: RecurringRun, pipeline: Path) -> tuple[str, str]:
    """Create a recurring run, or replace one that is another by now; Kubeflow has no way to change one.

    Args:
        client: a `kfp.Client`.
        experiment: name of the experiment, made where it is not there.
        run: what is wanted.
        pipeline: file of the compiled pipeline.

    Returns:
        What was done, and the id of the recurring run.

    Raises:
        InvalidRequestError: the name is that of a recurring run that was not made here.
        CannotStartError: Kubeflow does not answer or let us.
    """
    with _answers():
        where = client.create_experiment(experiment).experiment_id
        former = [item for item in _recurring_runs(client, where) if item.display_name == run.name]
        if strange := [item for item in former if not str(item.description or "").startswith(_MARK)]:
            told = f"{run.name} is a recurring run that embedstep has not made ({strange[0].recurring_run_id})"
            raise InvalidRequestError([Problem("--name", f"{told}; give another name, or delete that one")])
        if [(item.description, str(item.status)) for item in former] == [(run.description, "ENABLED")]:
            return "unchanged", str(former[0].recurring_run_id)
        made = client.create_recurring_run(
            experiment_id=where, job_name=run.name, description=run.description, no_catchup=run.no_catchup,
            cron_expression=run.cron_expression, max_concurrency=run.max_concurrency, params=dict(run.params),
            pipeline_package_path=str(pipeline), enable_caching=False,
        )  # fmt: skip
        # Only now: whatever fails before this leaves the former schedule as it is.
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
def _answers() -> Iterator[None]:
    """Tell in a sentence where the API of Kubeflow fails, and keep what its client prints to itself."""
    try:
        with redirect_stdout(io.StringIO()):
            yield
    except ApiException as error:
        told = _words(error.body) or error.reason
        if error.status in (401, 403):
            raise CannotStartError(f"Kubeflow does not let us: {told}") from None
        if error.status in (400, 422):
            raise InvalidRequestError([Problem("schedule", f"Kubeflow refuses it: {told}")]) from None
        raise CannotStartError(f"Kubeflow answers {error.status}: {told}") from None
    except (HTTPError, OSError, ValueError) as error:
        raise CannotStartError(f"Kubeflow does not answer: {first_line(error)}") from None


def _words(body: Any) -> str:
    try:
        found = json.loads(body or "")
    except ValueError:
        return ""
    return str(found.get("message") or found.get("error") or "") if isinstance(found, dict) else ""


def _client(host: str | None, namespace: str | None, token: str | None) -> Any:
    if token is not None and token not in os.environ:
        raise InvalidRequestError([Problem("--token-from-env", f"{token} is not set")])
    from kfp.client import Client

    where = {"namespace": namespace} if namespace else {}
    with _answers():
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
    """Have Kubeflow run a compiled pipeline at the times of a request's schedule.

    Args:
        request: has a schedule.
        pipeline: file of the compiled pipeline.
        name: name of the recurring run; None for that of the pipeline.
        experiment: its experiment; None for its name.
        host: address of Kubeflow Pipelines; None for the environment's or the cluster's.
        namespace: where Kubeflow has several users.
        token_from_env: variable with the token that Kubeflow wants.
        dry_run: change nothing.

    Raises:
        InvalidRequestError: Kubeflow cannot express the schedule, or the file is no compiled pipeline.
        CannotStartError: Kubeflow does not answer or let us.
    """
    text = pipeline.read_bytes().decode(errors="replace")
    specification = _specification(text)
    run = recurring_run_of(request, specification, hashlib.sha256(text.encode()).hexdigest(), name)
    done, number = "would be created or replaced", ""
    if not dry_run:
        done, number = scheduled(_client(host, namespace, token_from_env), experiment or run.name, run, pipeline)
    facts = (
        ("recurring run", " ".join(filter(None, (run.name, done, number)))),
        ("experiment", experiment or run.name),
        ("cron_expression", run.cron_expression),
        ("no_catchup", str(run.no_catchup).lower()),
        ("max_concurrency", str(run.max_concurrency)),
        *((f"parameter {key}", value) for key, value in run.params.items()),
        ("pipeline", f"{pipeline} ({run.pipeline[:12]})"),
    )
    return Scheduled(facts=facts, notes=(*notes_of(request, run), *_another_schedule(request, specification)))
