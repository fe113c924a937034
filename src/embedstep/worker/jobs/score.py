"""Score a model on each query of its evaluators: `python -m embedstep.worker.jobs.score FOLDER`.

The library's evaluator ranks documents and averages the scores. Its rankings are kept here, so that two models can be
compared query by query.
"""

import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from embedstep.data.roles import SLICE
from embedstep.output.job import serve_job
from embedstep.output.weights import read_space
from embedstep.planning.evaluators import evaluator_kind
from embedstep.planning.prompts import PlannedPrompts
from embedstep.request.model import Model
from embedstep.request.schema import Evaluator
from embedstep.worker.models import build_model, evaluation_precision, load_saved
from embedstep.worker.prompts import prompts_of, set_prompts
from embedstep.worker.trainer.evaluators import build_evaluator, read_corpus
from embedstep.worker.trainer.ranking import RankingEvaluator

_SAMPLE = 1000
"""Documents and queries whose embeddings of two models are compared."""
_TIMED_QUERIES = 30
"""Queries embedded one by one to time them, after a third as many for warm-up."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoringJob:
    """A model to score.

    Attributes:
        model: folder of the model, or None for the base model of the request.
        section: the section `model` by which it is built; None for a trained model, which has its own settings.
        fetched: folder of a model to build if it was fetched from the hub.
        on_cpu: score on the CPU, whatever else there is (`use_cpu`).
        bf16: score in bfloat16 (`bf16_full_eval`).
        fp16: score in float16 (`fp16_full_eval`).
        prompts: prompts of the request's run, with which a built model is scored.
        evaluators: sections of the request.
        data: Arrow file of each eval dataset by name.
        corpora: Arrow file with the corpus of an eval dataset by name.
        dimensions: shorter embeddings to score as well.
        trust_remote_code: run code that comes with the model.
        to: file for the scores of each query, `.npz`.
    """

    model: str | None
    section: Mapping[str, Any] | None
    fetched: str | None
    on_cpu: bool
    bf16: bool
    fp16: bool
    prompts: Mapping[str, Any]
    evaluators: tuple[Mapping[str, Any], ...]
    data: Mapping[str, str]
    corpora: Mapping[str, str]
    dimensions: tuple[int, ...]
    trust_remote_code: bool
    to: str


def score(job: ScoringJob) -> dict[str, Any]:
    """Score a model, write the scores of each query by metric, shape (queries,), and return everything else."""
    model = _model(job)
    # A saved model is scored with its own prompts. Those of one dataset among several are in no model.
    others = PlannedPrompts(**job.prompts).evaluation
    metrics: dict[str, float] = {}
    per_query: dict[str, NDArray[np.float64]] = {}
    slices: dict[str, list[str]] = {}
    texts: dict[str, list[dict[str, str]]] = {}
    speed: dict[str, Any] = {"documents": 0, "documents_per_second": 0.0, "milliseconds": None}
    vectors: dict[str, NDArray[np.float32]] = {}
    began = time.perf_counter()
    for raw in job.evaluators:
        evaluator = Evaluator.model_validate(raw)
        if evaluator_kind(evaluator.kind).classifier is not None:
            continue  # the classifier is not saved with the model
        columns = {} if evaluator.dataset is None else Dataset.from_file(job.data[evaluator.dataset])[:]
        corpus = read_corpus(job.corpora.get(evaluator.dataset or ""))
        if SLICE in columns:
            slices[evaluator.name] = _slices_of_queries(columns["anchor"], columns[SLICE])
        embedded: dict[Any, torch.Tensor] = {}
        for dimension in (None, *job.dimensions):
            prefix = "" if dimension is None else f"{dimension}:"
            prompts = others.get(evaluator.dataset or "") or prompts_of(model)
            built = build_evaluator(evaluator, columns, prompts, corpus=corpus)
            if isinstance(built, RankingEvaluator):
                built.shorter = dimension
                built.embedded = embedded if job.dimensions else None
            elif dimension is not None:
                continue
            found = built(model)
            metrics |= {f"{prefix}{name}": float(value) for name, value in found.items()}
            if isinstance(built, RankingEvaluator):
                per_query |= {f"{prefix}{name}": scores for name, scores in built.scores().items()}
                if dimension is None:
                    texts[evaluator.name] = built.texts()
                if not vectors:
                    speed, vectors = measure(model, built)
    about = {
        "metrics": metrics,
        "slices": slices,
        "texts": texts,
        "space": _space(job, model),
        **speed,
        "dimension": model.get_embedding_dimension(),
        "bytes": sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers())),
        "seconds": round(time.perf_counter() - began, 3),
    }
    np.savez(job.to, **per_query, **vectors)  # type: ignore[arg-type]
    return about


def _slices_of_queries(anchors: Sequence[str], slices: Sequence[Any]) -> list[str]:
    """Return the slice of each distinct anchor, in the order in which the evaluator numbers its queries."""
    # Reversed, so that of several rows with one anchor the first decides.
    slice_of = dict(zip(reversed(anchors), reversed(slices), strict=True))
    return [str(slice_of[anchor]) for anchor in dict.fromkeys(anchors)]


def measure(model: SentenceTransformer, evaluator: RankingEvaluator) -> tuple[dict[str, Any], dict[str, Any]]:
    """Embed a sample of the documents and queries; return the speed, and the vectors as `@sample` and `@queries`."""
    documents = evaluator.corpus[:: max(1, len(evaluator.corpus) // _SAMPLE)][:_SAMPLE]
    queries = evaluator.queries[:_SAMPLE]
    started = time.perf_counter()
    sample = model.encode_document(documents, batch_size=evaluator.batch_size)
    documents_per_second = len(documents) / (time.perf_counter() - started)
    seconds = []
    for query in queries[: _TIMED_QUERIES + _TIMED_QUERIES // 3]:
        started = time.perf_counter()
        model.encode_query(query)
        seconds.append(time.perf_counter() - started)
    facts = {
        "documents": len(evaluator.corpus),
        "documents_per_second": round(documents_per_second, 2),
        "milliseconds": round(1000 * statistics.median(seconds[_TIMED_QUERIES // 3 :] or seconds), 3),
    }
    return facts, {"@sample": sample, "@queries": model.encode_query(queries, batch_size=evaluator.batch_size)}


def _space(job: ScoringJob, model: SentenceTransformer) -> dict[str, Any] | None:
    """Return the embedding space of a model in a folder; None for the base model, which serves no index."""
    if job.model is None or not Path(job.model).is_dir():
        return None
    space = read_space(Path(job.model), int(model.get_embedding_dimension() or 0))
    return {**asdict(space), "fingerprint": space.fingerprint}


def _model(job: ScoringJob) -> SentenceTransformer:
    """Return the model in the precision in which a run evaluates."""
    device = "cpu" if job.on_cpu else None
    if job.section is None:
        model = load_saved(str(job.model), trust_remote_code=job.trust_remote_code, device=device)
    else:
        section = Model.model_validate(job.section)
        # A model of another kind than the request's may have no limit, which is no mistake here.
        section = section if job.model is None else section.model_copy(update={"max_seq_length": None})
        model = build_model(section, fetched=job.fetched, device=device).eval()
        if job.model is not None:
            _limit_texts(model, job.section["max_seq_length"])
        set_prompts(model, PlannedPrompts(**job.prompts))
    precision = evaluation_precision(bf16=job.bf16, fp16=job.fp16)
    return model if precision is None else model.to(precision)


def _limit_texts(model: SentenceTransformer, tokens: int | None) -> None:
    if tokens is not None:
        with suppress(AttributeError):  # a static embedding reads texts of any length
            model.max_seq_length = tokens


if __name__ == "__main__":
    sys.exit(serve_job(lambda job, _: score(ScoringJob(**job)), Path(sys.argv[1])))
