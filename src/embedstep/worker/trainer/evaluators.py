"""Builds the library's evaluators of a request from the columns of an eval dataset.

Texts are numbered in the order of first appearance, so that two evaluators of the same rows give the same scores.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from types import SimpleNamespace
from typing import Any

import datasets
import numpy as np
import torch
from sentence_transformers import util
from sentence_transformers.base.evaluation import BaseEvaluator
from sentence_transformers.sentence_transformer import evaluation as library
from sentence_transformers.util import SimilarityFunction

from embedstep.errors import CannotStartError, InvalidRequestError, Problem, first_line
from embedstep.planning.evaluators import RETRIEVAL, evaluator_kind
from embedstep.request import schema
from embedstep.request.extensions import is_reference, load
from embedstep.request.options import option_values
from embedstep.worker.trainer.ranking import RankingEvaluator

Rows = Mapping[str, Sequence[Any]]


def build_evaluator(
    evaluator: schema.Evaluator,
    rows: Rows,
    prompts: tuple[str, str] | None = None,
    *,
    loss: torch.nn.Module | None = None,
    corpus: Sequence[str] = (),
) -> BaseEvaluator:
    """Build a checked evaluator.

    Args:
        evaluator: section of the request, already checked.
        rows: the dataset's columns by role (`anchor`, `positive`, `negative` or `negative_1`..., `label`), all of the
            same length; other columns are ignored.
        prompts: prompts for queries and documents; None for those that the evaluated model uses by itself.
        loss: the loss of the train dataset of this name, for an evaluator that reads its classifier.
        corpus: more documents for a retrieval evaluator to search.

    Returns:
        The evaluator; it writes no files.
    """
    kind = evaluator_kind(evaluator.kind)
    options = option_values(kind.options, evaluator.options)
    if is_reference(kind.class_name):
        return _declared(kind.class_name, rows, evaluator.name, options)
    if "similarity_fct" in options:
        options["similarity_fct"] = getattr(util, options["similarity_fct"])
    if names := options.get("score_functions"):
        options["score_functions"] = {name: SimilarityFunction.to_similarity_fn(name) for name in names}
        # Without a main one, the library chooses the best at the first evaluation, which a plan cannot predict.
        options["main_score_function"] = options.get("main_score_function") or names[0]
    elif main := options.get("main_score_function"):
        options["score_functions"] = {main: SimilarityFunction.to_similarity_fn(main)}
    if kind.classifier is not None:
        return library.LabelAccuracyEvaluator(
            _labelled(rows, prompts), name=evaluator.name, softmax_model=loss, write_csv=False
        )
    if kind.has_own_data:
        return _nano_beir(evaluator.name, options, prompts)
    is_ranking = kind.name == RETRIEVAL
    columns = _retrieval(rows, corpus) if is_ranking else _COLUMNS[kind.name](rows)
    if prompts is not None:
        columns, options = _with_prompts(kind.name, columns, options, prompts)
    built: BaseEvaluator = (RankingEvaluator if is_ranking else getattr(library, kind.class_name))(
        **columns, **options, name=evaluator.name, write_csv=False, show_progress_bar=False
    )
    if prompts is not None:
        _embed_with(built, kind.name, prompts)
        if kind.name == "mse":  # the text is the document's side, if there is one
            built.embed_inputs = partial(built.embed_inputs, prompt=prompts["positive" in rows])
    return built


def read_corpus(file: str | None) -> Sequence[str]:
    """Return the documents in an Arrow file that was written for a dataset with a corpus; none without a file."""
    if file is None:
        return ()
    documents: Sequence[str] = datasets.Dataset.from_file(file)["positive"][:]
    return documents


@dataclass(frozen=True, slots=True)
class _Prompted:
    """A text with its prompt, in place of a text: evaluators embed equal ones once."""

    text: str
    prompt: str


def _with_prompts(
    kind: str, columns: dict[str, Any], options: dict[str, Any], prompts: tuple[str, str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the columns and options of an evaluator with the prompts; those that the request names for it stay."""
    if kind == RETRIEVAL:
        for side, prompt in zip(("query", "corpus"), prompts, strict=True):
            if options.get(f"{side}_prompt") is None and options.get(f"{side}_prompt_name") is None:
                options = {**options, f"{side}_prompt": prompt}
    for name, prompt in zip(_PAIRS.get(kind, ()), prompts, strict=False):
        columns = {**columns, name: [_Prompted(text, prompt) for text in columns[name]]}
    return columns, options


def _embed_with(built: Any, kind: str, prompts: tuple[str, str]) -> None:
    """Let an evaluator without options for prompts embed its texts with them."""
    if kind in _PAIRS:
        built.embed_inputs = partial(_embed_pairs, built.embed_inputs)
    elif kind in _SIDES:
        built.embed_inputs = partial(
            _embed_sides, built.embed_inputs, dict(zip(("query", "document"), prompts, strict=True))
        )


def _embed_sides(embed: Callable[..., Any], prompts: Mapping[str, str], model: Any, texts: Any, **options: Any) -> Any:
    return embed(model, texts, prompt=prompts[options["encode_fn_name"]], **options)


def _embed_pairs(embed: Callable[..., Any], model: Any, texts: Sequence[_Prompted], **options: Any) -> Any:
    """Embed texts with one call for each prompt, and return the embeddings in the order and type of a single call."""
    found: dict[int, Any] = {}
    part: Any = None
    for prompt in dict.fromkeys(text.prompt for text in texts):
        places = [place for place, text in enumerate(texts) if text.prompt == prompt]
        part = embed(model, [texts[place].text for place in places], prompt=prompt, **options)
        found.update(zip(places, part, strict=True))
    in_order = [found[place] for place in range(len(texts))]
    return np.stack(in_order) if isinstance(part, np.ndarray) else in_order


def _declared(class_name: str, rows: Rows, name: str, options: Mapping[str, Any]) -> BaseEvaluator:
    try:
        found: BaseEvaluator = load(class_name)(rows=rows, name=name, **options)
    except ValueError as error:
        raise InvalidRequestError([Problem("evaluators", f"{name}: {error}")]) from error
    return found


def _retrieval(rows: Rows, corpus: Sequence[str]) -> dict[str, Any]:
    """Distinct anchors are queries, distinct positives, negatives and further documents the corpus.

    A row's positives are relevant for its anchor.
    """
    query_ids = _numbered("q", rows["anchor"])
    documents = (text for texts in (*_per_row(rows, "positive"), *_per_row(rows, "negative")) for text in texts)
    document_ids = _numbered("d", chain(documents, corpus))
    relevant: dict[str, set[str]] = {}
    for query, positives in zip(rows["anchor"], _per_row(rows, "positive"), strict=True):
        relevant.setdefault(query_ids[query], set()).update(document_ids[text] for text in positives)
    return {"queries": _by_id(query_ids), "corpus": _by_id(document_ids), "relevant_docs": relevant}


def _labelled_pairs(rows: Rows, *, name: str, type_: type) -> dict[str, Any]:
    labels = [type_(label) for label in rows["label"]]
    return {"sentences1": list(rows["anchor"]), "sentences2": list(rows["positive"]), name: labels}


def _triplets(rows: Rows) -> dict[str, Any]:
    negatives = [texts[0] for texts in _per_row(rows, "negative")]
    return {"anchors": list(rows["anchor"]), "positives": list(rows["positive"]), "negatives": negatives}


def _duplicates(rows: Rows) -> dict[str, Any]:
    """The two texts of a row are duplicates; a text paired with itself is left out."""
    ids = _numbered("t", (text for pair in zip(rows["anchor"], rows["positive"], strict=True) for text in pair))
    pairs = [(ids[one], ids[two]) for one, two in zip(rows["anchor"], rows["positive"], strict=True) if one != two]
    return {"sentences_map": _by_id(ids), "duplicates_list": pairs}


def _candidates(rows: Rows) -> dict[str, Any]:
    """One sample for each distinct anchor, from all its rows; a text that is positive in one is not negative."""
    positives: dict[str, dict[str, None]] = {}
    negatives: dict[str, dict[str, None]] = {}
    texts = zip(rows["anchor"], _per_row(rows, "positive"), _per_row(rows, "negative"), strict=True)
    for query, good, bad in texts:
        positives.setdefault(query, {}).update(dict.fromkeys(good))
        negatives.setdefault(query, {}).update(dict.fromkeys(bad))
    samples = [
        {
            "query": query,
            "positive": list(good),
            "negative": [text for text in negatives[query] if text not in good],
        }
        for query, good in positives.items()
    ]
    return {"samples": samples}


def _translations(rows: Rows) -> dict[str, Any]:
    return {"source_sentences": list(rows["anchor"]), "target_sentences": list(rows["positive"])}


def _nano_beir(name: str, options: dict[str, Any], prompts: tuple[str, str] | None) -> BaseEvaluator:
    """Build the evaluators of NanoBEIR from the cache that their data was fetched to, with `name` in their metrics.

    Raises:
        CannotStartError: the data is neither there nor on the hub.
    """
    for side, prompt in zip(("query_prompts", "corpus_prompts"), prompts or (), strict=False):
        if options.get(side) is None:
            options = {**options, side: prompt}
    try:
        built = library.NanoBEIREvaluator(**options, write_csv=False, show_progress_bar=False)
    except ValueError as error:
        raise CannotStartError(f"evaluators: {name}: {first_line(error)}") from error
    # The library splits the names of metrics by the number of underscores in its own, so all get the same ones.
    built.name = f"{name}_{built.name}"
    for evaluator in built.evaluators:
        evaluator.name = f"{name}_{evaluator.name}"
    found: BaseEvaluator = built
    return found


def _distilled(rows: Rows) -> dict[str, Any]:
    """The label is what the teacher gave for the anchor; the model gives the vector of the positive, if there is one.

    So a translation is compared with the vector of the original, as in the library's script for multilingual models.
    """
    targets = list(rows.get("positive", rows["anchor"]))
    return {
        "source_sentences": list(rows["anchor"]),
        "target_sentences": targets,
        "teacher_model": _Teacher(rows["label"]),
    }


class _Teacher:
    """Gives the vectors that a teacher has computed before, in place of the model."""

    def __init__(self, vectors: Sequence[Sequence[float]]) -> None:
        self._vectors = np.asarray(vectors, dtype=np.float32)

    def encode(self, sentences: Sequence[str], *, truncate_dim: int | None = None, **options: Any) -> Any:
        """Return all vectors, shape (sentences, dimensions)."""
        return self._vectors[:, :truncate_dim]


def _labelled(rows: Rows, prompts: tuple[str, str] | None) -> Any:
    """Return a loader of the library's old training loop, with pairs and their classes."""
    query, document = prompts or ("", "")
    pairs = zip(rows["anchor"], rows["positive"], rows["label"], strict=True)
    examples = [SimpleNamespace(texts=[query + one, document + two], label=int(label)) for one, two, label in pairs]
    return torch.utils.data.DataLoader(examples, batch_size=_CLASSIFIED)


_CLASSIFIED = 32
"""Rows that are classified at once."""


_COLUMNS: Mapping[str, Callable[[Rows], dict[str, Any]]] = {
    "embedding_similarity": partial(_labelled_pairs, name="scores", type_=float),
    "binary_classification": partial(_labelled_pairs, name="labels", type_=int),
    "triplet": _triplets,
    "paraphrase_mining": _duplicates,
    "reranking": _candidates,
    "translation": _translations,
    "mse": _distilled,
}

_PAIRS: Mapping[str, tuple[str, str]] = {
    "embedding_similarity": ("sentences1", "sentences2"),
    "binary_classification": ("sentences1", "sentences2"),
    "translation": ("source_sentences", "target_sentences"),
}
"""Arguments with the texts of evaluators that embed both sides of a pair by `encode`."""
_SIDES = ("triplet", "reranking")
"""Evaluators that embed with `encode_query` and `encode_document`."""


def _per_row(rows: Rows, role: str) -> list[list[str]]:
    """Return the texts of each row in the column `role`, or in all columns `role_1`..., with lists flattened."""
    columns = [column for name, column in rows.items() if name == role or name.startswith(f"{role}_")]
    return [
        [text for cell in cells for text in ([cell] if isinstance(cell, str) else cell)]
        for cells in zip(*columns, strict=True)
    ]


def _numbered(prefix: str, texts: Iterable[str]) -> dict[str, str]:
    """Return an identifier for each distinct text, in the order of first appearance."""
    return {text: f"{prefix}{index}" for index, text in enumerate(dict.fromkeys(texts))}


def _by_id(ids: Mapping[str, str]) -> dict[str, str]:
    return {identifier: text for text, identifier in ids.items()}
