"""Any models on the same held-out data: what is read once, scored in a process for each model, and compared here."""

import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstep.data.hub import with_local_data
from embedstep.data.scanning import scan_all
from embedstep.errors import OK, InvalidRequestError, Problem, TrainingFailedError
from embedstep.output.folder import OutputFolder
from embedstep.output.result import read_json, write_json
from embedstep.planning.checks import evaluators_fit
from embedstep.planning.evaluators import RETRIEVAL, evaluator_kind, evaluators_are_known
from embedstep.promotion.comparison import Gain, Gate, gain_of
from embedstep.request.schema import Evaluator, Loss, TrainRequest
from embedstep.runtime.process import LaunchCommand, run_process

_TOLD = ("metrics", "dimension", "bytes", "seconds", "milliseconds", "documents_per_second", "space")
_FILES_OF_A_MODEL = ("modules.json", "config.json", "config_sentence_transformers.json")


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """What a model got.

    Attributes:
        metrics: the averages, as the evaluators name them; `128:` stands before those of 128 dimensions.
        of_queries: each query's scores by the same names, shape (queries,), of evaluators that have queries.
        dimension: numbers of an embedding.
        bytes: size of the model's weights in memory.
        seconds: wall time of the evaluators.
        slices: the slice of each query by the names of those evaluators, where the request names slices.
        texts: `query`, `relevant` and `found` of each query by the names of those evaluators, shortened.
        space: the embedding space with its `fingerprint`; None for a model that lies in no folder.
        documents: documents of the first of those evaluators.
        documents_per_second: how fast a sample of them was embedded.
        milliseconds: median time to embed one query by itself; None without queries.
        sample: vectors of that sample, shape (up to 1000, dimension).
        queries: vectors of the queries, shape (up to 1000, dimension).
    """

    metrics: Mapping[str, float]
    of_queries: Mapping[str, NDArray[np.float64]]
    dimension: int
    bytes: int
    seconds: float
    slices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    texts: Mapping[str, Sequence[Mapping[str, str]]] = field(default_factory=dict)
    space: Mapping[str, Any] | None = None
    documents: int = 0
    documents_per_second: float = 0.0
    milliseconds: float | None = None
    sample: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), np.float32))
    queries: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), np.float32))


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoredModels:
    """Several models on the same data.

    Attributes:
        models: what each got, by its name, in the order in which they were named.
        data: fingerprint of each eval dataset by its name.
    """

    models: Mapping[str, Scores]
    data: Mapping[str, str]

    def gain(self, metric: str, challenger: str, champion: str, *, confidence: float = 0.95) -> Gain | None:
        """Return what one model gains over another, or None for a metric that is no mean over queries."""
        one, other = (self.models[name].of_queries.get(metric) for name in (challenger, champion))
        return None if one is None or other is None else gain_of(Gate(metric=metric, confidence=confidence), one, other)

    def to_json(self) -> dict[str, Any]:
        """Return plain data, without the scores of single queries."""
        models = {name: {key: getattr(scores, key) for key in _TOLD} for name, scores in self.models.items()}
        return {"format": "embedstep.scores/1", "data": dict(self.data), "models": models}


def named(models: Sequence[str]) -> dict[str, str]:
    """Read `NAME=MODEL` texts.

    Raises:
        InvalidRequestError: one is something else, or two have one name.
    """
    found = dict(text.partition("=")[::2] for text in models)
    if wrong := [text for text in models if not all(text.partition("="))]:
        raise InvalidRequestError([Problem("--model", f"needs NAME=MODEL; {text} was given") for text in wrong])
    if len(found) < len(models):
        raise InvalidRequestError([Problem("--model", "names two models alike; give each its own name")])
    return found


def score_models(request: TrainRequest, models: Mapping[str, str | None]) -> ScoredModels:
    """Score models with the evaluators of a request on its eval data.

    Args:
        request: names the data and the evaluators; nothing else of it counts.
        models: folder of each model, output folder of the run that trained it, or its id on the hub, by a name; None
            for the model that the request starts from.

    Raises:
        InvalidRequestError: data, evaluators or models cannot be used.
        CannotStartError: the hub did not answer.
        TrainingFailedError: a model could not be loaded or scored.
    """
    if not request.evaluators:
        raise InvalidRequestError(
            [Problem("evaluators", "is empty; name what to score by, such as information_retrieval")]
        )
    if problems := list(evaluators_are_known(request)):
        raise InvalidRequestError(problems)
    with tempfile.TemporaryDirectory(prefix="embedstep-") as name:
        folder = Path(name)
        held_out = request.model_copy(update={"data": request.data.model_copy(update={"train": {}, "test": {}})})
        local, _ = with_local_data(held_out, folder / "data", with_model=False)
        facts, problems = scan_all(
            local, folder, slices={("eval", name): column for name, column in columns_of_slices(request).items()}
        )
        if problems := problems or list(evaluators_fit(request, facts)):
            raise InvalidRequestError(problems)
        files = {item.name: str(folder / f"eval-{item.name}.arrow") for item in facts}
        places = {name: _place(held_out, name, given, folder / "hub" / name) for name, given in models.items()}
        scored = {name: _score(request, place, files, folder / name) for name, place in places.items()}
    return ScoredModels(models=scored, data={item.name: item.fingerprint for item in facts})


def columns_of_slices(request: TrainRequest) -> dict[str, str]:
    """Return the column of slices by the eval dataset that has it: that of the evaluator that decides."""
    decides = deciding(request)
    if request.promotion.slices is None or decides is None:
        return {}
    return {decides.dataset: request.promotion.slices}


def deciding(request: TrainRequest) -> Evaluator | None:
    """Return the retrieval evaluator whose metric decides: the one that the metric is named after, or the first."""
    found = [item for item in request.evaluators if evaluator_kind(item.kind).name == RETRIEVAL]
    if request.promotion.metric is None:
        return next(iter(found), None)
    named = [item for item in found if metric_of(request).startswith(f"{item.name}_")]
    return max(named, key=lambda item: len(item.name), default=None)


def metric_of(request: TrainRequest) -> str:
    """Return the metric that the request decides by, as evaluators name it; empty where it leaves that open."""
    return (request.promotion.metric or "").removeprefix("eval_")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Place:
    """Where a model is: in a folder, or to be made of the request's section with what was fetched for it."""

    model: str | None = None
    fetched: str | None = None


def _place(request: TrainRequest, name: str, given: str | None, folder: Path) -> _Place:
    """Return where a model is; one of the hub is fetched."""
    if given is None:
        return _Place(fetched=with_local_data(_without_data(request), folder, with_model=True)[1])
    path = Path(given).expanduser()
    if path.is_dir():
        path = OutputFolder(path).model if OutputFolder(path).model.is_dir() else path
        if not any((path / file).is_file() for file in _FILES_OF_A_MODEL):
            raise InvalidRequestError([Problem(f"--model {name}", f"{path} holds no model")])
        return _Place(model=str(path))
    if path.is_absolute() or given.startswith((".", "~")) or given.count("/") > 1:
        raise InvalidRequestError([Problem(f"--model {name}", f"{given} is not there")])
    on_hub = request.model.model_copy(update={"path": given, "static": None, "revision": None})
    wanted = _without_data(request).model_copy(update={"model": on_hub})
    return _Place(model=with_local_data(wanted, folder, with_model=True)[1] or given)


def _without_data(request: TrainRequest) -> TrainRequest:
    return request.model_copy(update={"data": request.data.model_copy(update={"eval": {}})})


def _score(request: TrainRequest, place: _Place, files: Mapping[str, str], to: Path) -> Scores:
    job = {
        **asdict(place), "section": request.model.model_dump(mode="json"),
        "evaluators": [item.model_dump(mode="json") for item in request.evaluators],
        "data": dict(files), "dimensions": dimensions_of(list(request.loss.values())),
        "trust_remote_code": request.model.trust_remote_code, "to": str(to),
    }  # fmt: skip
    write_json(to.with_suffix(".job"), job)
    argv = (sys.executable, "-m", "embedstep.worker.jobs.score", str(to.with_suffix(".job")))
    end = run_process(LaunchCommand(argv=argv, env={**os.environ, "TQDM_DISABLE": "1"}))
    if end.code != OK:
        raise TrainingFailedError(
            f"{place.model or 'the model of the request'}: the model could not be scored; what stands above says why"
        )
    about = read_json(Path(f"{to}.json"))
    with np.load(f"{to}.npz") as arrays:
        slices = {name: tuple(some) for name, some in about.pop("slices").items()}
        of_queries = {name: arrays[name] for name in arrays.files if not name.startswith("@")}
        vectors = {name[1:]: arrays[name] for name in arrays.files if name.startswith("@")}
        return Scores(of_queries=of_queries, slices=slices, **about, **vectors)


def dimensions_of(losses: Sequence[Loss]) -> list[int]:
    """Return the shorter embeddings that losses train for, the longest first."""
    found: set[int] = set()
    for loss in losses:
        inner: Loss | None = loss
        while inner is not None:
            found.update(inner.options.get("matryoshka_dims", ()))
            inner = inner.loss
    return sorted(found, reverse=True)
