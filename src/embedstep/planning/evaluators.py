"""The evaluators that a request may name: the data that each needs, its options, and the names of its metrics.

The names are needed before the run (`metric_for_best_model`, the plan), and the library has them only after an
evaluation, so they are repeated here. Tests compare them with those of the installed evaluators.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from embedstep.data.facts import DatasetFacts
from embedstep.errors import Problem
from embedstep.planning.kinds import Kind, KindTable, Label, Rule, describe_list
from embedstep.request import extensions, schema
from embedstep.request.columns import Columns
from embedstep.request.options import (
    all_values,
    boolean,
    choice,
    choices,
    integer,
    integers,
    number,
    text,
)

Values = Mapping[str, Any]
Metrics = Callable[[Values, str], list[str]]
Primary = Callable[[Values, str], str]


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluatorKind(Kind):
    """One evaluator. It ignores further columns of its dataset, which a loss may need.

    A class of another package gets the columns by role as `rows`, its `name`, and the options as keyword arguments.

    Attributes:
        roles: text columns that it needs.
        several_negatives: whether it accepts more than one negative column.
        lists: whether a positive or negative may be a list of texts.
        label: the label, or None for an evaluator without one.
        classifier: loss whose classifier it reads, so that it scores a training and no saved model; None for others.
        has_own_data: whether it brings its data along, so that it names no dataset.
        metrics: returns the names of its metrics in the library's order, without the evaluator's own name, given the
            values of all options and the model's similarity.
        primary: returns the name of its primary metric, given the same.
    """

    roles: tuple[str, ...]
    several_negatives: bool = True
    lists: bool = False
    label: Label | None = None
    classifier: str | None = None
    has_own_data: bool = False
    metrics: Metrics
    primary: Primary


RETRIEVAL = "information_retrieval"
"""The evaluator that has a score for each query."""
_SIMILARITIES = ("cosine", "dot", "euclidean", "manhattan")


def _scores(values: Values, similarity: str, *, main: str, names: str = "similarity_fn_names") -> list[str]:
    """Return the similarities that an evaluator scores with: the named ones, else the main one, else the model's.

    Args:
        values: values of all options of the evaluator.
        similarity: the model's own similarity, such as `cosine`.
        main: option with the main similarity; empty for an evaluator without one.
        names: option with the list of similarities.
    """
    return list(values[names] or [values.get(main) or similarity])


def _by_score(patterns: tuple[str, ...], main: str, values: Values, similarity: str) -> list[str]:
    """Return the metrics of each similarity, and with several those of the best one, which is called `max`."""
    scores = _scores(values, similarity, main=main)
    return [pattern.format(score) for score in scores + ["max"] * (len(scores) > 1) for pattern in patterns]


def _by_main_score(pattern: str, main: str, values: Values, similarity: str) -> str:
    """Return the metric of the main similarity: the one that is named, else the only one, else the best."""
    scores = _scores(values, similarity, main=main)
    return pattern.format(values.get(main) or (scores[0] if len(scores) == 1 else "max"))


def _retrieval_metrics(values: Values, similarity: str) -> list[str]:
    cutoffs = (
        ("accuracy", "accuracy_at_k"),
        ("precision", "precision_recall_at_k"),
        ("recall", "precision_recall_at_k"),
        ("ndcg", "ndcg_at_k"),
        ("mrr", "mrr_at_k"),
        ("map", "map_at_k"),
    )
    scores = _scores(values, similarity, names="score_functions", main="main_score_function")
    return [f"{score}_{metric}@{k}" for score in scores for metric, option in cutoffs for k in values[option]]


def _retrieval_primary(values: Values, similarity: str) -> str:
    scores = _scores(values, similarity, names="score_functions", main="main_score_function")
    return f"{values['main_score_function'] or scores[0]}_ndcg@{max(values['ndcg_at_k'])}"


def _main_is_scored(names: str, main: str) -> Rule:
    """Return a rule: the similarity of the primary metric must be one of those that are computed."""

    def rule(values: Values) -> str | None:
        if values[main] is None or values[names] is None or values[main] in values[names]:
            return None
        return f"{main} {values[main]} is not among {names} ({', '.join(values[names])}); add it there"

    return rule


def _one_of_prompt_and_name(values: Values) -> str | None:
    for side in ("query", "corpus"):
        if values[f"{side}_prompt"] is not None and values[f"{side}_prompt_name"] is not None:
            return f"{side}_prompt and {side}_prompt_name are both given; keep one"
    return None


_NUMBER = Label(words="a number in each row, not always the same", kinds=("integer", "number"), varies=True)
_BINARY = Label(words="0 or 1 in each row, and both of them", kinds=("integer",), low=0, high=1, varies=True)
_VECTOR = Label(words="the teacher's vector in each row, a list of numbers", kinds=("numbers",))
_CLASS = Label(words="a class in each row, an integer", kinds=("integer",))
_DIMENSION = {"truncate_dim": integer(None, least=1)}
_SCORED_WITH = {"similarity_fn_names": choices(None, _SIMILARITIES)}
_BINARY_METRICS = (
    "{}_accuracy", "{}_accuracy_threshold", "{}_f1", "{}_f1_threshold", "{}_precision", "{}_recall", "{}_ap", "{}_mcc",
)  # fmt: skip

_CUTOFFS = {
    "mrr_at_k": integers([10], least=1),
    "ndcg_at_k": integers([10], least=1),
    "accuracy_at_k": integers([1, 3, 5, 10], least=1),
    "precision_recall_at_k": integers([1, 3, 5, 10], least=1),
    "map_at_k": integers([100], least=1),
}
NANO_BEIR: Mapping[str, str] = {
    "climatefever": "ClimateFEVER", "dbpedia": "DBPedia", "fever": "FEVER", "fiqa2018": "FiQA2018",
    "hotpotqa": "HotpotQA", "msmarco": "MSMARCO", "nfcorpus": "NFCorpus", "nq": "NQ",
    "quoraretrieval": "QuoraRetrieval", "scidocs": "SCIDOCS", "arguana": "ArguAna", "scifact": "SciFact",
    "touche2020": "Touche2020",
}  # fmt: skip
"""Datasets of NanoBEIR and their names in metrics, in the library's order."""


def _nano_mean(values: Values) -> str:
    return f"NanoBEIR_mean{_nano_suffix(values)}"


def _nano_suffix(values: Values) -> str:
    return "" if values["truncate_dim"] is None else f"_{values['truncate_dim']}"


def _nano_metrics(values: Values, similarity: str) -> list[str]:
    """Return the metrics of each dataset, then their means."""
    names = [NANO_BEIR[name] for name in values["dataset_names"] or NANO_BEIR]
    parts = [*(f"Nano{name}{_nano_suffix(values)}" for name in names), _nano_mean(values)]
    return [f"{part}_{metric}" for part in parts for metric in _retrieval_metrics(values, similarity)]


# The tests list the constructor parameters and the classes of the library that have no row here, with the reasons.
_ROWS = (
    EvaluatorKind(
        name=RETRIEVAL,
        class_name="InformationRetrievalEvaluator",
        roles=("anchor", "positive"),
        lists=True,
        options={
            "corpus_chunk_size": integer(50000, least=1),
            **_CUTOFFS,
            "batch_size": integer(32, least=1),
            "score_functions": choices(None, _SIMILARITIES),
            "main_score_function": choice(None, _SIMILARITIES),
            "query_prompt": text(None),
            "query_prompt_name": text(None),
            "corpus_prompt": text(None),
            "corpus_prompt_name": text(None),
            **_DIMENSION,
        },
        metrics=_retrieval_metrics,
        primary=_retrieval_primary,
        rules=(_main_is_scored("score_functions", "main_score_function"), _one_of_prompt_and_name),
    ),
    EvaluatorKind(
        name="embedding_similarity",
        class_name="EmbeddingSimilarityEvaluator",
        roles=("anchor", "positive"),
        label=_NUMBER,
        options={
            "batch_size": integer(16, least=1),
            "main_similarity": choice(None, _SIMILARITIES),
            "precision": choice(None, ("float32", "int8", "uint8", "binary", "ubinary")),
            **_SCORED_WITH,
            **_DIMENSION,
        },
        metrics=partial(_by_score, ("pearson_{}", "spearman_{}"), "main_similarity"),
        primary=partial(_by_main_score, "spearman_{}", "main_similarity"),
        rules=(_main_is_scored("similarity_fn_names", "main_similarity"),),
    ),
    EvaluatorKind(
        name="binary_classification",
        class_name="BinaryClassificationEvaluator",
        roles=("anchor", "positive"),
        label=_BINARY,
        options={"batch_size": integer(32, least=1), **_SCORED_WITH, **_DIMENSION},
        metrics=partial(_by_score, _BINARY_METRICS, ""),
        primary=partial(_by_main_score, "{}_ap", ""),
    ),
    EvaluatorKind(
        name="triplet",
        class_name="TripletEvaluator",
        roles=("anchor", "positive", "negative"),
        several_negatives=False,
        options={
            "main_similarity_function": choice(None, _SIMILARITIES),
            "margin": number(None),
            "batch_size": integer(16, least=1),
            **_SCORED_WITH,
            **_DIMENSION,
        },
        metrics=partial(_by_score, ("{}_accuracy",), "main_similarity_function"),
        primary=partial(_by_main_score, "{}_accuracy", "main_similarity_function"),
        rules=(_main_is_scored("similarity_fn_names", "main_similarity_function"),),
    ),
    EvaluatorKind(
        name="paraphrase_mining",
        class_name="ParaphraseMiningEvaluator",
        roles=("anchor", "positive"),
        options={
            "add_transitive_closure": boolean(False),
            "query_chunk_size": integer(5000, least=1),
            "corpus_chunk_size": integer(100000, least=1),
            "max_pairs": integer(500000, least=1),
            "top_k": integer(100, least=1),
            "batch_size": integer(16, least=1),
            **_DIMENSION,
        },
        metrics=lambda values, similarity: ["average_precision", "f1", "precision", "recall", "threshold"],
        primary=lambda values, similarity: "average_precision",
    ),
    EvaluatorKind(
        name="reranking",
        class_name="RerankingEvaluator",
        roles=("anchor", "positive", "negative"),
        lists=True,
        options={
            "at_k": integer(10, least=1),
            "similarity_fct": choice("cos_sim", ("cos_sim", "dot_score", "euclidean_sim", "manhattan_sim")),
            "batch_size": integer(64, least=1),
            "use_batched_encoding": boolean(True),
            **_DIMENSION,
        },
        metrics=lambda values, similarity: ["map", f"mrr@{values['at_k']}", f"ndcg@{values['at_k']}"],
        primary=lambda values, similarity: f"ndcg@{values['at_k']}",
    ),
    EvaluatorKind(
        name="translation",
        class_name="TranslationEvaluator",
        roles=("anchor", "positive"),
        options={"batch_size": integer(16, least=1), **_DIMENSION},
        metrics=lambda values, similarity: ["src2trg_accuracy", "trg2src_accuracy", "mean_accuracy"],
        primary=lambda values, similarity: "mean_accuracy",
    ),
    EvaluatorKind(
        name="nano_beir",
        class_name="NanoBEIREvaluator",
        roles=(),
        has_own_data=True,
        options={
            "dataset_names": choices(None, tuple(NANO_BEIR)),
            "dataset_id": text("sentence-transformers/NanoBEIR-en"),
            **_CUTOFFS,
            "batch_size": integer(32, least=1),
            "score_functions": choices(None, _SIMILARITIES),
            "main_score_function": choice(None, _SIMILARITIES),
            "query_prompts": text(None),
            "corpus_prompts": text(None),
            **_DIMENSION,
        },
        metrics=_nano_metrics,
        primary=lambda values, similarity: f"{_nano_mean(values)}_{_retrieval_primary(values, similarity)}",
        rules=(_main_is_scored("score_functions", "main_score_function"),),
    ),
    EvaluatorKind(
        name="mse",
        class_name="MSEEvaluator",
        roles=("anchor",),
        label=_VECTOR,
        options={"batch_size": integer(32, least=1), **_DIMENSION},
        metrics=lambda values, similarity: ["negative_mse"],
        primary=lambda values, similarity: "negative_mse",
    ),
    EvaluatorKind(
        name="label_accuracy",
        class_name="LabelAccuracyEvaluator",
        roles=("anchor", "positive"),
        label=_CLASS,
        classifier="softmax",
        metrics=lambda values, similarity: ["accuracy"],
        primary=lambda values, similarity: "accuracy",
    ),
)

EVALUATORS: Mapping[str, EvaluatorKind] = {row.name: row for row in _ROWS}
_TABLE = KindTable(EVALUATORS, EvaluatorKind, extensions.EVALUATORS, "evaluator")
evaluator_kind = _TABLE.find


def known_evaluator(evaluator: schema.Evaluator) -> EvaluatorKind | None:
    """Return the row of an evaluator; None if its name is unknown."""
    kind = _TABLE.find_or_explain(evaluator.kind)
    return None if isinstance(kind, str) else kind


def metric_names(evaluator: schema.Evaluator, similarity: str = "cosine") -> tuple[str, ...]:
    """Return the metrics of a checked evaluator under the names by which the trainer logs them.

    With several evaluators the trainer also logs `eval_sequential_score`, the primary metric of the last one.

    Args:
        evaluator: the checked evaluator.
        similarity: the model's own similarity function, which names the metrics where no option does.
    """
    kind = evaluator_kind(evaluator.kind)
    metrics = kind.metrics(all_values(kind.options, evaluator.options), similarity)
    # The same cutoff may be asked for twice, and is one metric.
    names = [f"{evaluator.name}_{metric}" for metric in dict.fromkeys(metrics)]
    # The trainer adds its prefix only once.
    return tuple(name if name.startswith("eval_") else f"eval_{name}" for name in names)


def check_evaluator(evaluator: schema.Evaluator, path: str) -> Iterator[Problem]:
    """Yield every problem of an evaluator, apart from the data.

    Args:
        evaluator: the evaluator as written.
        path: path of the evaluator in the request, such as `evaluators.0`.
    """
    kind = _TABLE.find_or_explain(evaluator.kind)
    if isinstance(kind, str):
        yield Problem(f"{path}.kind", kind)
        return
    if kind.has_own_data and evaluator.dataset is not None:
        yield Problem(f"{path}.dataset", f"is not read: {kind.name} has data of its own; remove it")
    if not kind.has_own_data and evaluator.dataset is None:
        yield Problem(f"{path}.dataset", "is missing")
    problems = list(kind.check(evaluator.options, path))
    yield from problems
    if problems:
        return
    values = all_values(kind.options, evaluator.options)
    # If the primary metric starts with the evaluator's name, the library does not add the name as a prefix, and then
    # does not find the metric.
    primaries = (kind.primary(values, similarity) for similarity in _SIMILARITIES)
    clash = next((each for each in primaries if each.startswith(f"{evaluator.name}_")), None)
    if clash:
        yield Problem(f"{path}.name", f"{evaluator.name!r} is the start of the metric {clash}; choose another name")


def check_evaluator_data(
    evaluator: schema.Evaluator, facts: DatasetFacts, given: Columns | None = None
) -> Iterator[Problem]:
    """Yield every problem of an evaluator with the columns of its dataset; none where the evaluator is unknown.

    Args:
        evaluator: the evaluator.
        facts: what was read of the dataset.
        given: columns of the dataset as written, for what to write instead.
    """
    kind = known_evaluator(evaluator)
    if kind is not None:
        columns = f"{facts.place}.columns"
        yield from _text_problems(kind, facts, columns, given)
        if kind.label is not None:
            yield from kind.label.check(facts, f"the evaluator {kind.name}", f"{columns}.label")


def _text_problems(kind: EvaluatorKind, facts: DatasetFacts, path: str, given: Columns | None) -> Iterator[Problem]:
    negatives = [role for role in facts.inputs if role.startswith("negative")]
    for role in kind.roles:
        if role not in facts.columns and not (role == "negative" and negatives):
            yield Problem(f"{path}.{role}", f"is missing: the evaluator {kind.name} needs {', '.join(kind.roles)}")
    if "negative" in kind.roles and len(negatives) > 1 and not kind.several_negatives:
        yield Problem(f"{path}.negative", f"names {len(negatives)} columns; the evaluator {kind.name} takes one")
    for role in facts.inputs:
        is_used = role in kind.roles or (role in negatives and "negative" in kind.roles)
        if is_used and facts.columns[role] == "texts" and (not kind.lists or role == "anchor"):
            message = f"holds lists; the evaluator {kind.name} needs one text in each row{describe_list(given, role)}"
            yield Problem(f"{path}.{role}", message)


def classifiers_are_trained(request: schema.TrainRequest) -> Iterator[Problem]:
    """An evaluator that reads a classifier finds it in the loss of the train dataset of the same name."""
    for index, evaluator in enumerate(request.evaluators):
        kind = known_evaluator(evaluator)
        if kind is None or kind.classifier is None or evaluator.dataset is None:
            continue
        loss = request.loss_of(evaluator.dataset) if evaluator.dataset in request.data.train else None
        if loss is None or loss.kind not in (kind.classifier, "SoftmaxLoss"):
            yield Problem(
                f"evaluators.{index}.kind",
                f"{kind.name} reads the classifier of {kind.classifier}; name the dataset after a train dataset with "
                "that loss",
            )


def evaluators_are_known(request: schema.TrainRequest) -> Iterator[Problem]:
    """Each evaluator has a known name and valid options."""
    for index, evaluator in enumerate(request.evaluators):
        yield from check_evaluator(evaluator, f"evaluators.{index}")
