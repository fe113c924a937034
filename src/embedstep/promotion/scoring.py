"""Scores of models on the same evaluation data, which is read once. Each model is scored in a process of its own."""

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstep.data.facts import DatasetFacts, Split
from embedstep.data.fetching import with_local_data
from embedstep.data.hub import local_sources, with_datasets
from embedstep.data.recorded_anchors import SeenAnchors, count_seen, read_anchors
from embedstep.data.scanning import scan_all
from embedstep.errors import InvalidRequestError, Problem, TrainingFailedError
from embedstep.output.folder import OutputFolder
from embedstep.output.gains import Gain, bootstrap_gain
from embedstep.output.job import run_job
from embedstep.output.provenance import read_provenance
from embedstep.planning.checks import evaluators_fit
from embedstep.planning.evaluators import RETRIEVAL, evaluator_kind, evaluators_are_known
from embedstep.planning.model_checks import read_facts
from embedstep.planning.prompts import plan_prompts
from embedstep.planning.row_needs import row_needs
from embedstep.request.model import Model
from embedstep.request.schema import Evaluator, Loss, TrainRequest

_SCORED: tuple[Split, ...] = ("eval",)
"""Training data may be large, and is not scored."""
_SUMMARY = ("metrics", "dimension", "bytes", "seconds", "milliseconds", "documents_per_second", "space")
_SETTINGS = ("max_seq_length", "prompts", "default_prompt_name", "similarity_fn_name", "truncate_dim")
"""Fields of the section `model` that say how a model is used, and that are saved with a trained one."""
_LOADING = ("use_prompts", "trust_remote_code", "model_kwargs", "processor_kwargs", "config_kwargs")
_FILES_OF_A_MODEL = ("modules.json", "config.json", "config_sentence_transformers.json")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Place:
    """Where a model is, and how it is used.

    Attributes:
        model: its folder or its id; None for the base model of the request.
        section: the section `model` by which it is built; None for a trained model, which has its own settings.
        fetched: the folder to which it was fetched from the hub.
    """

    model: str | None
    section: Model | None = None
    fetched: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """Scores and measurements of one model. A retrieval evaluator is one that has queries.

    Attributes:
        metrics: mean metrics by the evaluators' names; those at 128 dimensions have the prefix `128:`.
        of_queries: scores of each query of the retrieval evaluators by the same names, shape (queries,).
        dimension: dimension of an embedding.
        bytes: size of the weights in memory.
        seconds: wall time of the evaluators.
        slices: slice of each query by retrieval evaluator, if the request names slices.
        texts: `query`, `relevant` and `found` of each query by retrieval evaluator, shortened.
        space: embedding space with its `fingerprint`; None for a base model.
        documents: number of documents of the first retrieval evaluator.
        documents_per_second: embedding speed, measured on a sample of them.
        milliseconds: median time to embed a single query; None without queries.
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
        models: scores of each model by its name, in the given order.
        data: fingerprint of each eval dataset by its name.
        seen: for each model with recorded anchors, how many of the evaluators' rows it was trained on, by dataset.
        notes: how a trained model differs from what the request says of models; it is scored as it was trained.
    """

    models: Mapping[str, Scores]
    data: Mapping[str, str]
    seen: Mapping[str, Mapping[str, SeenAnchors]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def gain(self, metric: str, challenger: str, champion: str, *, confidence: float = 0.95) -> Gain | None:
        """Return the gain of one model over another, or None for a metric without a score for each query."""
        one, other = (self.models[name].of_queries.get(metric) for name in (challenger, champion))
        if one is None or other is None:
            return None
        return bootstrap_gain(one, other, confidence)

    def to_json(self) -> dict[str, Any]:
        """Return plain data, without the scores of each query."""
        models = {name: {key: getattr(scores, key) for key in _SUMMARY} for name, scores in self.models.items()}
        return {"format": "embedstep.scores/1", "data": dict(self.data), "models": models, "notes": list(self.notes)}


def parse_models(models: Sequence[str]) -> dict[str, str]:
    """Read `NAME=MODEL` texts.

    Raises:
        InvalidRequestError: a text has another form, or a name occurs twice.
    """
    found = dict(text.partition("=")[::2] for text in models)
    if wrong := [text for text in models if not all(text.partition("="))]:
        raise InvalidRequestError([Problem("--model", f"needs NAME=MODEL; {text} was given") for text in wrong])
    if len(found) < len(models):
        raise InvalidRequestError.at("--model", "uses a name twice; give each model its own name")
    return found


def score_models(request: TrainRequest, models: Mapping[str, str | None]) -> ScoredModels:
    """Score models with the evaluators of a request on its eval data.

    Args:
        request: names the data and the evaluators, and says how a model is used that no run has trained: its longest
            text, prompts and precision. A trained model has its own.
        models: each model by a name: its folder, the output folder of its run, or its id on the hub; None for the base
            model of the request.

    Raises:
        InvalidRequestError: data, evaluators or models cannot be used.
        CannotStartError: the hub did not answer.
        StepInterruptedError: a signal arrived while scoring.
        TrainingFailedError: a model could not be loaded or scored.
    """
    if not request.evaluators:
        raise InvalidRequestError.at("evaluators", "is empty; name an evaluator, such as information_retrieval")
    if problems := list(evaluators_are_known(request)):
        raise InvalidRequestError(problems)
    with tempfile.TemporaryDirectory(prefix="embedstep-") as name:
        folder = Path(name)
        local, _ = with_local_data(request, folder / "data", with_model=False, splits=_SCORED)
        held_out = with_datasets(local, lambda split, name, given: given if split in _SCORED else None)
        slices: dict[tuple[Split, str], str] = {
            ("eval", name): column for name, column in slice_columns(request).items()
        }
        # As in the training, in which a dataset may have a loss, too.
        facts, problems = scan_all(held_out, folder, row_needs(request), slices=slices)
        if problems := problems or list(evaluators_fit(request, facts)):
            raise InvalidRequestError(problems)
        places = {name: _locate(request, name, given, folder / "hub" / name) for name, given in models.items()}
        scored = {name: _score(request, place, facts, folder / f"score-{name}") for name, place in places.items()}
        seen = {name: _count_seen(request, place, facts) for name, place in places.items()}
    return ScoredModels(
        models=scored,
        data={item.name: item.fingerprint for item in facts},
        seen={name: found for name, found in seen.items() if found},
        notes=tuple(note for name, place in places.items() for note in _explain_own_settings(request, name, place)),
    )


def _explain_own_settings(request: TrainRequest, name: str, place: _Place) -> Iterator[str]:
    """Yield how a trained model differs from what the request says of models."""
    if place.section is not None or place.model is None:
        return
    trained = (read_provenance(Path(place.model)) or {}).get("request", {}).get("model", {})
    asked = request.model.model_dump(mode="json", include=set(_SETTINGS))
    for setting in _SETTINGS:
        if trained and trained.get(setting) != asked[setting]:
            values = f"{setting} {json.dumps(trained.get(setting))}, and the request says {json.dumps(asked[setting])}"
            yield f"{name} was trained with {values}; it is scored as it was trained"


def _count_seen(request: TrainRequest, place: _Place, facts: Sequence[DatasetFacts]) -> dict[str, SeenAnchors]:
    """Return how many anchors of each evaluated dataset a model was trained on; nothing if it does not say."""
    folders = [Path(place.model)] if place.model else local_sources(request.model, place.fetched)
    recorded = [found for found in map(read_anchors, folders) if found is not None]
    if not recorded:
        return {}
    known = np.sort(np.concatenate(recorded))
    evaluated = {item.dataset for item in request.evaluators}
    hashes = {item.name: item.text_hashes for item in facts if item.name in evaluated}
    return {name: count_seen(found["anchor"], known) for name, found in hashes.items() if "anchor" in found}


def slice_columns(request: TrainRequest) -> dict[str, str]:
    """Return the column of slices by the eval dataset of the deciding evaluator."""
    decides = deciding_evaluator(request)
    if request.promotion.slices is None or decides is None or decides.dataset is None:
        return {}
    return {decides.dataset: request.promotion.slices}


def deciding_evaluator(request: TrainRequest) -> Evaluator | None:
    """Return the retrieval evaluator whose metric decides: the one in the metric's name, else the first."""
    found = [item for item in request.evaluators if evaluator_kind(item.kind).name == RETRIEVAL]
    if request.promotion.metric is None:
        return next(iter(found), None)
    matching = [item for item in found if deciding_metric(request).startswith(f"{item.name}_")]
    return max(matching, key=lambda item: len(item.name), default=None)


def deciding_metric(request: TrainRequest) -> str:
    """Return the metric that decides, by the evaluators' names; empty if the request names none."""
    return (request.promotion.metric or "").removeprefix("eval_")


def _locate(request: TrainRequest, name: str, given: str | None, folder: Path) -> _Place:
    """Locate a model, and fetch it if it is on the hub."""
    if given is None:
        return _Place(model=None, section=request.model, fetched=_fetch_model(request, folder))
    path = Path(given).expanduser()
    if path.is_dir():
        is_run = OutputFolder(path).model.is_dir()
        path = OutputFolder(path).model if is_run else path
        if not any((path / file).is_file() for file in _FILES_OF_A_MODEL):
            raise InvalidRequestError.at(f"--model {name}", f"{path} contains no model")
        is_trained = is_run or read_provenance(path) is not None
        return _Place(model=str(path), section=None if is_trained else _as_asked(request.model, str(path)))
    if path.is_absolute() or given.startswith((".", "~")) or given.count("/") > 1:
        raise InvalidRequestError.at(f"--model {name}", f"{given} does not exist")
    section = _as_asked(request.model, given)
    fetched = _fetch_model(request.model_copy(update={"model": Model(path=given)}), folder)
    return _Place(model=fetched or given, section=section, fetched=fetched)


def _as_asked(section: Model, path: str) -> Model:
    """Return a section `model` for another model, which is used as the request says of its own."""
    return Model(path=path).model_copy(update={name: getattr(section, name) for name in (*_SETTINGS, *_LOADING)})


def _fetch_model(request: TrainRequest, folder: Path) -> str | None:
    return with_local_data(request, folder, with_model=True, splits=())[1]


def _score(request: TrainRequest, place: _Place, data: Sequence[DatasetFacts], folder: Path) -> Scores:
    arrays_file = folder / "scores.npz"
    facts = None
    own = request if place.section is None else request.model_copy(update={"model": place.section})
    with suppress(ValueError, KeyError, TypeError, AttributeError):  # the job says what is wrong with the files
        facts = read_facts(own, place.fetched)
    arguments = request.arguments
    job = {
        "model": place.model, "fetched": place.fetched,
        "section": None if place.section is None else place.section.model_dump(mode="json"),
        "on_cpu": arguments.use_cpu, "bf16": arguments.bf16_full_eval, "fp16": arguments.fp16_full_eval,
        "prompts": asdict(plan_prompts(own, facts)),
        "evaluators": [item.model_dump(mode="json") for item in request.evaluators],
        "data": {item.name: item.path for item in data},
        "corpora": {item.name: item.corpus for item in data if item.corpus},
        "dimensions": shorter_dimensions(list(request.loss.values())),
        "trust_remote_code": request.model.trust_remote_code, "to": str(arrays_file),
    }  # fmt: skip
    title = f"{place.model or 'the model of the request'}: scoring"
    try:
        about = run_job("score", job, folder, title=title, error=TrainingFailedError)
    except InvalidRequestError as error:
        if place.model is None:
            raise
        # The job names the field of the request in which it got the model.
        raise InvalidRequestError([Problem("--model", problem.message) for problem in error.problems]) from error
    with np.load(arrays_file) as arrays:
        slices = {name: tuple(some) for name, some in about.pop("slices").items()}
        of_queries = {name: arrays[name] for name in arrays.files if not name.startswith("@")}
        vectors = {name[1:]: arrays[name] for name in arrays.files if name.startswith("@")}
        return Scores(of_queries=of_queries, slices=slices, **about, **vectors)


def shorter_dimensions(losses: Sequence[Loss]) -> list[int]:
    """Return the truncated dimensions that losses train for, the largest first."""
    found: set[int] = set()
    for loss in losses:
        inner: Loss | None = loss
        while inner is not None:
            found.update(inner.options.get("matryoshka_dims", ()))
            inner = inner.loss
    return sorted(found, reverse=True)
