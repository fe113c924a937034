"""What is drawn of a row: by seed, dataset, epoch and row alone, and only what a transform declares."""

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from embedstep.data.transforms import RowDrawer, TransformKind, describe_transform, transform_digest, transform_kind
from embedstep.errors import InvalidRequestError
from embedstep.request.datasets import Transform

COUNT = itertools.count()
FOX = {"anchor": "the quick brown fox jumps over the lazy dog"}
TEXTS = st.lists(st.text("ab ", min_size=1).filter(str.strip), min_size=2, max_size=8)


def drawer(
    kind: str | TransformKind, seed: int = 42, where: str = "train.docs", rows: int = 4, **options: Any
) -> RowDrawer:
    found = transform_kind(kind) if isinstance(kind, str) else kind
    return RowDrawer(where=where, kind=found, options=options, seed=seed, rows=rows)


def drawn(made: RowDrawer, rows: Sequence[Mapping[str, Any]], number: int, epoch: int) -> dict[str, Any]:
    return made.draw(rows[number], number, epoch, rows.__getitem__)


def test_the_same_is_drawn_in_every_release() -> None:
    """A checkpoint is resumed by a later release, so these words stay what they are."""
    rows = [FOX, {"anchor": "a"}, {"anchor": "b"}, {"anchor": "c"}]
    noise, pairs = drawer("delete_words", ratio=0.6), drawer("contrastive_pairs", pos_neg_ratio=2)
    assert [drawn(noise, rows, 0, epoch)["anchor"] for epoch in range(3)] == [
        "quick the dog", "brown over dog", "brown jumps the lazy",
    ]  # fmt: skip
    assert [tuple(drawn(pairs, rows, 1, epoch).values()) for epoch in range(4)] == [
        ("a", 1), ("a", 1), ("b", 0), (FOX["anchor"], 0),
    ]  # fmt: skip


def test_seed_dataset_epoch_and_row_each_change_what_is_drawn() -> None:
    rows = [FOX, FOX]
    found = {
        drawn(drawer("delete_words", seed, where, ratio=0.5), rows, row, epoch)["anchor"]
        for seed, where, row, epoch in [
            (42, "train.docs", 0, 0), (1, "train.docs", 0, 0), (42, "train.more", 0, 0), (42, "eval.docs", 0, 0),
            (42, "train.docs", 1, 0), (42, "train.docs", 0, 1),
        ]
    }  # fmt: skip
    assert len(found) == 6


@given(texts=TEXTS, ratio=st.floats(0, 1), epoch=st.integers(0, 99), data=st.data())
def test_words_are_deleted_and_at_least_one_is_kept(texts: list[str], ratio: float, epoch: int, data: Any) -> None:
    rows = [{"anchor": text} for text in texts]
    number = data.draw(st.integers(0, len(texts) - 1))
    noise = drawer("delete_words", rows=len(rows), ratio=ratio)
    found = drawn(noise, rows, number, epoch)
    assert found == drawn(noise, rows, number, epoch)
    assert found.keys() == {"anchor"}
    kept, words = found["anchor"].split(" "), iter(texts[number].split())
    assert kept
    assert all(word in words for word in kept), "in another order"
    if ratio in (0, 1):
        assert len(kept) == (1 if ratio else len(texts[number].split()))


@given(texts=TEXTS, ratio=st.integers(2, 9), epoch=st.integers(0, 99), data=st.data())
def test_a_pair_has_the_label_that_its_texts_say(texts: list[str], ratio: int, epoch: int, data: Any) -> None:
    assume(len(set(texts)) > 1)
    rows = [{"anchor": text} for text in texts]
    number = data.draw(st.integers(0, len(texts) - 1))
    found = drawn(drawer("contrastive_pairs", rows=len(rows), pos_neg_ratio=ratio), rows, number, epoch)
    assert found["label"] == int(found["positive"] == texts[number])
    assert found["positive"] in texts


def test_the_shares_are_those_that_the_options_say() -> None:
    rows = [{"anchor": f"{row} " + "word " * 9} for row in range(4000)]
    noise = drawer("delete_words", rows=4000, ratio=0.6)
    words = sum(len(drawn(noise, rows, row, 0)["anchor"].split()) for row in range(4000))
    assert words / 40_000 == pytest.approx(0.4, abs=0.01)
    pairs = drawer("contrastive_pairs", rows=4000, pos_neg_ratio=8)
    found = [drawn(pairs, rows, row, 0) for row in range(4000)]
    assert sum(one["label"] for one in found) / 4000 == pytest.approx(1 / 8, abs=0.02)
    assert len({one["positive"] for one in found}) > 2000, "the others are drawn from all rows"


def own(function: Callable[..., Any], **gives: Any) -> TransformKind:
    return TransformKind(name="x", function=function, reads=("anchor",), gives=gives or {"anchor": "text"})


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (own(lambda row, random, draw_row: row["positive"]), "x fails on row 1: KeyError: 'positive'"),
        (own(lambda row, random, draw_row: {}), "x gives nothing for row 1; it declares anchor"),
        (own(lambda row, random, draw_row: {"anchor": "a", "label": 1}),
         "x gives anchor, label for row 1; it declares anchor"),
        (own(lambda row, random, draw_row: {"anchor": " "}), "x gives ' ' as anchor for row 1; it declares text"),
        (own(lambda row, random, draw_row: {"label": 0.5}, label="integer"),
         "x gives 0.5 as label for row 1; it declares integer"),
        (own(lambda row, random, draw_row: {"label": float("nan")}, label="number"),
         "x gives nan as label for row 1; it declares number"),
        (own(lambda row, random, draw_row: {"label": []}, label="numbers"),
         "x gives [] as label for row 1; it declares numbers"),
        (own(lambda row, random, draw_row: {"anchor": str(next(COUNT))}),
         "x gives other columns for row 1 the second time; draw with the `random` that it gets"),
    ],
)  # fmt: skip
def test_a_function_that_does_not_do_as_it_says_is_refused(kind: TransformKind, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=f"^data.train.docs.transform: {re.escape(message)}$"):
        drawer(kind).require_repeatable(lambda number: FOX)


def test_a_draw_may_give_lists_and_other_rows() -> None:
    vectors = own(lambda row, random, draw_row: {"label": [1, 0.5]}, label="numbers")
    others = own(lambda row, random, draw_row: {"anchor": draw_row()["anchor"]})
    rows = [{"anchor": str(row)} for row in range(3)]
    assert drawn(drawer(vectors), rows, 0, 0) == {"label": [1, 0.5]}
    assert {drawn(drawer(others, rows=3), rows, 1, epoch)["anchor"] for epoch in range(20)} == {"0", "2"}


def test_a_declaration_with_a_column_that_no_loss_gets_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import tests.data.test_transforms as module

    monkeypatch.setattr(module, "texts", own(dict, anchor="texts"), raising=False)
    message = (
        "x gives 'anchor' as texts; it may give anchor, positive, negative as text, and label as integer or number or "
        "numbers"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        transform_kind("tests.data.test_transforms:texts")


def test_a_default_that_is_written_out_changes_nothing() -> None:
    short, long, other = (
        Transform.model_validate(given)
        for given in (
            "delete_words",
            {"kind": "delete_words", "options": {"ratio": 0.6}},
            {"kind": "delete_words", "options": {"ratio": 0.5}},
        )
    )
    assert describe_transform(short) == describe_transform(long) == "delete_words (ratio 0.6)"
    assert transform_digest(short) == transform_digest(long) != transform_digest(other)
