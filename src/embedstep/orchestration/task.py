"""What a component's container runs: an executor input of Kubeflow Pipelines in, a step, its outputs out.

Kubeflow itself is not needed for that: the executor input is JSON on the command line, and what a task has to say goes
into a file that it names. Its form is that of `ExecutorInput` and `ExecutorOutput` in Kubeflow's
`api/v2alpha1/pipeline_spec.proto`.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from embedstep.data.stores import reaching, store_of
from embedstep.errors import InvalidRequestError, Problem
from embedstep.orchestration.components import Component
from embedstep.orchestration.parameters import Parameter
from embedstep.output.result import write_json
from embedstep.request.datasets import OF_THE_HUB
from embedstep.request.document import parse_document
from embedstep.request.loading import load_request
from embedstep.request.scalars import plain
from embedstep.request.schema import TrainRequest
from embedstep.tracking.names import metric_name

LONGEST_DOCUMENT = 8192
"""Bytes of a request that a pipeline carries itself. Kubeflow keeps no more than 10,000 characters of a task's inputs
where it shows them, and one argument of a program has its limit, too."""
REFERENCE = re.compile(r"(\S+)#sha256=([0-9a-f]{64})")
MOST_METRICS = 50
"""Metrics that are shown in Kubeflow's pages, the evaluators' first; all of them are in the file of the artifact."""
_OF_ANY_MODEL = ("max_seq_length", "trust_remote_code")
_MOUNTS = {"gs://": "/gcs/", "s3://": "/s3/", "minio://": "/minio/"}
"""Where Kubeflow's launcher puts an artifact on disk, by the beginning of its URI (kfp's `artifact_types`)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """The inputs and outputs of a task.

    Attributes:
        parameters: values of the input parameters that were set.
        inputs: path of each input artifact that was given.
        outputs: each output artifact as Kubeflow describes it: `name`, `uri`, `metadata`.
        output_file: where to write what came out.
    """

    parameters: Mapping[str, Any]
    inputs: Mapping[str, Path]
    outputs: Mapping[str, Mapping[str, Any]]
    output_file: Path

    def path_of(self, output: str) -> Path:
        """Return where the file or folder of an output artifact is to be."""
        return path_of(self.outputs[output]["uri"])


def path_of(uri: str) -> Path:
    """Return the local path of an artifact."""
    if uri.startswith("oci://"):
        return Path("/oci", uri.removeprefix("oci://").replace("/", "_"))
    for begin, mount in _MOUNTS.items():
        if uri.startswith(begin):
            return Path(mount + uri.removeprefix(begin))
    return Path(uri)


def task_of(
    component: Component, folder: Path, parameters: Mapping[str, Any], inputs: Mapping[str, Path | None]
) -> Task:
    """Return the task of a component whose outputs go to a folder.

    Args:
        component: the component.
        folder: where each output artifact lies afterwards, by its name, and `outcome.json`.
        parameters: values of the parameters; None for one that is not given.
        inputs: paths of the input artifacts; None for one that is not given.
    """
    return Task(
        parameters={name: value for name, value in parameters.items() if value is not None},
        inputs={name: path for name, path in inputs.items() if path is not None},
        outputs={one.name: {"name": one.name, "uri": str(folder / one.name)} for one in component.outputs},
        output_file=folder / "outcome.json",
    )


def executor_input(task: Task) -> str:
    """Return what `task_from_json` reads, for a container or another process to run the task."""
    inputs = {name: {"artifacts": [{"name": name, "uri": str(path)}]} for name, path in task.inputs.items()}
    outputs = {name: {"artifacts": [dict(artifact)]} for name, artifact in task.outputs.items()}
    given = {"parameterValues": dict(task.parameters), "artifacts": inputs}
    return json.dumps(
        {"inputs": given, "outputs": {"artifacts": outputs, "outputFile": str(task.output_file)}}, ensure_ascii=False
    )


def task_from_json(text: str) -> Task:
    """Read an executor input.

    Raises:
        InvalidRequestError: it is none.
    """
    try:
        data = json.loads(text)
        given = data.get("inputs", {}).get("parameterValues", {})
        artifacts = {"inputs": data.get("inputs", {}).get("artifacts", {}), "outputs": data["outputs"]["artifacts"]}
        first = {side: {name: one["artifacts"][0] for name, one in of.items()} for side, of in artifacts.items()}
        return Task(
            # Kubeflow's local runner hands over what was not set as null.
            parameters={name: value for name, value in given.items() if value is not None},
            inputs={name: path_of(artifact["uri"]) for name, artifact in first["inputs"].items()},
            outputs=first["outputs"],
            output_file=Path(data["outputs"]["outputFile"]),
        )
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        told = f"is not the executor input of a Kubeflow task: {type(error).__name__}: {error}"
        raise InvalidRequestError([Problem("--executor-input", told)]) from None


def request_of(task: Task, component: Component, *, looks: bool = True) -> TrainRequest:
    """Return the request of a task: its document, with the artifacts and parameters that were given over it.

    Args:
        task: what the task was given.
        component: the component of the task, whose parameters know what they set.
        looks: look for the files of the artifacts; they are not there yet when a pipeline is compiled.

    Raises:
        InvalidRequestError: with every problem that was found.
        CannotStartError: the document lies somewhere that cannot be reached.
    """
    text = document_of(str(task.parameters.get("request") or ""))
    found = list(_settings(task, component, parse_document(text).data, looks=looks))
    problems = [one for one in found if isinstance(one, Problem)]
    try:
        request = load_request(text, [one for one in found if isinstance(one, str)])
    except InvalidRequestError as error:
        raise InvalidRequestError([*problems, *error.problems]) from None
    if problems:
        raise InvalidRequestError(problems)
    return request


def document_of(given: str) -> str:
    """Return the text of a request that was given itself, or as `<path or URL>#sha256=<digest>`.

    Raises:
        InvalidRequestError: nothing was given, or what lies there is not what was meant.
        CannotStartError: it lies somewhere that cannot be reached.
    """
    if not given.strip():
        raise InvalidRequestError(
            [Problem("request", "is missing: the text of a request, or where it lies and its digest")]
        )
    if not (reference := REFERENCE.fullmatch(given.strip())):
        return given
    place, digest = reference.groups()
    store, path = store_of("request", place)
    with reaching("request", place, local=store.local), store.open(path) as file:
        content = file.read()
    if hashlib.sha256(content).hexdigest() != digest:
        raise InvalidRequestError(
            [Problem("request", f"{place} has changed since the pipeline was compiled; compile it anew")]
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidRequestError([Problem("request", f"{place} is not text in UTF-8")]) from None


def _settings(task: Task, component: Component, document: Any, *, looks: bool) -> Iterator[str | Problem]:
    """Yield what was given beside the document, as `--set` takes it, and what cannot be."""
    wanted = [artifact.name for artifact in component.inputs if artifact.is_required]
    yield from (Problem(name, "is missing") for name in wanted if name not in task.inputs)
    for split in ("train", "eval"):
        if (path := task.inputs.get(f"{split}_data")) is not None:
            yield from _datasets(split, path, document, looks=looks)
    if (model := task.inputs.get("base_model")) is not None:
        yield f"model={json.dumps({**_kept_of_model(document), 'path': str(model)})}"
    for parameter in component.parameters:
        if parameter.sets and parameter.name in task.parameters:
            yield from _setting(parameter, task.parameters[parameter.name])


def _setting(parameter: Parameter, value: Any) -> Iterator[str]:
    if parameter.kind == "json" and isinstance(value, str):
        yield f"{parameter.sets}={value}"
    # A parameter of a pipeline has to have a default, and outside the arguments an empty text is none.
    elif value != "" or parameter.sets.startswith("arguments."):
        yield f"{parameter.sets}={json.dumps(value, ensure_ascii=False)}"


def _datasets(split: str, path: Path, document: Any, *, looks: bool) -> Iterator[str | Problem]:
    """Let the datasets of a split be read from an artifact: the file of their name in it, or all of it for one."""
    named = _sections(split, document)
    # `prepare` holds rows out of a dataset that has none to evaluate with, and their columns are the same.
    held_out = {} if split == "train" else _sections("train", document)
    brought = {name: held_out[name] for name in held_out if name not in named and (path / f"{name}.parquet").exists()}
    for name, section in brought.items():
        given = {"path": str(path / f"{name}.parquet"), "columns": plain(section["columns"])}
        yield f"data.{split}.{name}={json.dumps(given)}"
    if not named and not brought and (split == "train" or (looks and _holds_anything(path))):
        told = f"the request says nothing of data.{split}, such as which of its columns is the anchor"
        yield Problem(f"{split}_data", told)
    for name in named:
        file = path / f"{name}.parquet"
        if looks and len(named) > 1 and not file.exists():
            told = f"has no {file.name}, and the request has the datasets {', '.join(named)}"
            yield Problem(f"{split}_data", told)
            continue
        place = f"data.{split}.{name}"
        yield f"{place}.path={json.dumps(str(file if file.exists() else path))}"
        yield from (f"{place}.{of_hub}=null" for of_hub in OF_THE_HUB)


def _sections(split: str, document: Any) -> dict[str, Any]:
    """Return the sections of a split's datasets by their names, as far as the document has such a thing."""
    data = document.get("data") if isinstance(document, dict) else None
    sections = data.get(split) if isinstance(data, dict) else None
    if not isinstance(sections, dict):
        return {}
    return {name: section for name, section in sections.items() if isinstance(section, dict) and "columns" in section}


def _holds_anything(path: Path) -> bool:
    return path.is_file() or (path.is_dir() and any(path.iterdir()))


def _kept_of_model(document: Any) -> dict[str, Any]:
    """Return what the request says of any model, whichever it is."""
    model = document.get("model") if isinstance(document, dict) else None
    return {name: plain(model[name]) for name in _OF_ANY_MODEL if name in model} if isinstance(model, dict) else {}


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What a task tells Kubeflow.

    Attributes:
        parameters: values of the output parameters.
        metadata: of each output artifact, what Kubeflow's pages show.
    """

    parameters: Mapping[str, str | int]
    metadata: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def write_outcome(task: Task, outcome: Outcome) -> None:
    """Write the executor output, with every artifact: one that is not named there is none to Kubeflow."""
    artifacts = {
        name: {"artifacts": [{**artifact, "metadata": dict(outcome.metadata.get(name, {}))}]}
        for name, artifact in task.outputs.items()
    }
    task.output_file.parent.mkdir(parents=True, exist_ok=True)
    task.output_file.write_text(json.dumps({"parameterValues": dict(outcome.parameters), "artifacts": artifacts}))


def shown_metrics(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return the metrics that Kubeflow's pages show, under names that they take."""
    of_evaluators = sorted(metrics, key=lambda name: ("@" not in name, "cosine" not in name))
    return {metric_name(name): metrics[name] for name in of_evaluators[:MOST_METRICS]}


def place(source: Path, target: Path) -> None:
    """Copy a file or folder to where an output artifact is to be."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        shutil.copyfile(source, target)


def place_json(data: Any, target: Path) -> None:
    """Write data to where an output artifact is to be."""
    target.parent.mkdir(parents=True, exist_ok=True)
    write_json(target, data)
