"""The loss and the evaluator for columns of some roles; all names are those of the tables."""

import pytest

from embedstep.data.profile import ColumnProfile, RowsProfile
from embedstep.errors import InvalidRequestError
from embedstep.planning.column_roles import propose_roles
from embedstep.planning.evaluators import EVALUATORS
from embedstep.planning.losses import LOSSES
from embedstep.planning.proposals import Task, propose_task
from tests.planning.test_column_roles import numbers, text, texts


def task_of(*columns: ColumnProfile, is_static: bool = False) -> Task:
    profile = RowsProfile(columns=columns, rows=500, is_counted=True)
    return propose_task(propose_roles(columns), profile, is_static=is_static)


PAIR = (text("query"), text("passage"))
GRADES = numbers("label", 0, 1, 2, 3, 4, 5)


@pytest.mark.parametrize(
    ("columns", "loss", "evaluator", "sampler"),
    [
        (PAIR, "multiple_negatives_ranking", "information_retrieval", "no_duplicates"),
        ((*PAIR, texts("neg")), "multiple_negatives_ranking", "information_retrieval", "no_duplicates"),
        ((*PAIR, numbers("label", 0, 1)), "online_contrastive", "binary_classification", None),
        ((*PAIR, numbers("score", 0.0, 0.5, 1.0)), "cosent", "embedding_similarity", None),
        ((*PAIR, numbers("similarity", 0, 1, 2)), "cosent", "embedding_similarity", None),
        ((*PAIR, GRADES), "cosent", "embedding_similarity", None),
        ((*PAIR, numbers("label", -1, 1)), "cosent", "embedding_similarity", None),
        ((*PAIR, numbers("label", 0, 1, 2)), "softmax", "label_accuracy", None),
        ((text("premise"), text("hypothesis"), GRADES), "softmax", "label_accuracy", None),
        ((*PAIR, numbers("label", 1)), "multiple_negatives_ranking", "information_retrieval", "no_duplicates"),
        ((text("text"), numbers("label", 0, 1, 2)), "batch_all_triplet", None, "group_by_label"),
        ((text("text"),), "denoising_auto_encoder", None, None),
    ],
)
def test_roles_lead_to_a_loss_and_an_evaluator(
    columns: tuple[ColumnProfile, ...], loss: str, evaluator: str | None, sampler: str | None
) -> None:
    task = task_of(*columns)
    assert (task.loss, task.evaluator, task.sampler) == (loss, evaluator, sampler)
    assert loss in LOSSES
    assert evaluator is None or evaluator in EVALUATORS


def test_the_number_of_classes_is_an_option_of_softmax() -> None:
    assert task_of(*PAIR, numbers("label", 0, 1, 2)).options == {"num_labels": 3}


def test_a_label_next_to_negatives_is_not_used_and_it_is_said() -> None:
    task = task_of(*PAIR, text("negative"), numbers("score", 0.1, 0.9, 0.5))
    assert task.roles.label is None
    assert task.notes == ("score is not used: a loss with negatives takes no label.", "Not used: score.")


def test_negatives_that_most_rows_lack_are_not_used() -> None:
    task = task_of(*PAIR, text("negative", filled=0.2))
    assert task.roles.negative is None
    assert task.notes[0] == "negative is not used: it is empty in most rows."


def test_what_a_verdict_needs_is_known() -> None:
    pairs, scores, classes = task_of(*PAIR), task_of(*PAIR, GRADES), task_of(*PAIR, numbers("label", 0, 1, 2))
    assert [one.has_verdict for one in (pairs, scores, classes)] == [True, False, False]
    assert [one.scores_models for one in (pairs, scores, classes)] == [True, True, False]
    assert [one.best_metric("docs", "dot") for one in (pairs, scores, classes, task_of(text("text")))] == [
        "eval_docs_dot_ndcg@10", "eval_docs_spearman_dot", "eval_docs_accuracy", "eval_loss",
    ]  # fmt: skip
    assert pairs.averages_gradients
    assert not task_of(text("text")).averages_gradients


@pytest.mark.parametrize(
    ("columns", "is_static", "message"),
    [
        ((numbers("price", 1.5, 2.5),), False, "no column holds texts that a model could learn from; the columns are "
         "price (numbers)"),
        ((text("text"),), True, "text is the only text, from which a static embedding learns nothing; pairs of texts "
         "are missing"),
        ((*PAIR, numbers("label", 0)), False, "label: is 0 in each row; pairs that belong together are missing"),
    ],
)  # fmt: skip
def test_where_nothing_fits_it_is_said_what_is_missing(
    columns: tuple[ColumnProfile, ...], is_static: bool, message: str
) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        task_of(*columns, is_static=is_static)
    assert str(caught.value) == message
