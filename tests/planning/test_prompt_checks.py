"""Prompts and routes that would silently do nothing are refused; what may surprise is a note."""

from typing import Any

import pytest

from embedstep.data.model_facts import ModelFacts
from embedstep.planning.prompt_checks import (
    check_prompts,
    explain_prompts,
    prompts_are_named,
    routes_are_named,
)
from embedstep.planning.prompts import plan_prompts
from tests.planning.test_prompts import COLUMNS, E5, SEVERAL, P, Q, request

BOTH = ("docs", "more")
KNOWN = "known are anchor, answer, docs, more, positive, question"
RETRIEVAL = {"kind": "information_retrieval", "name": "r", "dataset": "docs"}


@pytest.mark.parametrize(
    ("prompts", "problems"),
    [
        (Q, []),
        ({"anchor": Q, "positive": P}, []),
        ({"question": Q, "answer": P}, []),
        ({"docs": {"anchor": Q}, "more": "text: "}, []),
        ({"docs": {"question": Q}}, []),
        ({"anchor": Q, "question": Q}, []),
        ({"anchr": Q}, [f"arguments.prompts.anchr: is neither a role, a column nor a dataset; {KNOWN}"]),
        ({"label": Q}, [f"arguments.prompts.label: is neither a role, a column nor a dataset; {KNOWN}"]),
        ({"negative": Q}, [f"arguments.prompts.negative: is neither a role, a column nor a dataset; {KNOWN}"]),
        (
            {"docs": {"query": Q}},
            [
                "arguments.prompts.docs.query: is neither a role nor a column; known are anchor, answer, positive, "
                "question"
            ],
        ),
        (
            {"anchor": {"docs": Q}},
            ["arguments.prompts.anchor: has keys of its own, and is a column; datasets are docs, more"],
        ),
        (
            {"anchor": Q, "question": "q: "},
            ["arguments.prompts: names one column twice, as anchor and question; keep one"],
        ),
    ],
    ids=str,
)
def test_prompts_name_roles_source_columns_or_datasets(prompts: Any, problems: list[str]) -> None:
    assert list(dict.fromkeys(map(str, check_prompts(request(prompts, names=BOTH))))) == problems


@pytest.mark.parametrize(
    ("routes", "key"),
    [({"qestion": "query"}, "qestion"), ({"label": "query"}, "label"), ({"answers": "document"}, "answers")],
)
def test_routes_for_what_is_not_there_are_refused(routes: Any, key: str) -> None:
    (problem,) = check_prompts(request(routes=routes))
    known = "known are anchor, answer, docs, positive, question"
    assert str(problem) == f"arguments.router_mapping.{key}: is neither a role, a column nor a dataset; {known}"
    assert not list(check_prompts(request(routes={"question": "query", "answer": "document"})))


@pytest.mark.parametrize(
    ("prompts", "model", "problems"),
    [
        ({"anchor": Q}, {"prompts": {"query": Q}}, []),
        ({"anchor": Q}, {"prompts": {"document": P}}, []),
        (
            {"anchor": "a: "},
            {"prompts": {"query": Q}},
            ["model.prompts.query: is 'query: ', and arguments.prompts has 'a: ' for docs.anchor; keep one of the two"],
        ),
        (
            "all: ",
            {"prompts": {"passage": ""}},
            [
                "model.prompts.passage: is none, and arguments.prompts has 'all: ' for docs.positive; keep one of "
                "the two"
            ],
        ),
        (
            {"docs": {"answer": "x" * 80}},
            {"prompts": {"document": P}},
            [
                f"model.prompts.document: is 'passage: ', and arguments.prompts has '{'x' * 59}…' for docs.positive; "
                "keep one of the two"
            ],
        ),
        (None, {"use_prompts": False}, []),
        (None, {"use_prompts": False, "prompts": {"classification": "c: "}}, []),
        (
            None,
            {"use_prompts": False, "prompts": E5},
            ["model.use_prompts: is false, and model.prompts.query is given; keep one of the two"],
        ),
        (
            Q,
            {"use_prompts": False},
            ["model.use_prompts: is false, and arguments.prompts is given; keep one of the two"],
        ),
        (
            None,
            {"use_prompts": False, "default_prompt_name": "sts"},
            ["model.use_prompts: is false, and model.default_prompt_name is given; keep one of the two"],
        ),
    ],
    ids=str,
)
def test_prompts_that_contradict_each_other_are_refused(prompts: Any, model: Any, problems: list[str]) -> None:
    assert list(map(str, check_prompts(request(prompts, model)))) == problems


@pytest.mark.parametrize(
    ("model", "options", "problems"),
    [
        ({}, {"query_prompt_name": "query"}, []),
        ({"prompts": {"sts": "s: "}}, {"corpus_prompt_name": "sts"}, []),
        (
            {},
            {"query_prompt_name": "qury"},
            ["evaluators.0.options.query_prompt_name: 'qury' is not a prompt of the model; did you mean query?"],
        ),
        (
            {"default_prompt_name": "sts"},
            {"corpus_prompt_name": "corpora"},
            [
                "model.default_prompt_name: 'sts' is not a prompt of the model; known are query, document",
                "evaluators.0.options.corpus_prompt_name: 'corpora' is not a prompt of the model; known are query, "
                "document",
            ],
        ),
    ],
    ids=str,
)
def test_a_prompt_that_is_named_is_there(model: Any, options: Any, problems: list[str]) -> None:
    asked = request(None, model, evaluate={"docs": COLUMNS}, evaluators=[{**RETRIEVAL, "options": options}])
    assert list(map(str, prompts_are_named(asked, ModelFacts(prompts=E5)))) == problems


def test_a_model_with_routes_needs_a_mapping() -> None:
    facts = ModelFacts(modules=("Router", "Normalize"))
    (problem,) = routes_are_named(request(), facts)
    assert str(problem) == (
        "arguments.router_mapping: is empty, and the model has a route for each kind of text; "
        "write {anchor: query, positive: document}"
    )
    assert not list(routes_are_named(request(routes={"anchor": "query"}), facts))
    assert not list(routes_are_named(request(), ModelFacts()))


@pytest.mark.parametrize(
    ("routes", "problem"),
    [
        ({"anchor": "query", "positive": "document"}, ""),
        (
            {"anchor": "qurey"},
            "arguments.router_mapping.anchor: 'qurey' is not a route of the model; did you mean query?",
        ),
        (
            {"docs": {"positive": "text"}},
            "arguments.router_mapping.docs.positive: 'text' is not a route of the model; known are query, document",
        ),
    ],
    ids=str,
)
def test_a_route_is_one_of_the_model(routes: Any, problem: str) -> None:
    facts = ModelFacts(modules=("Router",), routes=("query", "document"))
    assert list(map(str, routes_are_named(request(routes=routes), facts))) == ([problem] if problem else [])


OWN = "training and evaluation use the model's own prompts"
ONE = "all texts are trained with one prompt, which encode of the saved model uses by default"
LEAVES = "model.use_prompts: false leaves them out, also of the saved model"


@pytest.mark.parametrize(
    ("prompts", "model", "own", "notes"),
    [
        (None, {}, {}, []),
        ({"anchor": Q}, {}, {}, []),
        (None, {"prompts": E5}, {}, []),
        (Q, {}, {}, [ONE]),
        ({"anchor": Q, "positive": Q}, {}, {}, [ONE]),
        (None, {}, E5, [f"{OWN} (query 'query: ', document 'passage: '); {LEAVES}"]),
        (None, {"prompts": {"query": Q}}, E5, [f"{OWN} (document 'passage: '); {LEAVES}"]),
        (
            {"anchor": "a: "},
            {},
            {"query": Q},
            ["the model's own prompt for queries is replaced: 'query: ' by 'a: '"],
        ),
        (
            None,
            {"use_prompts": False},
            E5,
            [
                "neither training nor evaluation uses the model's own prompts (query 'query: ', document 'passage: '), "
                "and they are not saved"
            ],
        ),
        (
            None,
            {},
            {"s2p_query": Q},
            ["the model has prompts (s2p_query), and none for queries or documents; model.prompts.query sets one"],
        ),
        (
            None,
            {"prompts": {"qurey": Q}},
            {},
            [
                "the prompt qurey is saved with the model, and neither training nor evaluation uses it; did you mean "
                "query?"
            ],
        ),
    ],
    ids=str,
)
def test_what_becomes_of_prompts_is_noted(prompts: Any, model: Any, own: Any, notes: list[str]) -> None:
    asked, facts = request(prompts, model), ModelFacts(prompts=own)
    assert list(explain_prompts(asked, facts, plan_prompts(asked, facts))) == notes


def test_several_prompts_of_one_side_are_noted_with_the_one_that_is_saved() -> None:
    asked = request(SEVERAL, names=BOTH)
    assert list(explain_prompts(asked, None, plan_prompts(asked, None))) == [
        "queries are trained with several prompts ('a: ' for docs.anchor, 'b: ' for more.anchor), and a saved model "
        "has one: 'a: '; model.prompts.query chooses another",
        "documents are trained with several prompts (none for docs.positive, 't: ' for more.positive), and a saved "
        "model has one: 't: '; model.prompts.document chooses another",
    ]


def test_many_datasets_are_counted() -> None:
    names = tuple(f"set{number}" for number in range(30))
    asked = request({"set0": {"anchor": "a: "}, "anchor": Q}, names=names)
    (note,) = explain_prompts(asked, None, plan_prompts(asked, None))
    shown = "'a: ' for set0.anchor, 'query: ' for set1.anchor, set2.anchor, set3.anchor and 26 more"
    assert note.startswith(f"queries are trained with several prompts ({shown}), and a saved model has one: 'a: '")


def test_evaluators_with_other_prompts_are_noted() -> None:
    evaluators = [
        {**RETRIEVAL, "options": {"query_prompt": "q: ", "corpus_prompt": P}},
        {"kind": "paraphrase_mining", "name": "pm", "dataset": "docs"},
    ]
    asked = request({"anchor": Q, "positive": P}, evaluate={"docs": COLUMNS}, evaluators=evaluators)
    assert list(explain_prompts(asked, None, plan_prompts(asked, None))) == [
        "evaluator r: query_prompt is 'q: ', and the training uses 'query: '",
        "evaluator pm: paraphrase mining has no queries and documents, and uses the model's default prompt",
    ]
