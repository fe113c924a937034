import inspect
from typing import Any

import pytest

from embedstep.planning.losses import LOSSES
from embedstep.planning.script import parse_script
from embedstep.planning.script_objects import is_trainer
from embedstep.planning.script_parts import Parts, read_parts

MODEL = "name = 'a/b'\nmodel = SentenceTransformer(name)\n"


def parts_of(script: str) -> Parts:
    parsed = parse_script(script)
    return read_parts(parsed, [call for call in parsed.calls() if is_trainer(parsed, call)])


@pytest.mark.parametrize(
    ("script", "model"),
    [
        ("model = SentenceTransformer('a/b')", "a/b"),
        (MODEL, "a/b"),
        (f"{MODEL}Trainer(model=model)", "a/b"),
        (f"{MODEL}SentenceTransformer('c')\nTrainer(model)", "a/b"),
        (f"{MODEL}SentenceTransformer('c')", "<model>"),
        ("model = SentenceTransformer(sys.argv[1])", "<model>"),
        ("model = SentenceTransformer(modules=[a, b])", "<model>"),
        ("Trainer(model=make())", "<model>"),
        ("seed = 1", "<model>"),
        ("SentenceTransformer('a', revision='x', trust_remote_code=True, device='cpu')",
         {"path": "a", "revision": "x", "trust_remote_code": True}),
        (f"{MODEL}model.max_seq_length = 256\nTrainer(model=model)", {"path": "a/b", "max_seq_length": 256}),
        (f"{MODEL}if x:\n    model.max_seq_length = 9\nTrainer(model)", {"path": "a/b", "max_seq_length": "<value>"}),
        (f"{MODEL}model.max_seq_length = length()\nTrainer(model=model)", {"path": "a/b", "max_seq_length": "<value>"}),
    ],
)  # fmt: skip
def test_the_model_is_that_of_the_trainer(script: str, model: Any) -> None:
    assert parts_of(script).model == model


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("losses.CosineSimilarityLoss(model)", "cosine_similarity"),
        ("CoSENTLoss(model, 10.0)", {"kind": "cosent", "options": {"scale": 10.0}}),
        ("MultipleNegativesRankingLoss(model, similarity_fct=util.dot_score)",
         {"kind": "multiple_negatives_ranking", "options": {"similarity_fct": "dot_score"}}),
        ("TripletLoss(model, distance_metric=TripletDistanceMetric.COSINE, triplet_margin=0.5)",
         {"kind": "triplet", "options": {"distance_metric": "cosine", "triplet_margin": 0.5}}),
        ("MatryoshkaLoss(model, CoSENTLoss(model), [768, 64])",
         {"kind": "matryoshka", "options": {"matryoshka_dims": [768, 64]}, "loss": "cosent"}),
        ("MatryoshkaLoss(model=model, loss=make(), matryoshka_dims=[768, 64])",
         {"kind": "matryoshka", "options": {"matryoshka_dims": [768, 64]}, "loss": "<loss>"}),
        ("SoftmaxLoss(model, model.get_sentence_embedding_dimension(), 3)",
         {"kind": "softmax", "options": {"num_labels": 3}}),
        ("GISTEmbedLoss(model, SentenceTransformer('guide'))", {"kind": "gist_embed", "options": {"guide": "guide"}}),
        ("CachedMultipleNegativesRankingLoss(model, mini_batch_size=64, show_progress_bar=True)",
         {"kind": "cached_multiple_negatives_ranking", "options": {"mini_batch_size": 64}}),
        ("{'nli': SoftmaxLoss(model, num_labels=3), 'sts': CoSENTLoss(model), 'own': OwnLoss(model)}",
         {"nli": {"kind": "softmax", "options": {"num_labels": 3}}, "sts": "cosent", "own": "<loss>"}),
        ("GlobalOrthogonalRegularizationLoss(model, mean_weight=None)",
         {"kind": "global_orthogonal_regularization", "options": {"mean_weight": None}}),
        ("OwnLoss(model)", "<loss>"),
        ("make_loss()", "<loss>"),
        ("None if test else loss", "<loss>"),
    ],
)  # fmt: skip
def test_the_loss_is_that_of_the_trainer(loss: str, expected: Any) -> None:
    direct = parts_of(f"{MODEL}Trainer(model=model, loss={loss})")
    named = parts_of(f"{MODEL}train_loss = {loss}\nTrainer(model=model, loss=train_loss)")
    assert (direct.loss, named.loss) == (expected, expected)
    assert direct.problems == named.problems == ()


def test_a_trainer_without_a_loss_has_the_default_of_the_library() -> None:
    assert parts_of("SentenceTransformerTrainer(model=model)").loss == "cosent"
    assert parts_of("SentenceTransformerTrainer(**given)").loss == "<loss>"
    assert parts_of("class OwnTrainer(Base):\n    pass\nOwnTrainer(model=model)").loss == "<loss>"


def test_without_a_trainer_the_only_loss_counts() -> None:
    wrapped = "inner = CoSENTLoss(m)\nouter = MatryoshkaLoss(m, inner, matryoshka_dims=[8])\n"
    assert parts_of(wrapped).loss == {"kind": "matryoshka", "options": {"matryoshka_dims": [8]}, "loss": "cosent"}
    assert parts_of("CoSENTLoss(m)\nAnglELoss(m)\n").loss == "<loss>"


def test_no_token_is_written_down() -> None:
    token = "hf_" + "p" * 30
    found = parts_of(f"SentenceTransformer('a/b', model_kwargs={{'token': 'x'}}, revision='{token}')")
    assert found.model == {"path": "a/b", "model_kwargs": "<value>", "revision": "<value>"}
    reason = "in line 1 of the script holds a token or password, which a request must not"
    assert [str(one) for one in found.problems] == [f"model.model_kwargs: {reason}", f"model.revision: {reason}"]
    assert parts_of(f"SentenceTransformer('https://user:{token}@host/a')").model == "<model>"


def test_each_dataset_has_its_loss() -> None:
    assert parts_of("Trainer(loss={'a': CoSENTLoss(m), 'b': AnglELoss(m)})").datasets == ("a", "b")


@pytest.mark.parametrize(
    ("loss", "problem"),
    [
        ("CoSENTLoss(model, scale=now())", "loss.options.scale: is computed in line 1 of the script; write the value"),
        ("CosineSimilarityLoss(model, loss_fct=L1Loss())",
         "loss.options.loss_fct: in line 1 is not carried over; a request has no such option"),
        ("CoSENTLoss(model, 20.0, cos_sim)", "loss.options: line 1 has a value without a name; write its name"),
    ],
)  # fmt: skip
def test_an_option_that_is_not_carried_over_is_named(loss: str, problem: str) -> None:
    assert [str(one) for one in parts_of(f"Trainer(loss={loss})").problems] == [problem]


@pytest.mark.parametrize("name", LOSSES)
def test_the_first_option_is_the_first_parameter_of_the_loss(name: str) -> None:
    from sentence_transformers.sentence_transformer import losses

    kind = LOSSES[name]
    before = {"self", "model", "loss", "embedding_dimension", "sentence_embedding_dimension"}
    parameters = [
        one for one in inspect.signature(getattr(losses, kind.class_name).__init__).parameters if one not in before
    ]
    assert not kind.options or parameters[0] == next(iter(kind.options))
