"""A row function of another package: rows are made before roles are given, and everything after is about those."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embedstep.output.result import StepResult
from embedstep.planning.plan import Plan

pytestmark = pytest.mark.usefixtures("birdsong")
Ask = Callable[..., list[str]]


def made(path: Path, function: Any = "sentences", **more: Any) -> dict[str, Any]:
    columns = {"anchor": "question", "positive": "answer"}
    return {"train": {"docs": {"path": str(path), "row_function": function, "columns": columns, **more}}}


def test_rows_are_made_and_counted(plan_request: Callable[..., Plan], articles: Path) -> None:
    plan = plan_request(data=made(articles))
    assert plan.datasets[0].rows == 40
    assert "data.train.docs: sentences has made 40 rows of 21" in plan.notes
    longer = plan_request(data=made(articles, {"kind": "birdsong:sentences", "options": {"least": 21}}))
    assert 0 < longer.datasets[0].rows < 40
    assert longer.datasets[0].fingerprint != plan.datasets[0].fingerprint
    assert plan_request(data=made(articles, limit=7)).datasets[0].rows == 7


def test_the_fingerprint_is_that_of_the_rows_however_they_came_to_be(
    plan_request: Callable[..., Plan], articles: Path, tmp_path: Path
) -> None:
    rows = [json.loads(line) for line in articles.read_text().splitlines()]
    with (tmp_path / "articles.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["title", "body"])
        writer.writeheader()
        writer.writerows(rows)
    one, other = (plan_request(data=made(path)) for path in (articles, tmp_path / "articles.csv"))
    assert one.datasets[0].fingerprint == other.datasets[0].fingerprint


def test_a_training_reads_the_rows_that_were_made(
    train_here: Callable[..., StepResult], request_of: Callable[..., dict[str, Any]], articles: Path
) -> None:
    result = train_here(request_of(data=made(articles)))
    assert result.exit_code == 0, result.failure


@pytest.mark.parametrize(
    ("columns", "function", "message"),
    [
        ({"anchor": "title"}, "sentences",
         "data.train.docs.columns.anchor: sentences makes no column 'title'; it makes question, answer"),
        ({"anchor": "questin"}, "sentences",
         "data.train.docs.columns.anchor: sentences makes no column 'questin'; it makes question, answer; "
         "did you mean question?"),
        ({"anchor": "question"}, "sentence",
         "data.train.docs.row_function.kind: no row function is named 'sentence'; did you mean sentences?"),
        ({"anchor": "question"}, "birdsong:gone", "data.train.docs.row_function.kind: birdsong has no 'gone'"),
        ({"anchor": "question"}, {"kind": "sentences", "options": {"least": 0}},
         "data.train.docs.row_function.options.least: must be an integer of 1 or more, not 0"),
    ],
)  # fmt: skip
def test_what_is_declared_is_checked(
    problems_of: Ask, articles: Path, columns: dict[str, str], function: Any, message: str
) -> None:
    data = made(articles, function)
    data["train"]["docs"]["columns"] = columns
    assert message in problems_of(data=data)


DECLARE = (
    "from embedstep import RowFunctionKind\nimport itertools\ncount = itertools.count()\n"
    "x = RowFunctionKind(name='x', function={}, reads={}, makes={{'question': 'text', 'answer': 'text'}})"
)


@pytest.mark.parametrize(
    ("function", "reads", "message"),
    [
        ("lambda row: row['nothing']", ("title",), "x fails on row 1 of {}: KeyError: 'nothing'"),
        ("lambda row: [1]", ("title",), "x gives int for row 1 of {}; it must give mappings of columns"),
        ("lambda row: {'other': ''}", ("title",),
         "x makes a column 'other' of row 1 of {} that it does not declare"),
        ("lambda row: {'question': 1, 'answer': 'a'}", ("title",), "x makes a value of column 'question' "),
        ("lambda row: {'question': 'q', 'answer': str(next(count))}", ("title",),
         "x gives other rows for row 1 of {} the second time; it must give the same"),
        ("lambda row: row", ("titel",), "x reads it, but {} has no column 'titel'; its columns are title, body;"),
    ],
)  # fmt: skip
def test_a_function_that_does_not_do_as_it_says_is_refused(
    problems_of: Ask,
    articles: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    function: str,
    reads: Any,
    message: str,
) -> None:
    name = f"rows_{abs(hash(function))}"
    (tmp_path / f"{name}.py").write_text(DECLARE.format(function, repr(reads)))
    monkeypatch.syspath_prepend(tmp_path)
    found, *more = problems_of(data=made(articles, f"{name}:x"))
    assert not more
    assert found.startswith(f"data.train.docs.row_function: {message.format(articles)}")
