"""The prompts of a run: by role, by source name, by dataset, of the request's model and of the model's files."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sentence_transformers.base.data_collator import BaseDataCollator

from embedstep.data.model_facts import ModelFacts
from embedstep.planning.build import build_plan
from embedstep.planning.prompts import PlannedPrompts, plan_prompts, with_columns
from embedstep.request.arguments.ledger import LedgerEntry, ledger
from embedstep.request.loading import load_request
from embedstep.request.schema import TrainRequest
from embedstep.runtime.digests import sha256_json
from tests.planning.plans import facts

COLUMNS = {"anchor": "question", "positive": "answer"}
Q, P = "query: ", "passage: "
E5 = {"query": Q, "document": P}


def request(prompts: Any = None, model: Any = None, **given: Any) -> TrainRequest:
    """A request with the prompts; `names` of the train datasets, their `columns`, and `evaluate`, columns by name."""
    sets = {name: {"path": f"{name}.parquet", "columns": given.get("columns", COLUMNS)} for name in names_in(given)}
    held = {name: {"path": "e.parquet", "columns": columns} for name, columns in given.get("evaluate", {}).items()}
    document = {
        "model": {"path": "org/model", **(model or {})},
        "data": {"train": sets, "eval": held},
        "loss": {name: "multiple_negatives_ranking" for name in sets},
        "evaluators": given.get("evaluators", []),
        "arguments": {"prompts": prompts, "router_mapping": given.get("routes", {})},
    }
    return load_request(json.dumps(document))


def names_in(given: Any) -> tuple[str, ...]:
    found: tuple[str, ...] = given.get("names", ("docs",))
    return found


def planned(asked: TrainRequest, own: Any = None, default: str | None = None) -> PlannedPrompts:
    return plan_prompts(asked, ModelFacts(prompts=own or {}, default_prompt_name=default))


@pytest.mark.parametrize(
    ("prompts", "model", "own", "columns", "saved"),
    [
        (None, {}, {}, {}, ("", "", None)),
        ("all: ", {}, {}, {"anchor": "all: ", "positive": "all: "}, ("all: ", "all: ", "query")),
        ({"anchor": Q, "positive": P}, {}, {}, {"anchor": Q, "positive": P}, (Q, P, None)),
        ({"question": Q, "answer": P}, {}, {}, {"anchor": Q, "positive": P}, (Q, P, None)),
        ({"anchor": Q, "answer": P}, {}, {}, {"anchor": Q, "positive": P}, (Q, P, None)),
        ({"docs": {"question": Q}}, {}, {}, {"anchor": Q}, (Q, "", None)),
        ({"docs": "all: "}, {}, {}, {"anchor": "all: ", "positive": "all: "}, ("all: ", "all: ", "query")),
        (None, {"prompts": E5}, {}, {"anchor": Q, "positive": P}, (Q, P, None)),
        (None, {"prompts": {"query": Q, "passage": P}}, {}, {"anchor": Q, "positive": P}, (Q, P, None)),
        (None, {"prompts": {"query": Q}}, {"document": P}, {"anchor": Q, "positive": P}, (Q, P, None)),
        (None, {"prompts": {"document": ""}}, E5, {"anchor": Q}, (Q, "", None)),
        (None, {"prompts": {"passage": P}}, {"document": "d: "}, {"positive": P}, ("", P, None)),
        ({"anchor": Q}, {"prompts": {"document": P}}, {}, {"anchor": Q, "positive": P}, (Q, P, None)),
        ({"anchor": Q}, {}, E5, {"anchor": Q, "positive": P}, (Q, P, None)),
        ({"anchor": "mine: "}, {}, {"query": Q}, {"anchor": "mine: "}, ("mine: ", "", None)),
        (None, {}, E5, {"anchor": Q, "positive": P}, (Q, P, None)),
        (None, {}, {"query": Q, "passage": P}, {"anchor": Q, "positive": P}, (Q, P, None)),
        (None, {"use_prompts": False}, E5, {}, ("", "", None)),
        (None, {}, {"classification": "c: "}, {}, ("", "", None)),
        (
            None,
            {"prompts": {"sts": "s: "}, "default_prompt_name": "sts"},
            {},
            {"anchor": "s: ", "positive": "s: "},
            ("s: ", "s: ", "sts"),
        ),
        (
            None,
            {"default_prompt_name": "sts"},
            {"query": Q, "sts": "s: "},
            {"anchor": "s: ", "positive": "s: "},
            ("s: ", "s: ", "sts"),
        ),
        (None, {"default_prompt_name": "query"}, {"query": Q}, {"anchor": Q}, (Q, "", "query")),
    ],
    ids=str,
)
def test_each_column_and_each_side_of_the_saved_model_has_one_prompt(
    prompts: Any, model: Any, own: Any, columns: Any, saved: tuple[str, str, str | None]
) -> None:
    found = planned(request(prompts, model), own)
    assert found.columns == ({"docs": columns} if columns else {})
    assert (found.query, found.document, found.default) == saved


@pytest.mark.parametrize(
    ("own", "saved"),
    [
        ({"sts": "s: "}, ("s: ", "s: ", "sts")),
        ({"sts": "s: ", "query": Q}, (Q, "", "sts")),
        ({"sts": "s: ", **E5}, (Q, P, "sts")),
    ],
    ids=str,
)
def test_the_default_prompt_of_the_files_is_for_texts_without_a_side_s_prompt(own: Any, saved: Any) -> None:
    found = planned(request(), own, "sts")
    assert (found.query, found.document, found.default) == saved


def test_negatives_have_the_prompt_of_documents_or_their_own() -> None:
    columns = {**COLUMNS, "negative": ["n1", "n2"]}
    documents = {"positive": P, "negative_1": P, "negative_2": P}
    for prompts, own in (({"answer": P, "negative": P}, {}), (None, {"document": P})):
        assert planned(request(prompts, columns=columns), own).columns == {"docs": documents}
    for name in ("negative_2", "n2"):
        found = planned(request({"positive": P, "n1": P, name: "n: "}, columns=columns))
        assert found.columns == {"docs": {**documents, "negative_2": "n: "}}
        assert found.document == P
    one_for_all = planned(request({"negative": P, "negative_2": "n: "}, columns=columns))
    assert one_for_all.columns == {"docs": {"negative_1": P, "negative_2": "n: "}}


def test_one_prompt_for_all_is_also_that_of_a_side_without_a_column() -> None:
    found = planned(request("all: ", columns={"anchor": "question", "label": "class"}))
    assert (found.query, found.document, found.default) == ("all: ", "all: ", "query")


def test_a_role_s_name_is_no_source_column() -> None:
    found = planned(request({"anchor": Q}, columns={"anchor": "positive", "positive": "anchor"}))
    assert found.columns == {"docs": {"anchor": Q}}


SEVERAL = {"docs": {"anchor": "a: "}, "more": {"question": "b: ", "answer": "t: "}}


def test_evaluators_of_a_dataset_with_other_prompts_than_the_saved_ones_get_them() -> None:
    evaluate = dict.fromkeys(("docs", "more", "held"), COLUMNS)
    found = planned(request(SEVERAL, names=("docs", "more"), evaluate=evaluate))
    assert found.columns == {"docs": {"anchor": "a: "}, "more": {"anchor": "b: ", "positive": "t: "}}
    assert (found.query, found.document) == ("a: ", "t: ")
    assert found.evaluation == {"docs": ("a: ", ""), "more": ("b: ", "t: ")}
    only_evaluated = planned(request({"held": {"anchor": "h: "}, "anchor": Q}, evaluate={"held": COLUMNS}))
    assert (only_evaluated.query, only_evaluated.evaluation) == (Q, {"held": ("h: ", "")})


def test_the_request_chooses_which_of_several_trained_prompts_is_saved() -> None:
    found = planned(request(SEVERAL, {"prompts": {"query": "b: "}}, names=("docs", "more")))
    assert (found.query, found.document) == ("b: ", "t: ")
    found = planned(request({"docs": {"anchor": "a: "}}, {"prompts": {"query": "b: "}}, names=("docs", "more")))
    assert found.columns == {"docs": {"anchor": "a: "}, "more": {"anchor": "b: "}}
    assert found.query == "b: "


def entries_of(asked: TrainRequest) -> dict[str, LedgerEntry]:
    entries = ledger(asked.arguments, gpus=0, world_size=1, has_evaluation=False)
    return {entry.name: entry for entry in with_columns(entries, asked, planned(asked))}


keys = st.sampled_from(["docs", "more", "anchor", "positive", "question", "answer"])
texts = st.sampled_from(["query: ", "passage: "])
written = st.one_of(st.none(), texts, st.dictionaries(keys, texts | st.dictionaries(keys, texts, max_size=2)))


@given(written, st.sampled_from([("docs",), ("docs", "more")]))
def test_the_trainer_s_collator_uses_what_is_planned(prompts: Any, names: tuple[str, ...]) -> None:
    asked = request(prompts, names=names)
    value, columns = entries_of(asked)["prompts"].value, planned(asked).columns
    for name in names:
        used: list[str | None] = []

        def preprocess(
            texts: list[str], prompt: str | None, task: None, used: list[str | None] = used
        ) -> dict[str, Any]:
            used.append(prompt)
            return {}

        row = {"anchor": "a", "positive": "b"} | ({"dataset_name": name} if len(names) > 1 else {})
        BaseDataCollator(preprocess_fn=preprocess, prompts=value)([row])
        of_this = columns.get(name, {})
        assert [prompt or None for prompt in used] == [of_this.get("anchor"), of_this.get("positive")]


@pytest.mark.parametrize(
    ("routes", "names", "value"),
    [
        ({"anchor": "query", "positive": "document"}, ("docs",), None),
        ({"question": "query", "answer": "document"}, ("docs",), {"anchor": "query", "positive": "document"}),
        ({"docs": {"question": "query"}}, ("docs",), {"anchor": "query"}),
        ({"docs": {"anchor": "query"}}, ("docs", "more"), None),
        ({"question": "query"}, ("docs", "more"), {"docs": {"anchor": "query"}, "more": {"anchor": "query"}}),
    ],
    ids=str,
)
def test_routes_are_by_role_or_by_source_name(routes: Any, names: tuple[str, ...], value: Any) -> None:
    entry = entries_of(request(routes=routes, names=names))["router_mapping"]
    assert entry.value == (value or routes)
    assert (entry.source, entry.effect) == (("embedstep", "by role") if value else ("request", ""))


def test_checkpoints_of_a_training_without_the_model_s_prompts_are_not_resumed() -> None:
    asked = request()
    plans = [
        build_plan(asked, [facts(100)], gpus=0, processes=1, model=ModelFacts(prompts=own))
        for own in ({}, {"sts": "s: "}, {"query": Q}, {"query": "other: "})
    ]
    assert plans[0].trained_from == plans[1].trained_from == sha256_json([plans[0].training_fingerprint, None])
    assert len({plan.trained_from for plan in plans}) == 3


@pytest.mark.parametrize(
    ("prompts", "model", "source"),
    [
        (None, {}, "request"),
        ("all: ", {}, "request"),
        ({"anchor": Q}, {}, "request"),
        ({"anchor": Q}, {"prompts": {"query": Q}}, "request"),
        ({"anchor": Q}, {"prompts": {"document": P}}, "embedstep"),
        ({"question": Q}, {}, "embedstep"),
        (None, {"prompts": {"query": Q}}, "embedstep"),
    ],
    ids=str,
)
def test_the_ledger_says_whose_prompts_the_trainer_gets(prompts: Any, model: Any, source: str) -> None:
    entry = entries_of(request(prompts, model))["prompts"]
    assert entry.source == source
    assert (entry.value == prompts) == (source == "request")
