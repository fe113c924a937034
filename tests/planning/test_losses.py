from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedstep.data.facts import DatasetFacts
from embedstep.errors import Problem
from embedstep.planning.losses import (
    LOSSES,
    check_loss,
    check_loss_data,
    innermost,
    loss_kind,
    negatives_per_anchor,
    trains_own_layers,
)
from embedstep.request.scalars import Plain
from embedstep.request.schema import Loss

PAIR = {"anchor": "text", "positive": "text"}
TRIPLET = {**PAIR, "negative": "text"}


def loss_of(kind: str, inner: Any = None, **options: Any) -> Loss:
    return Loss.model_validate({"kind": kind, "options": options, **({"loss": inner} if inner else {})})


def facts_of(columns: dict[str, Any], label_range: tuple[float, float] | None = None) -> DatasetFacts:
    return DatasetFacts(split="train", name="docs", rows=9, columns=columns, label_range=label_range)


def problems_of(loss: Loss, columns: dict[str, Any], label_range: tuple[float, float] | None = None) -> list[str]:
    return [str(problem) for problem in _problems(loss, facts_of(columns, label_range), "loss")]


def _problems(loss: Loss, facts: DatasetFacts, path: str) -> list[Problem]:
    return [*check_loss(loss, path), *check_loss_data(loss, facts)]


@pytest.mark.parametrize(
    ("loss", "columns", "label_range"),
    [
        (loss_of("multiple_negatives_ranking"), PAIR, None),
        (loss_of("MultipleNegativesRankingLoss"), TRIPLET, None),
        (loss_of("multiple_negatives_ranking"), {**PAIR, "negative_1": "text", "negative_2": "text"}, None),
        (loss_of("multiple_negatives_ranking", scale="1e-5"), PAIR, None),
        (loss_of("multiple_negatives_ranking", scale=Plain("20", 20)), PAIR, None),
        (loss_of("cached_multiple_negatives_ranking", mini_batch_size=32.0), PAIR, None),
        (loss_of("gist_embed", guide="models/guide"), TRIPLET, None),
        (loss_of("cosent"), {**PAIR, "label": "number"}, (0.0, 5.0)),
        (loss_of("angle"), TRIPLET, None),
        (loss_of("angle"), {**TRIPLET, "label": "number"}, (0.0, 1.0)),
        (loss_of("cosine_similarity"), {**PAIR, "label": "integer"}, (-1, 1)),
        (loss_of("contrastive", distance_metric="MANHATTAN"), {**PAIR, "label": "integer"}, (0, 1)),
        (loss_of("triplet"), TRIPLET, None),
        (loss_of("batch_all_triplet"), {"anchor": "text", "label": "integer"}, (0, 9)),
        (loss_of("softmax", num_labels=3), {**PAIR, "label": "integer"}, (0, 2)),
        (loss_of("mse"), {"anchor": "text", "label": "numbers"}, None),
        (loss_of("mse"), {**TRIPLET, "label": "numbers"}, None),
        (loss_of("margin_mse"), {**TRIPLET, "label": "number"}, (-9.0, 9.0)),
        (loss_of("margin_mse"), {**PAIR, "negative_1": "text", "negative_2": "text", "label": "numbers"}, None),
        (loss_of("global_orthogonal_regularization", mean_weight=None), {"anchor": "text"}, None),
        (loss_of("contrastive_tension"), PAIR, None),
        (loss_of("contrastive_tension"), {**PAIR, "label": "integer"}, (0, 1)),
        (loss_of("matryoshka", "multiple_negatives_ranking", matryoshka_dims=[32, 16]), PAIR, None),
        (loss_of("matryoshka", "mse", matryoshka_dims=[32]), {"anchor": "text", "label": "numbers"}, None),
        (
            loss_of("adaptive_layer", loss_of("matryoshka", "cosent", matryoshka_dims=[8])),
            {**PAIR, "label": "number"},
            None,
        ),
    ],
)
def test_a_loss_that_fits_its_data_has_no_problems(
    loss: Loss, columns: dict[str, Any], label_range: tuple[float, float] | None
) -> None:
    assert problems_of(loss, columns, label_range) == []


@pytest.mark.parametrize(
    ("loss", "columns", "label_range", "message"),
    [
        (
            loss_of("multiple_negative_ranking"),
            PAIR,
            None,
            "loss.kind: no loss is named 'multiple_negative_ranking'; did you mean multiple_negatives_ranking?",
        ),
        (
            loss_of("multiple_negatives_ranking", temperature=0.05, scal=3),
            PAIR,
            None,
            "loss.options.scal: is not an option of multiple_negatives_ranking; it has scale, "
            "similarity_fct, gather_across_devices, directions, partition_mode, hardness_mode, hardness_strength; "
            "did you mean scale?",
        ),
        (
            loss_of("multiple_negatives_ranking", scale=0),
            PAIR,
            None,
            "loss.options.scale: must be a number above 0, not 0",
        ),
        (
            loss_of("multiple_negatives_ranking", similarity_fct="cosine_sim"),
            PAIR,
            None,
            "loss.options.similarity_fct: must be one of cos_sim, dot_score, euclidean_sim, manhattan_sim, "
            "not 'cosine_sim'; did you mean cos_sim?",
        ),
        (
            loss_of("multiple_negatives_ranking", gather_across_devices=1),
            PAIR,
            None,
            "loss.options.gather_across_devices: must be true or false, not 1",
        ),
        (
            loss_of("multiple_negatives_ranking", directions=["doc_to_query"]),
            PAIR,
            None,
            "loss.options: directions must contain query_to_doc, the direction that holds the positive",
        ),
        (
            loss_of(
                "multiple_negatives_ranking",
                directions=["query_to_doc", "doc_to_doc"],
                partition_mode="per_direction",
            ),
            PAIR,
            None,
            "loss.options: partition_mode per_direction does not go with the direction doc_to_doc; write joint",
        ),
        (
            loss_of("multiple_negatives_ranking", hardness_mode="hard_negatives"),
            PAIR,
            None,
            "loss.options: hardness_mode and a hardness_strength above 0 work only together; give both or neither",
        ),
        (
            loss_of("multiple_negatives_ranking"),
            {"anchor": "text"},
            None,
            "data.train.docs.columns: multiple_negatives_ranking takes anchor, positive and any number of further "
            "negatives; this dataset has anchor",
        ),
        (
            loss_of("multiple_negatives_ranking"),
            {"anchor": "text", "negative": "text"},
            None,
            "data.train.docs.columns: multiple_negatives_ranking takes anchor, positive and any number of further "
            "negatives; this dataset has anchor, negative",
        ),
        (
            loss_of("multiple_negatives_ranking"),
            {"anchor": "text", "positive": "texts"},
            None,
            "data.train.docs.columns.positive: holds texts; multiple_negatives_ranking needs one text in each row",
        ),
        (
            loss_of("multiple_negatives_ranking"),
            {**PAIR, "label": "integer"},
            (0, 1),
            "data.train.docs.columns.label: multiple_negatives_ranking takes no label; remove it, or choose "
            "a loss that "
            "learns from labels",
        ),
        (
            loss_of("triplet"),
            PAIR,
            None,
            "data.train.docs.columns: triplet takes anchor, positive, 1 negative; this dataset has anchor, positive",
        ),
        (
            loss_of("gist_embed"),
            PAIR,
            None,
            "loss.options.guide: is missing: gist_embed needs a text",
        ),
        (
            loss_of("cosent"),
            PAIR,
            None,
            "data.train.docs.columns.label: is missing: cosent needs a label with a score, a number",
        ),
        (
            loss_of("contrastive"),
            {**PAIR, "label": "integer"},
            (1, 5),
            "data.train.docs.columns.label: goes from 1 to 5; contrastive needs a label with 0 or 1",
        ),
        (
            loss_of("contrastive"),
            {**PAIR, "label": "number"},
            (0.0, 1.0),
            "data.train.docs.columns.label: holds number; contrastive needs a label with 0 or 1",
        ),
        (
            loss_of("cosine_similarity"),
            {**PAIR, "label": "number"},
            (0.0, 5.0),
            "data.train.docs.columns.label: goes from 0 to 5; cosine_similarity needs a label with a similarity from "
            "-1 to 1",
        ),
        (
            loss_of("softmax", num_labels=2),
            {**PAIR, "label": "integer"},
            (0, 2),
            "data.train.docs.columns.label: goes from 0 to 2; num_labels 2 needs classes from 0 to 1",
        ),
        (
            loss_of("softmax"),
            {**PAIR, "label": "integer"},
            (0, 2),
            "loss.options.num_labels: is missing: softmax needs an integer of 2 or more",
        ),
        (
            loss_of("margin_mse"),
            {**PAIR, "negative_1": "text", "negative_2": "text", "label": "number"},
            (0.0, 1.0),
            "data.train.docs.columns.label: holds number; margin_mse needs a label with the teacher's margin "
            "or score for "
            "each text, a list of numbers",
        ),
        (
            loss_of("matryoshka", matryoshka_dims=[8]),
            PAIR,
            None,
            "loss.loss: is missing: matryoshka wraps another loss",
        ),
        (
            loss_of("triplet", "cosent"),
            {**PAIR, "label": "number"},
            None,
            "loss.loss: is not accepted: triplet does not wrap another loss",
        ),
        (
            loss_of("matryoshka", "multiple_negatives_ranking", matryoshka_dims=[16, 8], matryoshka_weights=[1]),
            PAIR,
            None,
            "loss.options: matryoshka_weights has 1 values for 2 matryoshka_dims; give one for each",
        ),
        (
            loss_of("matryoshka", "multiple_negatives_ranking", matryoshka_dims=[]),
            PAIR,
            None,
            "loss.options.matryoshka_dims: must be a list of integers of 1 or more, not []",
        ),
        (
            loss_of("adaptive_layer", "cached_multiple_negatives_ranking"),
            PAIR,
            None,
            "loss.loss.kind: cached_multiple_negatives_ranking does not work under adaptive_layer; use "
            "another loss, or no wrapper",
        ),
        (
            loss_of("adaptive_layer", loss_of("matryoshka", "mega_batch_margin", matryoshka_dims=[8])),
            PAIR,
            None,
            "loss.loss.loss.kind: mega_batch_margin does not work under adaptive_layer; use another loss, "
            "or no wrapper",
        ),
        (
            loss_of("matryoshka", loss_of("mse", projection_dim=8), matryoshka_dims=[8]),
            {"anchor": "text", "label": "numbers"},
            None,
            "loss.loss.options.projection_dim: does not work under matryoshka: its layer needs the whole vector; "
            "remove one of the two",
        ),
        (
            loss_of("cosine_similarity", loss_fct="l1"),
            {**PAIR, "label": "number"},
            None,
            "loss.options.loss_fct: cosine_similarity has no options; remove it",
        ),
        (
            loss_of("softmax", num_labels=2, concatenation_sent_rep=False, concatenation_sent_difference=False),
            {**PAIR, "label": "integer"},
            None,
            "loss.options: leaves nothing to classify; keep one of the concatenation_ options true",
        ),
        (
            loss_of("global_orthogonal_regularization", mean_weight=0, second_moment_weight=None),
            PAIR,
            None,
            "loss.options: mean_weight and second_moment_weight are both 0, which trains nothing; give one of them a "
            "value",
        ),
        (
            loss_of("matryoshka", loss_of("multiple_negatives_ranking"), matryoshka_dims=[8, 8]),
            PAIR,
            None,
            "loss.options: matryoshka_dims names a dimension twice: [8, 8]",
        ),
        (
            loss_of(
                "matryoshka", loss_of("multiple_negatives_ranking"), matryoshka_dims=[8, 4], matryoshka_weights=[1]
            ),
            PAIR,
            None,
            "loss.options: matryoshka_weights has 1 values for 2 matryoshka_dims; give one for each",
        ),
        (
            loss_of("matryoshka", loss_of("multiple_negatives_ranking"), matryoshka_dims=[8], n_dims_per_step=0),
            PAIR,
            None,
            "loss.options: n_dims_per_step must be 1 or more, or -1 for all",
        ),
        (
            loss_of("denoising_auto_encoder", tie_encoder_decoder=False),
            PAIR,
            None,
            "loss.options: needs either tie_encoder_decoder: true or a decoder_name_or_path, not both or neither",
        ),
    ],
)
def test_a_problem_says_where_what_and_what_would_be_right(
    loss: Loss, columns: dict[str, Any], label_range: tuple[float, float] | None, message: str
) -> None:
    assert message in problems_of(loss, columns, label_range)


def test_all_problems_are_reported_at_once() -> None:
    loss = loss_of("matryoshka", loss_of("multiple_negatives_ranking", scale=-1), matryoshka_dims="all")

    places = [problem.path for problem in _problems(loss, facts_of({"anchor": "text"}), "loss.docs")]

    assert places == ["loss.docs.options.matryoshka_dims", "loss.docs.loss.options.scale", "data.train.docs.columns"]


@pytest.mark.parametrize(
    ("loss", "negatives", "per_device", "world", "expected"),
    [
        (loss_of("multiple_negatives_ranking"), 0, 4, 1, 3),
        (loss_of("multiple_negatives_ranking"), 1, 4, 1, 7),
        (loss_of("multiple_negatives_ranking"), 1, 4, 3, 7),
        (loss_of("multiple_negatives_ranking", gather_across_devices=True), 1, 4, 3, 23),
        (loss_of("multiple_negatives_ranking", gather_across_devices="yes"), 0, 4, 2, 7),
        (loss_of("multiple_negatives_ranking", directions=["query_to_doc", "query_to_query"]), 1, 4, 1, 10),
        (loss_of("multiple_negatives_ranking", directions=["query_to_doc", "doc_to_query"]), 1, 4, 1, 10),
        (loss_of("multiple_negatives_ranking", directions=["query_to_doc", "doc_to_doc"]), 1, 4, 1, 13),
        (
            loss_of(
                "multiple_negatives_ranking",
                directions=["query_to_doc", "doc_to_query"],
                partition_mode="per_direction",
            ),
            1,
            4,
            1,
            7,
        ),
        (loss_of("multiple_negatives_symmetric_ranking"), 0, 4, 1, 3),
        (loss_of("multiple_negatives_symmetric_ranking", gather_across_devices=True), 1, 4, 2, 15),
        (loss_of("cached_multiple_negatives_ranking", mini_batch_size=2), 2, 4, 1, 11),
        (loss_of("matryoshka", "multiple_negatives_ranking", matryoshka_dims=[8]), 1, 4, 1, 7),
        (loss_of("mega_batch_margin"), 0, 4, 2, 3),
        (loss_of("contrastive_tension_in_batch_negatives"), 0, 4, 2, 3),
        (loss_of("gist_embed", guide="models/guide"), 0, 4, 1, None),
        (loss_of("triplet"), 1, 4, 1, None),
        (loss_of("cosent"), 0, 4, 1, None),
    ],
)
def test_negatives_per_anchor(loss: Loss, negatives: int, per_device: int, world: int, expected: int | None) -> None:
    inputs = ("anchor", "positive", *(f"negative_{index}" for index in range(negatives)))

    assert negatives_per_anchor(loss, inputs, per_device, world) == expected


@given(st.integers(1, 64), st.integers(1, 8), st.integers(0, 4))
def test_gathering_counts_the_batches_of_all_processes_as_one(batch: int, world: int, negatives: int) -> None:
    inputs = ("anchor", "positive", *(f"negative_{index}" for index in range(negatives)))
    apart = loss_of("multiple_negatives_ranking")
    together = loss_of("multiple_negatives_ranking", gather_across_devices=True)

    assert negatives_per_anchor(together, inputs, batch, world) == negatives_per_anchor(apart, inputs, batch * world, 1)


def test_the_innermost_loss_is_the_one_that_sees_the_data() -> None:
    assert innermost(loss_of("adaptive_layer", "batch_all_triplet")) is LOSSES["batch_all_triplet"]
    assert innermost(loss_of("adaptive_layer", "nothing")) is None
    assert LOSSES["batch_all_triplet"].needs_label_groups


def test_a_class_name_is_a_name() -> None:
    assert loss_kind("CoSENTLoss") is LOSSES["cosent"]


def test_layers_that_are_in_no_checkpoint_are_known() -> None:
    assert trains_own_layers(loss_of("softmax", num_labels=2))
    assert trains_own_layers(loss_of("mse", projection_dim=8))
    assert not trains_own_layers(loss_of("mse"))
    assert not trains_own_layers(loss_of("multiple_negatives_ranking"))
