"""The task of a component: inputs and outputs, read from Kubeflow's executor input, written as its executor output.

Kubeflow itself is not needed: the input is JSON on the command line, and the output goes to a file named in it. Their
format is that of `ExecutorInput` and `ExecutorOutput` in Kubeflow's `api/v2alpha1/pipeline_spec.proto`.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedstep.data.stores import find_store, translate_store_errors
from embedstep.errors import InvalidRequestError, Problem
from embedstep.orchestration.components import Component
from embedstep.orchestration.parameters import Parameter
from embedstep.request.datasets import BEIR_COLUMNS, FETCHED_FIELDS, FILE_FIELDS
from embedstep.request.document import parse_document
from embedstep.request.loading import load_request
from embedstep.request.scalars import plain
from embedstep.request.schema import TrainRequest
from embedstep.tracking.names import metric_name

LONGEST_DOCUMENT = 8192
"""Bytes of a request that a pipeline carries itself. Kubeflow keeps at most 10,000 characters of a task's inputs, and
the operating system limits the length of an argument."""
REFERENCE = re.compile(r"(\S+)#sha256=([0-9a-f]{64})")
MOST_METRICS = 50
"""Metrics shown in Kubeflow's pages, those of evaluators first. The file of the artifact contains all of them."""
_MODEL_INDEPENDENT = ("max_seq_length", "trust_remote_code")
"""Settings of a model that apply to any other as well."""
_MOUNTS = {"gs://": "/gcs/", "s3://": "/s3/", "minio://": "/minio/"}
"""Where Kubeflow's launcher mounts artifacts, by the scheme of their URI (kfp's `artifact_types`)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """The inputs and outputs of a task.

    Attributes:
        parameters: values of the input parameters that were given.
        inputs: paths of the input artifacts that were given.
        outputs: output artifacts as Kubeflow describes them: `name`, `uri`, `metadata`.
        output_file: file for the executor output.
    """

    parameters: Mapping[str, Any]
    inputs: Mapping[str, Path]
    outputs: Mapping[str, Mapping[str, Any]]
    output_file: Path

    def output_path(self, output: str) -> Path:
        """Return the path at which an output artifact is to be written, in a folder that exists."""
        path = local_path(self.outputs[output]["uri"])
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def local_path(uri: str) -> Path:
    """Return the local path of an artifact."""
    if uri.startswith("oci://"):
        return Path("/oci", uri.removeprefix("oci://").replace("/", "_"))
    for begin, mount in _MOUNTS.items():
        if uri.startswith(begin):
            return Path(mount + uri.removeprefix(begin))
    return Path(uri)


def make_task(
    component: Component, folder: Path, parameters: Mapping[str, Any], inputs: Mapping[str, Path | None]
) -> Task:
    """Create a task that writes its outputs to a folder.

    Args:
        component: component of the task.
        folder: folder for the output artifacts, each under its name, and for `outcome.json`.
        parameters: values of the parameters; None for those that are not given.
        inputs: paths of the input artifacts; None for those that are not given.
    """
    return Task(
        parameters={name: value for name, value in parameters.items() if value is not None},
        inputs={name: path for name, path in inputs.items() if path is not None},
        outputs={one.name: {"name": one.name, "uri": str(folder / one.name)} for one in component.outputs},
        output_file=folder / "outcome.json",
    )


def executor_input(task: Task) -> str:
    """Return the text that `task_from_json` reads, to run the task in a container or another process."""
    inputs = {name: {"artifacts": [{"name": name, "uri": str(path)}]} for name, path in task.inputs.items()}
    outputs = {name: {"artifacts": [dict(artifact)]} for name, artifact in task.outputs.items()}
    given = {"parameterValues": dict(task.parameters), "artifacts": inputs}
    return json.dumps(
        {"inputs": given, "outputs": {"artifacts": outputs, "outputFile": str(task.output_file)}}, ensure_ascii=False
    )


def task_from_json(text: str) -> Task:
    """Read an executor input.

    Raises:
        InvalidRequestError: the text is not an executor input.
    """
    try:
        data = json.loads(text)
        given = data.get("inputs", {}).get("parameterValues", {})
        artifacts = {"inputs": data.get("inputs", {}).get("artifacts", {}), "outputs": data["outputs"]["artifacts"]}
        first = {side: {name: one["artifacts"][0] for name, one in of.items()} for side, of in artifacts.items()}
        return Task(
            # Kubeflow's local runner passes null for a parameter that was not set.
            parameters={name: value for name, value in given.items() if value is not None},
            inputs={name: local_path(artifact["uri"]) for name, artifact in first["inputs"].items()},
            outputs=first["outputs"],
            output_file=Path(data["outputs"]["outputFile"]),
        )
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        message = f"is not the executor input of a Kubeflow task: {type(error).__name__}: {error}"
        raise InvalidRequestError([Problem("--executor-input", message)]) from None


def resolve_request(task: Task, component: Component, *, check_files: bool = True) -> TrainRequest:
    """Return the request of a task: its document, overridden by the artifacts and parameters.

    Args:
        task: the task.
        component: component of the task, whose parameters know what they set.
        check_files: require the files of the artifacts, which do not exist yet when a pipeline is compiled.

    Raises:
        InvalidRequestError: with every problem of the request.
        CannotStartError: the document cannot be reached.
    """
    text = read_document(str(task.parameters.get("request") or ""))
    found = list(_settings(task, component, parse_document(text).data, check_files=check_files))
    problems = [one for one in found if isinstance(one, Problem)]
    try:
        request = load_request(text, [one for one in found if isinstance(one, str)])
    except InvalidRequestError as error:
        raise InvalidRequestError([*problems, *error.problems]) from None
    if problems:
        raise InvalidRequestError(problems)
    return request


def read_document(given: str) -> str:
    """Return the text of a request, given as such or as `<path or URL>#sha256=<digest>`.

    Raises:
        InvalidRequestError: nothing was given, or the file has another digest.
        CannotStartError: the file cannot be reached.
    """
    if not given.strip():
        raise InvalidRequestError(
            [Problem("request", "is missing; give the text of a request, or <path or URL>#sha256=<digest>")]
        )
    if not (reference := REFERENCE.fullmatch(given.strip())):
        return given
    place, digest = reference.groups()
    store, path = find_store("request", place)
    with translate_store_errors("request", place, local=store.local), store.open(path) as file:
        content = file.read()
    if hashlib.sha256(content).hexdigest() != digest:
        raise InvalidRequestError(
            [Problem("request", f"{place} has changed since the pipeline was compiled; compile it again")]
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidRequestError([Problem("request", f"{place} is not text in UTF-8")]) from None


def _settings(task: Task, component: Component, document: Any, *, check_files: bool) -> Iterator[str | Problem]:
    """Yield the inputs of a task as settings in the form of `--set`, and the problems among them."""
    wanted = [artifact.name for artifact in component.inputs if artifact.is_required]
    yield from (Problem(name, "is missing") for name in wanted if name not in task.inputs)
    for split in ("train", "eval"):
        if (path := task.inputs.get(f"{split}_data")) is not None:
            yield from _datasets(split, path, document, check_files=check_files)
    if (model := task.inputs.get("base_model")) is not None:
        former = _section(document, "model")
        kept = {name: plain(former[name]) for name in _MODEL_INDEPENDENT if name in former}
        yield f"model={json.dumps({**kept, 'path': str(model)})}"
    for parameter in component.parameters:
        if parameter.sets and parameter.name in task.parameters:
            yield from _setting(parameter, task.parameters[parameter.name])


def _setting(parameter: Parameter, value: Any) -> Iterator[str]:
    if parameter.kind == "json" and isinstance(value, str):
        yield f"{parameter.sets}={value}"
    # A pipeline parameter needs a default. Except for training arguments, an empty text means not given.
    elif value != "" or parameter.sets.startswith("arguments."):
        yield f"{parameter.sets}={json.dumps(value, ensure_ascii=False)}"


def _datasets(split: str, path: Path, document: Any, *, check_files: bool) -> Iterator[str | Problem]:
    """Read the datasets of a split from an artifact: each from the file of its name, a single one from all files."""
    named = _sections(split, document)
    # `prepare` splits evaluation rows off a dataset without any, and they have the same columns.
    held_out = {} if split == "train" else _sections("train", document)
    split_off = {name: held_out[name] for name in held_out if name not in named and (path / f"{name}.parquet").exists()}
    for name, section in split_off.items():
        given = {"path": str(path / f"{name}.parquet"), "columns": _columns(section)}
        yield f"data.{split}.{name}={json.dumps(given)}"
        if section.get("hold_out") is not None:  # the rows are given, so no others are held out
            yield f"data.train.{name}.hold_out=null"
    if not named and not split_off and (split == "train" or (check_files and _holds_anything(path))):
        yield Problem(f"{split}_data", f"the request has no data.{split}, which names the columns of the rows")
    for name in named:
        file = path / f"{name}.parquet"
        if check_files and len(named) > 1 and not file.exists():
            yield Problem(f"{split}_data", f"has no {file.name}; the request has the datasets {', '.join(named)}")
            continue
        place = f"data.{split}.{name}"
        yield f"{place}.path={json.dumps(str(file if file.exists() else path))}"
        yield from (f"{place}.{field}=null" for field in FETCHED_FIELDS)
        if "columns" not in named[name]:
            yield f"{place}.columns={json.dumps(_columns(named[name]))}"
        if file.exists():
            yield from (f"{place}.{field}=null" for field in FILE_FIELDS if field in named[name])


def _sections(split: str, document: Any) -> dict[str, Any]:
    """Return the sections of a split's datasets by name, as far as an unchecked document has them."""
    sections = _section(_section(document, "data"), split)
    return {name: section for name, section in sections.items() if isinstance(section, dict) and _columns(section)}


def _columns(section: Mapping[str, Any]) -> Any:
    """Return the roles of the columns of an unchecked dataset; None where nothing says them."""
    default = BEIR_COLUMNS if section.get("beir") is not None else None
    return plain(section.get("columns")) or default


def _section(document: Any, name: str) -> dict[str, Any]:
    """Return a section of an unchecked document, empty if it is not there or no section."""
    found = document.get(name) if isinstance(document, dict) else None
    return found if isinstance(found, dict) else {}


def _holds_anything(path: Path) -> bool:
    return path.is_file() or (path.is_dir() and any(path.iterdir()))


def write_outputs(
    task: Task, parameters: Mapping[str, str | int], metadata: Mapping[str, Mapping[str, Any]] | None = None
) -> None:
    """Write the executor output.

    Args:
        task: the task, whose files are written.
        parameters: values of the output parameters.
        metadata: metadata of the output artifacts, which Kubeflow's pages show.
    """
    # All of them, because Kubeflow drops an artifact that is not listed.
    artifacts = {
        name: {"artifacts": [{**artifact, "metadata": dict((metadata or {}).get(name, {}))}]}
        for name, artifact in task.outputs.items()
    }
    task.output_file.parent.mkdir(parents=True, exist_ok=True)
    task.output_file.write_text(json.dumps({"parameterValues": dict(parameters), "artifacts": artifacts}))


def shown_metrics(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return the metrics to show in Kubeflow's pages, with names that Kubeflow accepts."""
    of_evaluators = sorted(metrics, key=lambda name: ("@" not in name, "cosine" not in name))
    return {metric_name(name): metrics[name] for name in of_evaluators[:MOST_METRICS]}


def copy_output(source: Path, target: Path) -> None:
    """Copy a file or folder to the path of an output artifact."""
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        shutil.copyfile(source, target)
