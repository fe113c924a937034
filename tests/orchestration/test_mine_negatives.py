"""What is mined for a request and with which prompts, and what cannot be mined, refused before a model is loaded."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from embedstep.data.model_facts import ModelFacts
from embedstep.errors import CannotStartError, InvalidRequestError
from embedstep.orchestration.mine_negatives import mine_negatives, mining_prompts
from embedstep.request.loading import load_request
from embedstep.request.mining import read_mining
from tests.conftest import pair_rows

Build = Callable[..., dict[str, Any]]
COLUMNS = {"anchor": "anchor", "positive": "positive", "negative": ["hard", "harder"]}


@pytest.mark.parametrize(
    ("columns", "options", "paths"),
    [
        ({"anchor": "anchor", "positive": "positive"}, {}, ["data.train.docs.columns.negative"]),
        (
            {"anchor": "anchor", "negative": "hard", "label": "score"},
            {},
            ["data.train.docs.columns", "data.train.docs.columns.label"],
        ),
        (COLUMNS, {"sampling_strategy": "closest", "margin": 1}, ["margin", "sampling_strategy"]),
        (COLUMNS, {"range_max": 1, "corpus_column": "text"}, ["corpus_column", "range_max"]),
        (COLUMNS, {"cross_encoder": "/no/model"}, ["cross_encoder"]),
        (COLUMNS, {"corpus": "/no/documents.parquet"}, ["corpus"]),
        (COLUMNS, {"corpus": "{train}", "corpus_column": "document"}, ["corpus_column"]),
        (
            COLUMNS,
            {"query_prompt_name": "find", "corpus_prompt_name": "page"},
            ["query_prompt_name", "corpus_prompt_name"],
        ),
    ],
)
def test_every_problem_is_reported_and_nothing_is_written(
    columns: dict[str, str], options: dict[str, Any], paths: list[str], request_of: Build, tmp_path: Path
) -> None:
    document = request_of()
    train = document["data"]["train"]["docs"]
    train["columns"] = columns
    options = {name: train["path"] if value == "{train}" else value for name, value in options.items()}
    with pytest.raises(InvalidRequestError) as caught:
        mine_negatives(load_request(json.dumps(document)), tmp_path / "rows", options)
    assert [problem.path for problem in caught.value.problems] == paths
    assert not list(tmp_path.rglob("*.parquet"))


def test_a_group_that_mined_rows_do_not_have_holds_nothing_out(request_of: Build, tmp_path: Path) -> None:
    document = request_of()
    columns = {"anchor": "anchor", "positive": "positive", "negative": "hard"}
    document["data"]["train"]["docs"] |= {"columns": columns, "hold_out": {"share": 0.1, "by": "team"}}
    with pytest.raises(
        InvalidRequestError, match=r"^data\.train\.docs\.hold_out\.by: is team, a column that mined rows"
    ):
        mine_negatives(load_request(json.dumps(document)), tmp_path / "rows", {})


def test_a_missing_faiss_is_named(request_of: Build, tmp_path: Path) -> None:
    document = request_of()
    document["data"]["train"]["docs"]["columns"] = COLUMNS
    with pytest.raises(
        CannotStartError, match=r"^use_faiss needs FAISS, which is not installed; pip install faiss-cpu$"
    ):
        mine_negatives(load_request(json.dumps(document)), tmp_path / "rows", {"use_faiss": True})


@pytest.mark.parametrize(
    ("sections", "options", "prompts"),
    [
        ({}, {}, ("", "")),
        ({"model": {"prompts": {"query": "q: ", "document": "d: "}}}, {}, ("q: ", "d: ")),
        ({"arguments": {"prompts": {"anchor": "ask: "}}}, {}, ("ask: ", "from the files: ")),
        ({"model": {"use_prompts": False}}, {}, ("", "")),
        ({"model": {"use_prompts": False}}, {"corpus_prompt_name": "document"}, ("", "from the files: ")),
        ({"model": {"prompts": {"query": "q: "}}}, {"query_prompt": ""}, ("", "from the files: ")),
        ({}, {"query_prompt": "now: ", "corpus_prompt": "then: "}, ("now: ", "then: ")),
    ],
)
def test_prompts_are_those_of_the_training_unless_options_name_others(
    sections: dict[str, Any], options: dict[str, Any], prompts: tuple[str, str], request_of: Build
) -> None:
    document = request_of()
    document["model"] = {"path": document["model"], **sections.get("model", {})}
    document["arguments"] |= sections.get("arguments", {})
    saved = {"document": "from the files: "} if sections else {}
    facts = ModelFacts(prompts=saved)
    found = mining_prompts(load_request(json.dumps(document)), facts, read_mining(options), "docs")
    assert (found["query_prompt"], found["corpus_prompt"]) == prompts


@pytest.mark.slow
def test_negatives_of_a_dataset_come_from_its_positives_and_a_corpus(request_of: Build, tmp_path: Path) -> None:
    """Once with candidates enough, once with a margin that no candidate keeps."""
    document = request_of()
    document["data"]["train"]["docs"]["columns"] = COLUMNS
    corpus = [row["negative"] for row in pair_rows(50, 5000)]
    (tmp_path / "corpus.txt").write_text("\n".join(corpus) + "\n")
    request = load_request(json.dumps(document))
    options = {"corpus": str(tmp_path / "corpus.txt"), "corpus_column": "text", "relative_margin": 0, "batch_size": 64}
    (mined,) = mine_negatives(request, tmp_path / "rows", options)
    assert (mined.rows, mined.mined_rows, mined.negatives, mined.documents) == (130, 130, 2, 180)
    rows = pq.read_table(tmp_path / "rows" / "docs.parquet").to_pylist()
    assert {row["hard"] for row in rows} & set(corpus)
    message = (
        r"^data\.train\.docs: has no row with 2 negatives; raise range_max, or lower relative_margin \(0 for none\)$"
    )
    with pytest.raises(InvalidRequestError, match=message):
        mine_negatives(request, tmp_path / "rows", {"absolute_margin": 1.5})
