"""Score a model on each query of its evaluators: `python -m embedstep.worker.jobs.score FOLDER`.

The library's evaluator ranks documents and averages the scores. Its rankings are kept here, so that two models can be
compared query by query.
"""

import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

from embedstep.data.roles import SLICE
from embedstep.output.job import serve_job
from embedstep.output.weights import read_space
from embedstep.planning.evaluators import RETRIEVAL, evaluator_kind
from embedstep.planning.prompts import PlannedPrompts
from embedstep.request.model import Model
from embedstep.request.schema import Evaluator
from embedstep.worker.models import build_model, load_saved
from embedstep.worker.prompts import prompts_of, set_prompts
from embedstep.worker.trainer.evaluators import build_evaluator, read_corpus

_SAMPLE = 1000
"""Documents and queries whose embeddings of two models are compared."""
_TIMED_QUERIES = 30
"""Queries embedded one by one to time them, after a third as many for warm-up."""
_TEXT_CHARACTERS = 300


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoringJob:
    """A model to score.

    Attributes:
        model: folder of the model, or None for the base model of the request.
        section: the request's section of the base model.
        fetched: folder of the base model if it was fetched from the hub.
        prompts: prompts of the request's run, with which the base model is scored.
        evaluators: sections of the request.
        data: Arrow file of each eval dataset by name.
        corpora: Arrow file with the corpus of an eval dataset by name.
        dimensions: shorter embeddings to score as well.
        trust_remote_code: run code that comes with the model.
        to: file for the scores of each query, `.npz`.
    """

    model: str | None
    section: Mapping[str, Any]
    fetched: str | None
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
            if evaluator_kind(evaluator.kind).name == RETRIEVAL:
                # Built like any other, so that options and columns are the same as in a training.
                built.__class__ = _RecordingEvaluator
                built.rankings = []
                built.shorter = dimension
                built.embedded = embedded if job.dimensions else None
            elif dimension is not None:
                continue
            found = built(model)
            metrics |= {f"{prefix}{name}": float(value) for name, value in found.items()}
            if isinstance(built, _RecordingEvaluator):
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


def measure(model: SentenceTransformer, evaluator: "_RecordingEvaluator") -> tuple[dict[str, Any], dict[str, Any]]:
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
    if job.model is None:
        model = build_model(Model.model_validate(job.section), fetched=job.fetched).eval()
        set_prompts(model, PlannedPrompts(**job.prompts))
        return model
    return load_saved(job.model, trust_remote_code=job.trust_remote_code)


class _RecordingEvaluator(InformationRetrievalEvaluator):  # type: ignore[misc]
    """The library's evaluator, keeping the ranking of each query and embedding texts once for all dimensions.

    Attributes:
        rankings: for each score function, the documents found for each query.
        shorter: dimension to truncate the embeddings to, or None for all of it.
        embedded: embeddings by their texts, shared between dimensions; None if there is only one.
    """

    rankings: list[list[Any]]
    shorter: int | None
    embedded: dict[Any, torch.Tensor] | None

    def embed_inputs(self, model: Any, sentences: Any, **options: Any) -> Any:
        """Truncate cached embeddings; the library would embed the texts again."""
        if self.embedded is None:
            return super().embed_inputs(model, sentences, **options)
        key = (options.get("encode_fn_name"), hash(tuple(sentences)), len(sentences))
        if key not in self.embedded:
            self.embedded[key] = super().embed_inputs(model, sentences, **options)
        return self.embedded[key][:, : self.shorter]

    def texts(self) -> list[dict[str, str]]:
        """Return each query with a relevant document and the one ranked first, shortened."""
        documents = dict(zip(self.corpus_ids, self.corpus, strict=True))
        first = [max(found, key=lambda one: one["score"])["corpus_id"] for found in self.rankings[0]]
        return [
            {
                "query": query[:_TEXT_CHARACTERS],
                "relevant": documents[min(self.relevant_docs[number])][:_TEXT_CHARACTERS],
                "found": documents[best][:_TEXT_CHARACTERS],
            }
            for number, query, best in zip(self.queries_ids, self.queries, first, strict=True)
        ]

    def compute_metrics(self, queries_result_list: list[Any]) -> Any:
        """Keep the rankings of one score function; the library calls this in the order of `score_functions`."""
        self.rankings.append(queries_result_list)
        return super().compute_metrics(queries_result_list)

    def scores(self) -> dict[str, NDArray[np.float64]]:
        """Return the scores of each query by metric, such as `docs_cosine_ndcg@10`, shape (queries,).

        The library computes them, from the ranking of one query at a time, so their mean is its metric.
        """
        found: dict[str, list[float]] = {}
        one = copy(self)
        for function, rankings in zip(self.score_functions, self.rankings, strict=True):
            for query, ranking in zip(self.queries_ids, rankings, strict=True):
                one.queries_ids = one.queries = [query]
                for metric, by_cutoff in InformationRetrievalEvaluator.compute_metrics(one, [ranking]).items():
                    for cutoff, value in by_cutoff.items():
                        name = f"{self.name}_{function}_{metric.removesuffix('k')}{cutoff}"
                        found.setdefault(name, []).append(float(value))
        return {name: np.array(values) for name, values in found.items()}


if __name__ == "__main__":
    sys.exit(serve_job(lambda job, _: score(ScoringJob(**job)), Path(sys.argv[1])))
