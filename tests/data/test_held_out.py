"""Which rows are held out: by the hash of a value and the seed, and nothing else."""

import csv
import json
import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import ipc, parquet

from embedstep.data.facts import DatasetFacts
from embedstep.data.held_out import is_held_out
from embedstep.data.reading import Part, scan, scan_parts
from embedstep.errors import InvalidRequestError
from embedstep.planning.plan import Plan
from embedstep.request.datasets import Dataset

COLUMNS = {"anchor": "query", "positive": "answer"}
ROWS = [
    {"query": f"question {number % 150}", "answer": f"answer {number % 70}", "user": number % 40, "score": number / 8}
    for number in range(300)
]
USERS = [11, 12, 21, 27, 29, 35]
"""Those that share 0.2 and seed 1 hold out, by BLAKE2b of the digits."""
SHARES = st.floats(0.01, 0.99)
SEEDS = st.integers(-(2**63) + 1, 2**63 - 1)
TEXTS = st.lists(st.text(st.characters(codec="utf-8"), min_size=1), min_size=1, max_size=20)


def held_out(texts: Sequence[str], share: float, seed: int = 42) -> list[bool]:
    found: list[bool] = is_held_out(pa.array(texts, pa.string()), share, seed).tolist()
    return found


def test_the_same_values_are_held_out_in_every_release() -> None:
    texts = [f"question {number}" for number in range(20)]
    found = [[number for number, is_out in enumerate(held_out(texts, 0.3, seed)) if is_out] for seed in (1, 2)]
    assert found == [[3, 4, 5, 7, 8, 9, 14, 17], [3, 5, 6, 7, 8, 13, 17, 18]]


@given(texts=TEXTS, more=TEXTS, share=SHARES, seed=SEEDS, order=st.randoms(use_true_random=False))
def test_a_value_stays_on_its_side_as_the_data_grows_in_any_order(
    texts: list[str], more: list[str], share: float, seed: int, order: random.Random
) -> None:
    sides = dict(zip(texts, held_out(texts, share, seed), strict=True))
    grown = [*texts, *more]
    order.shuffle(grown)
    later = dict(zip(grown, held_out(grown, share, seed), strict=True))
    assert {text: later[text] for text in texts} == sides


@given(texts=TEXTS, share=SHARES, seed=SEEDS)
def test_spellings_that_count_as_duplicates_are_on_one_side(texts: list[str], share: float, seed: int) -> None:
    ascii_texts = [text.encode("ascii", "replace").decode() for text in texts]
    spelled = [f" {text.upper()}\n" for text in ascii_texts]
    assert held_out(spelled, share, seed) == held_out(ascii_texts, share, seed)
    assert held_out(["ﬁne Cafe\u0301"], share, seed) == held_out(["FINE CAF\u00c9"], share, seed)


@given(texts=TEXTS, shares=st.tuples(SHARES, SHARES), seed=SEEDS)
def test_a_larger_share_keeps_what_was_held_out(texts: list[str], shares: tuple[float, float], seed: int) -> None:
    small, large = sorted(shares)
    assert all(
        later or not now for now, later in zip(held_out(texts, small, seed), held_out(texts, large, seed), strict=True)
    )


@given(share=SHARES, seed=SEEDS)
def test_the_share_is_within_the_bounds_of_chance(share: float, seed: int) -> None:
    count = 2_000
    found = sum(held_out([f"text {number}" for number in range(count)], share, seed))
    assert abs(found - share * count) <= 6 * math.sqrt(count * share * (1 - share)) + 1


@pytest.mark.parametrize(
    "numbers",
    [
        pa.array(list(range(50)), pa.int64()),
        pa.array([float(number) for number in range(50)], pa.float64()),
        pa.array([f" {number}" for number in range(50)]),
    ],
    ids=["integers", "floats", "texts"],
)
def test_a_number_is_on_one_side_however_a_file_holds_it(numbers: Any) -> None:
    assert is_held_out(numbers, 0.4, 7).tolist() == held_out([str(number) for number in range(50)], 0.4, 7)


def section(path: str | list[str], share: float = 0.2, by: str = "anchor", **more: Any) -> Dataset:
    hold_out = {"share": share, "by": by, "seed": 1}
    return Dataset.model_validate({"path": path, "columns": COLUMNS, "hold_out": hold_out, **more})


def both(dataset: Dataset, *, drop: bool = False, slices: str | None = None) -> list[DatasetFacts]:
    parts = [
        Part(split="train", name="docs", write_to=Path("train.arrow")),
        Part(split="eval", name="docs", write_to=Path("eval.arrow"), slices=slices),
    ]
    return scan_parts(parts, dataset, drop_incomplete_rows=drop)


def rows_of(split: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = ipc.open_stream(Path(f"{split}.arrow").read_bytes()).read_all().to_pylist()
    return rows


def values(split: str, role: str) -> set[str]:
    return {row[role] for row in rows_of(split)}


def write_parquet(rows: list[dict[str, Any]], name: str) -> str:
    parquet.write_table(pa.Table.from_pylist(rows), f"{name}.parquet")
    return f"{name}.parquet"


def write_jsonl(rows: list[dict[str, Any]], name: str) -> str:
    Path(f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return f"{name}.jsonl"


def write_csv(rows: list[dict[str, Any]], name: str) -> str:
    with Path(f"{name}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return f"{name}.csv"


@pytest.mark.parametrize(("by", "role"), [("anchor", "anchor"), ("positive", "positive")])
def test_the_sides_share_no_value_and_lose_no_row(by: str, role: str) -> None:
    train, held = both(section(write_parquet(ROWS, "rows"), by=by))
    assert not values("train", role) & values("eval", role)
    assert (train.rows, held.rows) == (len(rows_of("train")), len(rows_of("eval")))
    assert train.rows + held.rows == 300
    assert train.held_out_rows == held.rows
    assert (train.dropped_columns, held.dropped_columns) == (("user", "score"), ("user", "score"))
    together = sorted((row["anchor"], row["positive"]) for row in [*rows_of("train"), *rows_of("eval")])
    assert together == sorted((row["query"], row["answer"]) for row in ROWS)


@pytest.mark.parametrize("write", [write_parquet, write_jsonl, write_csv])
def test_a_query_stays_held_out_in_any_format_order_and_number_of_files(
    write: Callable[[list[dict[str, Any]], str], str],
) -> None:
    both(section(write_parquet(ROWS, "rows")))
    before = values("eval", "anchor")
    grown = [*({**row, "query": f"new {row['query']}"} for row in ROWS), *reversed(ROWS)]
    both(section([write(grown[200:], "one"), write(grown[:200], "two")]))
    now = values("eval", "anchor")
    assert {query for query in now if not query.startswith("new")} == before
    assert now != before


@pytest.mark.parametrize("write", [write_parquet, write_jsonl, write_csv])
def test_a_group_stays_together(write: Callable[[list[dict[str, Any]], str], str]) -> None:
    kept = [*({**row, "query": str(number)} for number, row in enumerate(ROWS))]
    both(section(write(kept, "rows"), by="user"))
    users: dict[str, Any] = {str(number): row["user"] for number, row in enumerate(ROWS)}
    assert sorted({users[row["anchor"]] for row in rows_of("eval")}) == USERS
    assert not {users[row["anchor"]] for row in rows_of("train")} & set(USERS)
    assert list(rows_of("eval")[0]) == ["anchor", "positive"]


def test_one_side_alone_has_the_rows_that_it_has_with_the_other() -> None:
    dataset = section(write_parquet(ROWS, "rows"), by="user")
    together = both(dataset)
    alone = [scan(split, "docs", dataset, drop_incomplete_rows=False) for split in ("train", "eval")]
    assert [item.fingerprint for item in alone] == [item.fingerprint for item in together]
    assert [item.rows for item in alone] == [item.rows for item in together]


def test_groups_may_be_the_slices_of_the_gate() -> None:
    train, held = both(section(write_parquet(ROWS, "rows"), by="user"), slices="user")
    assert {row["slice"] for row in rows_of("eval")} == set(USERS)
    assert (list(train.columns), list(held.columns)) == (["anchor", "positive"], ["anchor", "positive", "slice"])


def test_two_datasets_with_one_seed_put_a_text_on_the_same_side() -> None:
    both(section(write_parquet(ROWS[:200], "one")))
    train, held = values("train", "anchor"), values("eval", "anchor")
    both(section(write_jsonl([{**row, "query": str(row["query"]).title()} for row in ROWS[100:]], "two")))
    assert not {query.lower() for query in values("train", "anchor")} & held
    assert not {query.lower() for query in values("eval", "anchor")} & train


def test_a_limit_and_dropped_rows_count_before_rows_are_held_out() -> None:
    rows = [{**row, "answer": None} if number in (3, 5) else row for number, row in enumerate(ROWS)]
    train, held = both(section(write_parquet(rows, "rows"), limit=100), drop=True)
    assert (train.rows + held.rows, train.dropped_rows, held.dropped_rows) == (100, 2, 0)
    first = {row["query"] for number, row in enumerate(rows[:102]) if number not in (3, 5)}
    assert values("train", "anchor") | values("eval", "anchor") == first


def test_the_label_is_counted_on_each_side() -> None:
    columns = {"anchor": "query", "label": "user"}
    train, held = both(section(write_parquet(ROWS, "rows"), columns=columns))
    assert sum(train.label_values.values()) == train.rows
    assert sum(held.label_values.values()) == held.rows


@pytest.mark.usefixtures("birdsong")
def test_rows_that_a_function_makes_are_held_out_by_what_it_makes(
    plan_request: Callable[..., Plan], articles: Path
) -> None:
    docs = {"path": str(articles), "row_function": "sentences", "columns": {"anchor": "question", "positive": "answer"}}
    plan = plan_request(data={"train": {"docs": {**docs, "hold_out": {"share": 0.3}}}})
    assert sum(item.rows for item in plan.datasets) == 40
    assert "data.train.docs: sentences has made 40 rows of 21" in plan.notes


ONE = [{"query": "A question", "answer": "b", "user": 7}, {"query": "a  Question", "answer": "c", "user": 7}]


@pytest.mark.parametrize(
    ("rows", "given_section", "problems"),
    [
        (ROWS, {"share": 1e-9},
         ["data.train.docs.hold_out.share: is 1e-09, which holds out none of 300 rows; write 0.01 or more"]),
        (ROWS[:4], {"share": 0.001},
         ["data.train.docs.hold_out.share: is 0.001, which holds out none of 4 rows; write 0.27 or more"]),
        (ROWS[:4], {"share": 0.999},
         ["data.train.docs.hold_out.share: is 0.999, which holds out all of 4 rows; write 0.98 or less"]),
        (ONE, {"share": 0.5},
         ["data.train.docs.hold_out.share: holds out none of 2 rows: there is only one anchor"]),
        (ONE[:1], {"share": 0.999, "by": "user"},
         ["data.train.docs.hold_out.share: holds out all of 1 row: there is only one value of 'user'"]),
        (ROWS, {"by": "usr"},
         ["data.train.docs.hold_out.by: rows.parquet has no column 'usr'; its columns are query, answer, user, score; "
          "did you mean user?"]),
        (ROWS, {"by": "query"},
         ["data.train.docs.hold_out.by: 'query' is the column of the anchor; write anchor"]),
        (ROWS, {"by": "score", "columns": {**COLUMNS, "label": "score"}},
         ["data.train.docs.hold_out.by: 'score' is the column of the label; name a column without a role"]),
        (ROWS, {"by": "positive", "columns": {"anchor": "query"}},
         ["data.train.docs.hold_out.by: is positive, and columns names no positive; name what stays together"]),
        ([{**row, "answer": [row["answer"]]} for row in ROWS], {"by": "positive"},
         ["data.train.docs.hold_out.by: column 'answer' holds lists of texts; name one with a single value in each "
          "row"]),
        ([{**row, "user": [row["user"]]} for row in ROWS], {"by": "user"},
         ["data.train.docs.hold_out.by: column 'user' holds lists of numbers; a group is a name or a number"]),
        ([{**row, "user": None if row["user"] == 1 else "x"} for row in ROWS[:50]], {"by": "user"},
         ["data.train.docs.hold_out.by: column 'user' of rows.parquet is empty in 2 rows (rows 2, 42); fill the cells, "
          "or drop such rows by data.drop_incomplete_rows: true"]),
    ],
)  # fmt: skip
def test_what_cannot_be_held_out_is_refused(
    rows: list[dict[str, Any]], given_section: dict[str, Any], problems: list[str]
) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        both(section(write_parquet(rows, "rows"), **given_section))
    assert [str(problem) for problem in caught.value.problems] == problems
    assert not Path("train.arrow").exists()


@given(numbers=st.lists(st.integers(), min_size=2, max_size=30, unique=True), share=SHARES)
def test_the_share_that_a_message_names_would_do(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[int], share: float
) -> None:
    path = str(tmp_path_factory.getbasetemp() / "rows.parquet")
    parquet.write_table(pa.table({"query": [str(number) for number in numbers], "answer": ["a"] * len(numbers)}), path)
    try:
        scan("train", "docs", section(path, share), drop_incomplete_rows=False)
    except InvalidRequestError as error:
        named = float(str(error.problems[0]).partition("; write ")[2].split()[0])
        assert scan("train", "docs", section(path, named), drop_incomplete_rows=False).rows < len(numbers)
