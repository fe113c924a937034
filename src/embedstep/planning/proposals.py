"""What training fits columns of these roles: the loss, the batch sampler and the evaluator.

The choices are those that the documentation of sentence-transformers recommends for data of a form.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from embedstep.data.profile import ColumnProfile, RowsProfile
from embedstep.errors import InvalidRequestError
from embedstep.planning.column_roles import ColumnRoles, name_words
from embedstep.planning.evaluators import RETRIEVAL, evaluator_kind
from embedstep.planning.losses import loss_kind
from embedstep.request.options import all_values
from embedstep.runtime.text import shorten

_SHOWN_EXAMPLE = 40
_GRADES = 4
"""Different integers of a label from which on they are grades of a score where its name does not say more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """A training that fits the roles of the columns.

    Attributes:
        loss: its loss.
        options: options of the loss.
        reason: why this loss, for a comment.
        evaluator: its evaluator; None where none fits.
        measures: what the evaluator measures, for a comment.
        sampler: its batch sampler; None for the usual one.
        roles: the roles that it uses.
        notes: what is not used, and what else could be meant.
        transform: what is drawn in each epoch.
    """

    loss: str
    options: Mapping[str, Any] = field(default_factory=dict)
    reason: str
    evaluator: str | None = None
    measures: str = ""
    sampler: str | None = None
    roles: ColumnRoles
    notes: tuple[str, ...] = ()
    transform: str | None = None

    @property
    def averages_gradients(self) -> bool:
        """Whether several processes can train together."""
        return loss_kind(self.loss).averages_gradients

    @property
    def has_verdict(self) -> bool:
        """Whether `promote` can compare two models query by query."""
        return self.evaluator == RETRIEVAL

    @property
    def scores_models(self) -> bool:
        """Whether the evaluator can score a saved model."""
        return self.evaluator is not None and evaluator_kind(self.evaluator).classifier is None

    def best_metric(self, dataset: str, similarity: str) -> str:
        """Return the metric by which the best checkpoint is chosen: the evaluator's main one, else the loss."""
        if self.evaluator is None:
            return "eval_loss"
        kind = evaluator_kind(self.evaluator)
        return f"eval_{dataset}_{kind.primary(all_values(kind.options, {}), similarity)}"


def propose_task(roles: ColumnRoles, profile: RowsProfile, *, is_static: bool) -> Task:
    """Return the training that fits the roles.

    Args:
        roles: the roles of the columns.
        profile: all columns.
        is_static: whether the model is a static embedding, which some losses cannot train.

    Raises:
        InvalidRequestError: no training fits; says what is missing.
    """
    if roles.anchor is None:
        raise InvalidRequestError.at("", _without_texts(profile))
    if roles.positive is None:
        task = _task_of_texts(roles, is_static=is_static)
    elif roles.label is not None and roles.negative is None:
        task = _task_of_labelled_pairs(roles)
    else:
        task = _task_of_pairs(roles)
    return replace(task, notes=(*task.notes, *_unused(task.roles, profile)))


def _without_texts(profile: RowsProfile) -> str:
    found = ", ".join(f"{one.name} ({one.kind_name})" for one in profile.columns)
    return f"no column holds texts that a model could learn from; the columns are {found}"


def _task_of_pairs(roles: ColumnRoles) -> Task:
    notes = []
    if roles.label is not None:
        notes.append(f"{roles.label.column.name} is not used: a loss with negatives takes no label.")
        roles = replace(roles, label=None)
    if roles.negative is not None and (kept := [one for one in roles.negative.columns if one.filled >= 0.5]):
        roles = replace(roles, negative=replace(roles.negative, columns=tuple(kept)))
    elif roles.negative is not None:
        notes.append(f"{roles.negative.column.name} is not used: it is empty in most rows.")
        roles = replace(roles, negative=None)
    more = " and the negatives" if roles.negative else ""
    return Task(
        loss="multiple_negatives_ranking",
        reason=f"Pairs without a label: a positive has to beat the other texts of its batch{more}.",
        evaluator=RETRIEVAL,
        measures="Searches the positive of each anchor among all texts of the evaluation.",
        sampler="no_duplicates",
        roles=roles,
        notes=tuple(notes),
    )


def _task_of_labelled_pairs(roles: ColumnRoles) -> Task:
    assert roles.label is not None
    label = roles.label.column
    if label.kind == "text":
        raise _text_label(label, "0 and 1 for pairs that do not and do belong together, or a score")
    if label.is_whole and set(label.numbers) == {0.0, 1.0}:
        return Task(
            loss="online_contrastive",
            reason="Pairs with 0 or 1: learns from the hardest of both, which usually beats contrastive.",
            evaluator="binary_classification",
            measures="How well the similarity of two texts says whether the label is 1.",
            roles=roles,
            notes=(f"If {label.name} is not about the two texts: no label, and multiple_negatives_ranking as loss.",),
        )
    if label.values == 1 and label.range is not None and label.range[0] > 0:
        task = _task_of_pairs(replace(roles, label=None))
        return replace(task, notes=(f"{label.name} is not used: it is {label.range[0]:g} in each row.", *task.notes))
    if label.values == 1 and label.range is not None:
        message = f"is {label.range[0]:g} in each row; pairs that belong together are missing"
        raise InvalidRequestError.at(label.name, message)
    if _is_class(label, roles):
        return _task_of_pair_classes(roles, label)
    return Task(
        loss="cosent",
        reason="Pairs with a score: the order of the cosines has to be that of the scores, on any scale.",
        evaluator="embedding_similarity",
        measures="How well the order of the cosines is that of the scores.",
        roles=roles,
        notes=(f"{label.name} could also be a class; that is loss softmax, and evaluator label_accuracy.",)
        if label.is_whole
        else (),
    )


def _is_class(label: ColumnProfile, roles: ColumnRoles) -> bool:
    """Whether integers are classes of a pair, such as entailment and contradiction, and no grades of similarity."""
    assert roles.anchor is not None
    words = set(name_words(label.name))
    if not label.is_whole or words & {"score", "scores", "similarity", "sim", "relevance", "relatedness", "rating"}:
        return False
    is_inference = bool(set(name_words(roles.anchor.column.name)) & {"premise"}) or bool(words & {"class", "gold"})
    low = label.range[0] if label.range else 0
    return is_inference or (label.values < _GRADES and low == 0)


def _task_of_pair_classes(roles: ColumnRoles, label: ColumnProfile) -> Task:
    low, high = label.range or (0.0, 0.0)
    if low < 0:
        message = f"goes from {low:g} to {high:g}; classes are numbered from 0, so remove the rows without a class"
        raise InvalidRequestError.at(label.name, message)
    return Task(
        loss="softmax",
        options={"num_labels": int(high) + 1},
        reason="Pairs with a class: learns to classify both texts together.",
        evaluator="label_accuracy",
        measures="Share of the pairs whose class is found. The classifier is not saved with the model.",
        roles=roles,
        notes=(f"{label.name} could also be a score; that is loss cosent, and evaluator embedding_similarity.",),
    )


def _task_of_texts(roles: ColumnRoles, *, is_static: bool) -> Task:
    """Return the training on one column of texts, with a class or without."""
    assert roles.anchor is not None
    label, name = roles.label, roles.anchor.column.name
    if label is not None and label.column.kind == "text":
        raise _text_label(label.column, "classes are numbered from 0")
    if label is not None and label.column.is_whole and label.column.distinct <= 0.5:
        return Task(
            loss="batch_all_triplet",
            reason="Texts with a class: texts of one class come closer to each other than to those of others.",
            sampler="group_by_label",
            roles=replace(roles, negative=None),
            notes=("No evaluator fits a text with its class; evaluations give the loss on held-out rows.",),
        )
    if label is not None:
        message = f"{label.column.name} is not a class of the texts in {name}: too many different values"
        raise InvalidRequestError.at("", f"{message}; pairs of texts are missing, or a column with a class")
    if is_static:
        message = f"{name} is the only text, from which a static embedding learns nothing; pairs of texts are missing"
        raise InvalidRequestError.at("", message)
    return Task(
        loss="denoising_auto_encoder",
        reason="Texts alone: learns to restore texts from which words are deleted (TSDAE).",
        roles=replace(roles, negative=None, label=None),
        notes=("No evaluator fits texts alone; with pairs of queries and texts, a run could be judged.",),
        transform="delete_words",
    )


def _text_label(label: ColumnProfile, needed: str) -> InvalidRequestError:
    example = shorten(label.example, _SHOWN_EXAMPLE)
    message = f"holds text, such as {example!r}; a label is a number: {needed}"
    return InvalidRequestError.at(label.name, message)


def _unused(roles: ColumnRoles, profile: RowsProfile) -> Iterator[str]:
    used = roles.named()
    if rest := [one.name for one in profile.columns if one.name not in used]:
        yield f"Not used: {', '.join(rest)}."
