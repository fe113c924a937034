"""Hard negatives as the job of the worker writes them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from datasets import Dataset

from embedstep.errors import InvalidRequestError
from embedstep.worker.jobs.mine import MiningJob, mine, queries_at_once
from tests.conftest import pair_rows

Rows = list[dict[str, Any]]
Mine = Callable[..., tuple[Rows, dict[str, int]]]
PAIRS = [{"anchor": row["anchor"], "positive": row["positive"]} for row in pair_rows(30)]
ANSWERS = {row["positive"] for row in PAIRS}


def arrow_file(rows: Rows, folder: Path) -> str:
    Dataset.from_list(rows).save_to_disk(str(folder))
    (file,) = folder.glob("*.arrow")
    return str(file)


@pytest.fixture
def mined(tiny_model: Path, tmp_path: Path) -> Mine:
    """Mine negatives for rows, among them and the documents of a corpus; return what was written and returned."""

    def run(rows: Rows, negatives: int = 2, corpus: Sequence[str] = (), **job: Any) -> tuple[Rows, dict[str, int]]:
        documents = [{"positive": text} for text in corpus]
        described: dict[str, Any] = {
            "section": {"path": str(tiny_model)},
            "rows": arrow_file(rows, tmp_path / "rows"),
            "negatives": negatives,
            "options": {},
            "query_prompt": "",
            "corpus_prompt": "",
            "to": str(tmp_path / "mined.parquet"),
            "corpus": arrow_file(documents, tmp_path / "corpus") if documents else None,
        }
        about = mine(MiningJob(**(described | job)))
        return pq.read_table(tmp_path / "mined.parquet").to_pylist(), about

    return run


def test_rows_get_as_many_negatives_as_asked_for_and_never_their_positive(mined: Mine) -> None:
    rows, about = mined(PAIRS, options={"range_max": 8, "sampling_strategy": "top"})
    assert about == {"documents": 30, "rows": 30}
    assert list(rows[0]) == ["anchor", "positive", "negative_1", "negative_2"]
    assert [{name: row[name] for name in ("anchor", "positive")} for row in rows] == PAIRS
    for row in rows:
        assert {row["negative_1"], row["negative_2"]} <= ANSWERS - {row["positive"]}
        assert row["negative_1"] != row["negative_2"]


def test_another_spelling_of_a_positive_is_no_negative(mined: Mine) -> None:
    """Each question stands twice, with two answers of which one is written in two ways; the corpus has a third."""
    pairs = []
    for row in pair_rows(12):
        answer = row["positive"]
        pairs.append({"anchor": row["anchor"], "positive": answer})
        pairs.append({"anchor": row["anchor"].upper(), "positive": f"{answer.title()}  "})
    rows, about = mined(pairs, 3, [row["positive"].upper() for row in pairs])
    assert about == {"documents": 12, "rows": 24}
    assert [{name: row[name] for name in ("anchor", "positive")} for row in rows] == pairs
    for row in rows:
        own = " ".join(row["positive"].lower().split())
        negatives = [" ".join(row[f"negative_{number}"].lower().split()) for number in (1, 2, 3)]
        assert own not in negatives
        assert len(set(negatives)) == 3


def test_negatives_come_from_the_corpus_too(mined: Mine) -> None:
    corpus = [f"{row['anchor']} {row['positive']}" for row in pair_rows(30)]
    rows, about = mined(PAIRS, 1, corpus)
    assert about == {"documents": 60, "rows": 30}
    found = {row["negative_1"] for row in rows}
    assert found <= ANSWERS | set(corpus)
    assert found & set(corpus)


@pytest.mark.parametrize("prompts", [("", ""), ("find what answers: ", ""), ("find what answers: ", "manual page ")])
def test_prompts_are_before_the_texts_as_in_the_training(
    prompts: tuple[str, str], mined: Mine, tiny_model: Path, tmp_path: Path
) -> None:
    """The same negatives are found as among texts that begin with the prompts, also by a model with others."""
    query, document = prompts
    section = {"path": str(tiny_model), "prompts": {"query": "another: ", "document": "one more: "}}
    rows, _ = mined(PAIRS, query_prompt=query, corpus_prompt=document, section=section)
    written = [{"anchor": query + row["anchor"], "positive": document + row["positive"]} for row in PAIRS]
    (tmp_path / "rows").rename(tmp_path / "before")
    expected, _ = mined(written)
    assert [document + row["negative_1"] for row in rows] == [row["negative_1"] for row in expected]


def test_random_negatives_are_the_same_with_the_same_seed(mined: Mine, tmp_path: Path) -> None:
    found: list[Rows] = []
    for seed in (1, 1, 2):
        rows, _ = mined(PAIRS, options={"range_max": 20, "sampling_strategy": "random"}, seed=seed)
        (tmp_path / "rows").rename(tmp_path / f"rows-{len(found)}")
        found.append(rows)
    assert found[0] == found[1] != found[2]


@pytest.mark.filterwarnings("ignore:std\\(\\):UserWarning")  # the library describes what it found, here nothing
def test_a_cross_encoder_scores_the_candidates_again(mined: Mine, tiny_model: Path, tmp_path: Path) -> None:
    """Its scores decide: with a limit below all of them, no row gets negatives."""
    from sentence_transformers import CrossEncoder

    CrossEncoder(str(tiny_model), num_labels=1).save_pretrained(str(tmp_path / "cross"))
    given = {"cross_encoder": str(tmp_path / "cross"), "options": {"max_score": 2.0}}
    rows, _ = mined(PAIRS, **given)
    assert len(rows) == 30
    (tmp_path / "rows").rename(tmp_path / "before")
    assert mined(PAIRS, **given | {"options": {"max_score": -1.0}}) == ([], {"documents": 30, "rows": 0})
    (tmp_path / "rows").rename(tmp_path / "before-2")
    with pytest.raises(InvalidRequestError, match=r"^cross_encoder: \S*/nothing cannot be loaded: "):
        mined(PAIRS, **given | {"cross_encoder": str(tmp_path / "nothing")})


@pytest.mark.parametrize(
    ("documents", "queries"), [(1, 1_024), (40_000, 1_024), (1_000_000, 67), (10_000_000, 6), (1 << 30, 1)]
)
def test_at_most_256_mebibytes_of_scores_are_held(documents: int, queries: int) -> None:
    assert queries_at_once(documents) == queries
    assert queries == 1 or queries * documents * 4 <= 256 * 2**20
