"""The roles of columns, from their names, lengths and values alone."""

from typing import Any

import pytest

from embedstep.data.profile import ColumnProfile
from embedstep.planning.column_roles import label_columns, name_words, propose_roles, text_columns


def text(name: str, length: float = 50, **more: Any) -> ColumnProfile:
    values = {"kind": "text", "filled": 1.0, "distinct": 1.0, "values": 100, "example": "some words", **more}
    return ColumnProfile(name=name, length=length, **values)


def texts(name: str, **more: Any) -> ColumnProfile:
    return text(name, **{"kind": "texts", "texts": (1, 4), **more})


def numbers(name: str, *values: float, **more: Any) -> ColumnProfile:
    known = {"kind": "integer" if all(one == int(one) for one in values) else "number", "distinct": 0.1, **more}
    return ColumnProfile(
        name=name, filled=1.0, values=len(values), numbers=values, range=(min(values), max(values)), **known
    )


@pytest.mark.parametrize(
    ("columns", "roles"),
    [
        ([text("query"), text("passage")], {"query": "anchor", "passage": "positive"}),
        ([text("passage"), text("query")], {"query": "anchor", "passage": "positive"}),
        ([text("Query Text"), text("docText")], {"Query Text": "anchor", "docText": "positive"}),
        ([text("question", 300), text("answer", 4)], {"question": "anchor", "answer": "positive"}),
        ([text("sentence1"), text("sentence2")], {"sentence1": "anchor", "sentence2": "positive"}),
        ([text("text_b"), text("text_a")], {"text_a": "anchor", "text_b": "positive"}),
        ([text("left_text"), text("right_text")], {"left_text": "anchor", "right_text": "positive"}),
        ([text("title", 20), text("question", 300)], {"title": "anchor", "question": "positive"}),
        ([text("title", 20), text("body", 300)], {"title": "anchor", "body": "positive"}),
        ([text("u", 90), text("v", 10)], {"v": "anchor", "u": "positive"}),
        ([text("u", 50), text("v", 45)], {"u": "anchor", "v": "positive"}),
        ([text("column_1", 50), text("column_2", 10)], {"column_2": "anchor", "column_1": "positive"}),
        ([text("notes", 30), text("summary", 90)], {"notes": "anchor", "summary": "positive"}),
        ([text("anchor"), texts("pos"), texts("neg")], {"anchor": "anchor", "pos": "positive", "neg": "negative"}),
        ([text("prompt"), text("chosen"), text("rejected")],
         {"prompt": "anchor", "chosen": "positive", "rejected": "negative"}),
        ([text("query"), text("hard_negative_1"), text("answer"), text("hard_negative_2")],
         {"query": "anchor", "hard_negative_1": "negative", "answer": "positive", "hard_negative_2": "negative"}),
        ([text("query"), text("url", one_word=1.0, example="https://a"), text("body")],
         {"query": "anchor", "body": "positive"}),
        ([text("query"), text("key", 12, one_word=1.0, example="8f3a-11"), text("body")],
         {"query": "anchor", "body": "positive"}),
        ([text("query"), text("team", 8, values=4, distinct=0.01), text("body")],
         {"query": "anchor", "body": "positive"}),
        ([text("utterance"), text("language", 2), numbers("label", 0, 1, 2)],
         {"utterance": "anchor", "label": "label"}),
        ([text("question1"), text("question2"), numbers("is_duplicate", 0, 1), numbers("qid1", 1, 2, distinct=1.0)],
         {"question1": "anchor", "question2": "positive", "is_duplicate": "label"}),
        ([text("a"), text("b"), numbers("z", 0, 1)], {"a": "anchor", "b": "positive", "z": "label"}),
        ([text("a"), text("b"), numbers("z", 0.1, 0.5, 1.0)], {"a": "anchor", "b": "positive", "z": "label"}),
        ([text("a"), text("b"), numbers("year", 2019, 2020, 2021)], {"a": "anchor", "b": "positive"}),
        ([text("q1"), text("q2"), text("category", 8, values=4)], {"q1": "anchor", "q2": "positive"}),
        ([numbers("price", 1.5, 2.5)], {}),
        ([text("text", 900), text("summary", 90)], {"summary": "anchor", "text": "positive"}),
        ([text("text"), numbers("label", 0, 1, 2), text("label_text", 9, values=3)],
         {"text": "anchor", "label": "label"}),
        ([text("subject", 20), text("body", 400), text("priority", 4, values=3, distinct=0.01)],
         {"subject": "anchor", "body": "positive"}),
        ([text("comment", 60), text("code", 300)], {"comment": "anchor", "code": "positive"}),
        ([text("query"), text("product_title", 40), text("product_description", 400), numbers("relevance_label", 0, 3)],
         {"query": "anchor", "product_description": "positive", "relevance_label": "label"}),
        ([text("instruction"), text("input", filled=0.3), text("output")],
         {"instruction": "anchor", "output": "positive"}),
        ([text("caption1"), text("caption2")], {"caption1": "anchor", "caption2": "positive"}),
        ([text("id", one_word=1.0)], {}),
        ([text("category", one_word=0.4)], {"category": "anchor"}),
    ],
)  # fmt: skip
def test_columns_have_these_roles(columns: list[ColumnProfile], roles: dict[str, str]) -> None:
    assert propose_roles(columns).named() == roles


def test_another_column_that_could_have_the_role_is_named() -> None:
    roles = propose_roles([text("question"), text("context", 900), text("answer", 40)])
    assert roles.positive is not None
    assert (roles.positive.column.name, roles.positive.others) == ("context", ("answer",))
    near = propose_roles([text("u", 50), text("v", 45)])
    assert near.anchor is not None
    assert near.anchor.reason == (
        "the first text; no name and no length says which is the query; 50 characters on average"
    )
    assert near.anchor.others == ("v",)
    clear = propose_roles([text("u", 90), text("v", 10)])
    assert clear.anchor is not None
    assert (clear.anchor.reason, clear.anchor.others) == ("the shorter text; 10 characters on average", ())


def test_the_reason_of_a_label_shows_its_values() -> None:
    few = propose_roles([text("a"), text("b"), numbers("label", 0, 1)]).label
    many = propose_roles([text("a"), text("b"), numbers("score", *(one / 10 for one in range(20)))]).label
    words = propose_roles([text("a"), text("b"), text("label", values=3, example="neutral")]).label
    reasons = [one.reason for one in (few, many, words) if one]
    assert reasons == [
        "by its name; the values 0, 1",
        "by its name; 20 values from 0 to 1.9",
        "by its name; 3 different texts, such as 'neutral'",
    ]


def test_what_is_chosen_is_taken_and_the_rest_proposed() -> None:
    columns = [text("question"), text("answer"), text("negative"), numbers("label", 0, 1)]
    assert propose_roles(columns, {"anchor": "answer"}).named() == {
        "answer": "anchor", "question": "positive", "negative": "negative", "label": "label",
    }  # fmt: skip
    assert propose_roles(columns, {"positive": "question"}).named()["answer"] == "anchor"
    same, other = (
        propose_roles(columns, {"anchor": "question"}).anchor,
        propose_roles(columns, {"anchor": "answer"}).anchor,
    )
    assert same is not None
    assert other is not None
    assert (same.reason, other.reason) == ("by its name; 50 characters on average", "your answer")
    assert propose_roles(columns, {"negative": None, "label": None}).named() == {
        "question": "anchor",
        "answer": "positive",
    }


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("question1", ("question", "1")),
        ("meta.queryText_A", ("query", "text", "a")),
        ("is_duplicate", ("is", "duplicate")),
        ("", ()),
    ],
)
def test_a_name_has_these_words(name: str, words: tuple[str, ...]) -> None:
    assert name_words(name) == words


def test_columns_to_choose_from() -> None:
    columns = [text("id", one_word=1.0), text("body"), numbers("year", 2019, 2020), numbers("score", 1, 2)]
    assert [one.name for one in text_columns(columns)] == ["body"]
    assert [one.name for one in label_columns(columns)] == ["score", "year"]
