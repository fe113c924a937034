"""What is planned of rows that are drawn in each epoch, and what they do not go with."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from embedstep.errors import InvalidRequestError
from embedstep.output.position import position_problems, write_position
from embedstep.planning.checks import check_with_data
from embedstep.planning.plan import Plan, plan_from_json
from embedstep.planning.prompts import text_columns
from embedstep.request.loading import load_request
from embedstep.step import plan_step
from tests.planning.plans import facts, request

Make = Callable[..., Plan]
TEXT = {"anchor": "positive"}
EQUAL = {"anchor": "positive", "positive": "positive"}


@pytest.fixture
def plan_of(request_of: Callable[..., dict[str, Any]], data_folder: Path) -> Make:
    """Plan a training on 130 rows with a transform; `others` are further datasets by split."""

    def plan(
        transform: Any,
        columns: Mapping[str, Any] = EQUAL,
        loss: str = "multiple_negatives_ranking",
        preview: int = 0,
        others: Mapping[str, Any] | None = None,
        evaluators: Any = (),
        **arguments: Any,
    ) -> Plan:
        docs = {"path": str(data_folder / "train.jsonl"), "columns": columns, "transform": transform}
        document = request_of(
            data={"train": {"docs": docs}, **(others or {})}, loss=loss, evaluators=list(evaluators),
            arguments={"per_device_train_batch_size": 13, "max_steps": -1, "num_train_epochs": 2, **arguments},
        )  # fmt: skip
        return plan_step(load_request(json.dumps(document)), preview=preview)

    return plan


def test_pairs_are_planned_with_the_columns_that_are_drawn(plan_of: Make) -> None:
    plan = plan_of("contrastive_pairs", TEXT, "contrastive_tension")
    (docs,) = plan.datasets
    assert (docs.columns, docs.loss_columns, docs.rows, docs.batches) == (
        ("anchor",), ("anchor", "positive", "label"), 130, 10,
    )  # fmt: skip
    assert (plan.steps_per_epoch, plan.train_steps) == (10, 20)
    assert "data.train.docs: contrastive_pairs (pos_neg_ratio 8) draws positive and label in each epoch" in plan.notes
    assert plan_from_json(json.loads(json.dumps(plan.to_json()))) == plan


def test_noise_is_planned_and_held_out_rows_are_drawn_once(plan_of: Make, data_folder: Path) -> None:
    held_out = {"path": str(data_folder / "eval.jsonl"), "columns": EQUAL, "transform": "delete_words"}
    plan = plan_of(
        "delete_words", others={"eval": {"docs": held_out}}, batch_sampler="no_duplicates", group_by_length=True
    )
    assert plan.datasets[0].loss_columns == ("anchor", "positive")
    assert plan.datasets[0].negatives_per_anchor == 12
    noted = [note for note in plan.notes if "delete_words" in note or "padding" in note]
    assert noted == [
        "data.train.docs: delete_words (ratio 0.6) draws anchor in each epoch",
        "data.train.docs: no_duplicates compares the texts before delete_words",
        "data.train.docs: rows are grouped by their characters before delete_words",
        "data.eval.docs: delete_words (ratio 0.6) draws anchor once, the same for each evaluation",
    ]


def test_a_preview_shows_what_the_first_epoch_draws(plan_of: Make) -> None:
    step = plan_of("delete_words", batch_sampler="no_duplicates", preview=1).preview[0]
    rows = [row for rank in step["ranks"] for row in rank]
    assert all(set(row["anchor"].split()) <= set(row["positive"].split()) for row in rows)
    assert {row["anchor"] == row["positive"] for row in rows} != {True}


@pytest.mark.parametrize(
    ("loss", "transform", "note"),
    [
        ("denoising_auto_encoder", None,
         "data.train.docs: denoising_auto_encoder learns to copy texts: anchor and positive are one column; write "
         "transform: delete_words"),
        ("contrastive_tension", None,
         "data.train.docs: contrastive_tension gets no pair of different texts: anchor and positive are one column; "
         "write transform: contrastive_pairs"),
        ("denoising_auto_encoder", "delete_words", ""),
        ("multiple_negatives_ranking", None, ""),
    ],
)  # fmt: skip
def test_a_loss_that_learns_nothing_from_equal_texts_is_noted(
    plan_of: Make, loss: str, transform: Any, note: str
) -> None:
    found = [one for one in plan_of(transform, loss=loss).notes if "one column" in one]
    assert found == [note][: len(note)]


def test_a_transform_changes_the_training_and_its_position(plan_of: Make, tmp_path: Path) -> None:
    plans = [plan_of(one) for one in (None, "delete_words", {"kind": "delete_words", "options": {"ratio": 0.5}})]
    assert len({plan.training_fingerprint for plan in plans}) == 3
    assert len({plan.datasets[0].fingerprint for plan in plans}) == 1
    assert "transforms" not in plans[0].position
    write_position(tmp_path, plans[1].position)
    assert not list(position_problems(tmp_path, plans[1].position))
    (changed,) = position_problems(tmp_path, plans[2].position)
    assert "used transforms docs " in changed.message
    (gone,) = position_problems(tmp_path, plans[0].position)
    assert gone.message.startswith(f"{tmp_path} has another order of rows: transforms is docs ")


def test_the_seed_counts_for_rows_in_the_order_of_the_file(plan_of: Make) -> None:
    seeds = [plan_of("delete_words", train_sampling_strategy="sequential", seed=seed).position for seed in (1, 2)]
    assert [position["seed"] for position in seeds] == [1, 2]


def evaluated(columns: Mapping[str, str]) -> dict[str, Any]:
    return {"eval": {"held": {"path": "x.jsonl", "columns": columns, "transform": "delete_words"}}}


SCORER = {"kind": "information_retrieval", "name": "held", "dataset": "held"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"transform": "delete_word"},
         "data.train.docs.transform.kind: no transform is named 'delete_word'; did you mean delete_words?"),
        ({"transform": "nowhere:x"},
         "data.train.docs.transform.kind: nowhere cannot be imported: ModuleNotFoundError: No module named 'nowhere'"),
        ({"transform": {"kind": "delete_words", "options": {"ratio": 1.5}}},
         "data.train.docs.transform.options.ratio: must be a number of 0 or more and 1 or less, not 1.5"),
        ({"transform": {"kind": "delete_words", "options": {"rate": 0.5}}},
         "data.train.docs.transform.options.rate: is not an option of delete_words; it has ratio; did you mean ratio?"),
        ({"transform": {"kind": "contrastive_pairs", "options": {"pos_neg_ratio": 1}}, "columns": TEXT},
         "data.train.docs.transform.options.pos_neg_ratio: must be an integer of 2 or more, not 1"),
        ({"transform": "delete_words", "columns": {"positive": "positive"}},
         "data.train.docs.columns.anchor: is missing: delete_words reads it"),
        ({"transform": "contrastive_pairs", "loss": "contrastive_tension"},
         "data.train.docs.columns.positive: is drawn by contrastive_pairs; remove the column, or the transform"),
        ({"transform": "contrastive_pairs", "columns": {**TEXT, "label": "class"}, "loss": "contrastive_tension"},
         "data.train.docs.columns.label: is drawn by contrastive_pairs; remove the column, or the transform"),
        ({"transform": "contrastive_pairs", "columns": TEXT},
         "data.train.docs.columns.label: multiple_negatives_ranking takes no label; remove it, or choose a loss that "
         "learns from labels"),
        ({"transform": "contrastive_pairs", "columns": TEXT, "loss": "contrastive", "batch_sampler": "no_duplicates"},
         "arguments.batch_sampler: is no_duplicates, which compares texts before contrastive_pairs draws the positive "
         "of data.train.docs; write batch_sampler: batch_sampler"),
        ({"transform": "contrastive_pairs", "columns": TEXT, "loss": "contrastive", "batch_sampler": "group_by_label",
          "per_device_train_batch_size": 4},
         "arguments.batch_sampler: is group_by_label, which reads labels before contrastive_pairs draws those of "
         "data.train.docs; write batch_sampler: batch_sampler"),
        ({"transform": None, "columns": TEXT, "loss": "contrastive_tension"},
         "data.train.docs.columns: contrastive_tension takes anchor, positive; this dataset has anchor; write "
         "transform: contrastive_pairs"),
        ({"transform": None, "others": evaluated(EQUAL), "evaluators": [SCORER]},
         "evaluators.0.dataset: is held, whose rows delete_words draws for a loss; name a dataset without transform"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused(plan_of: Make, given: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        plan_of(**given)
    assert message in str(caught.value).splitlines()


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["a"], "has 1 row; contrastive_pairs pairs a text with another one"),
        (["a", "A", "a "], "has 3 rows with one text; contrastive_pairs pairs a text with another one"),
        (["a", "a", "b"], None),
    ],
)
def test_pairs_need_two_texts(plan_of: Make, tmp_path: Path, texts: list[str], message: str | None) -> None:
    file = tmp_path / "texts.jsonl"
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    section = {"path": str(file), "columns": {"anchor": "text"}, "transform": "contrastive_pairs"}
    others = {"train": {"docs": section}}
    if message is None:
        assert plan_of(None, loss="contrastive_tension", others=others).train_steps == 2
        return
    with pytest.raises(InvalidRequestError) as caught:
        plan_of(None, loss="contrastive_tension", others=others)
    assert str(caught.value).splitlines() == [f"data.train.docs: {message}"]


def test_a_drawn_column_has_the_prompt_of_its_role() -> None:
    source = {"path": "a.parquet", "columns": {"anchor": "text"}, "transform": "contrastive_pairs"}
    found = request(data={"train": {"docs": source}}, loss="contrastive_tension")
    assert {role: names.in_source for role, names in text_columns(found, "docs").items()} == {
        "anchor": ("text",), "positive": (),
    }  # fmt: skip


def test_labels_of_the_files_do_not_bind_those_that_are_drawn() -> None:
    """The range and the counts of a label are unknown once it is drawn."""
    source = {"path": "a.parquet", "columns": {"anchor": "text"}, "transform": "contrastive_pairs"}
    found = request(data={"train": {"docs": source}}, loss={"kind": "softmax", "options": {"num_labels": 2}})
    assert check_with_data(found, [facts(9, columns={"anchor": "text"})]) == []
