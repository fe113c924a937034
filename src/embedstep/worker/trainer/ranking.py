"""The retrieval evaluator of the library with the scores of each query, by which two models can be compared."""

from copy import copy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

_TEXT_CHARACTERS = 300


class RankingEvaluator(InformationRetrievalEvaluator):  # type: ignore[misc]
    """The library's evaluator, keeping the ranking of each query and embedding texts once for all dimensions.

    Attributes:
        rankings: for each score function, the documents found for each query at the last call.
        shorter: dimension to truncate the embeddings to, or None for all of it.
        embedded: embeddings by their texts, shared between dimensions; None if there is only one.
    """

    shorter: int | None = None
    embedded: dict[Any, torch.Tensor] | None = None

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.rankings: list[list[Any]] = []

    def __call__(self, model: Any, *arguments: Any, **options: Any) -> dict[str, float]:
        """Evaluate a model, and forget the rankings of the one before."""
        self.rankings = []
        found: dict[str, float] = super().__call__(model, *arguments, **options)
        return found

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
        """Return the scores of each query at the last call, by metric, such as `docs_cosine_ndcg@10`, shape (queries,).

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
