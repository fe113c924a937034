"""`init`: from files to a request that is valid, by questions on a terminal or by --yes; and on to a verdict."""

import csv
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.conftest import embedstep
from tests.conftest import ACTIONS, TOPICS
from tests.places import ROOT

PAGE = (ROOT / "docs" / "init.md").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh folder with `pairs.csv`, as in docs/init.md."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    with Path("pairs.csv").open("w", newline="") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerow(["id", "question", "answer", "link"])
        for number in range(400):
            action, topic = ACTIONS[number % 10], TOPICS[number // 10 % 10]
            answer = f"Call {action}_{topic} with the number {number}; it returns the {topic}."
            question = f"How do I {action} a {topic} by number {number}?"
            writer.writerow([number, question, answer, f"https://example.org/{number}"])
    return tmp_path


def shown(command: str) -> str:
    """What docs/init.md shows below a command."""
    found = re.search(rf"^\$ {re.escape(command)}\n(.*?)(?=^\$ |^```)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, command
    return found[1]


def test_the_page_shows_what_the_command_prints_and_writes() -> None:
    code, out, err = embedstep("init", "pairs.csv", "--yes")
    assert (code, err) == (0, "")
    assert out == shown("embedstep init pairs.csv --yes")
    (request,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert Path("request.yaml").read_text() == request
    code, out, _ = embedstep("check", "request.yaml")
    assert code == 0
    assert out.splitlines()[0] in shown("embedstep init pairs.csv --yes")


def answers(*lines: str, arguments: tuple[str, ...] = ("pairs.csv",)) -> tuple[int, str]:
    """Run `init` on a terminal and give these answers; return the code and what the terminal shows."""
    ours, theirs = os.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "embedstep", "init", *arguments],
        stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "dumb"},
    ) as process:  # fmt: skip
        os.close(theirs)
        os.write(ours, "".join(f"{line}\n" for line in lines).encode())
        parts = []
        while True:
            try:
                parts.append(os.read(ours, 65536))
            except OSError:  # how Linux shows that the other end is closed
                break
        os.close(ours)
    return process.returncode, re.sub(r"\x1b\[[0-9;]*m", "", b"".join(parts).decode()).replace("\r", "")


def columns_written(name: str = "request.yaml") -> Any:
    (dataset,) = yaml.safe_load(Path(name).read_text())["data"]["train"].values()
    return dataset["columns"]


def test_on_a_terminal_enter_takes_what_is_proposed() -> None:
    code, out = answers("", "", "", "", "")
    assert code == 0, out
    for question in (
        "model [sentence-transformers/all-MiniLM-L6-v2]: ",
        "anchor (the query) [question]: ",
        "positive (what matches it) [answer]: ",
        "file to write [request.yaml]: ",
    ):
        assert question in out
        assert question.rstrip() in shown("embedstep init pairs.csv")
    assert columns_written() == {"anchor": "question", "positive": "answer"}


def test_on_a_terminal_answers_change_the_request_and_wrong_ones_are_asked_again() -> None:
    rows = [{"q": f"open {n}", "body": f"how to open {n}", "bad": f"close {n}", "score": n % 5 / 4} for n in range(60)]
    with Path("rows.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    Path("taken.yaml").write_text("model: mine\n")
    code, out = answers(
        "other/model", "nothing", "body", "bad", "score", "taken.yaml", "new.yaml", arguments=("rows.csv",)
    )
    assert code == 0, out
    assert "Error: 'nothing' is not one of 'q', 'body', 'bad'" in out
    assert "Error: taken.yaml exists; write --overwrite, or another file" in out
    assert Path("taken.yaml").read_text() == "model: mine\n"
    assert columns_written("new.yaml") == {"anchor": "body", "positive": "bad", "label": "score"}
    assert yaml.safe_load(Path("new.yaml").read_text())["model"] == "other/model"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("pairs.csv",), "standard input is not a terminal, so nothing can be asked; write --yes"),
        (("none.csv", "--yes"), "none.csv does not exist"),
        (("numbers.csv", "--yes"), "no column holds texts that a model could learn from; the columns are x (integers)"),
        (("pairs.csv", "--yes", "--output", "there.yaml"),
         "--output: there.yaml exists; write --overwrite, or another file"),
        (("pairs.csv", "--yes", "--output", "none/request.yaml"),
         "--output: none/request.yaml cannot be written: No such file or directory"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused(arguments: tuple[str, ...], message: str) -> None:
    Path("numbers.csv").write_text("x\n1\n2\n")
    Path("there.yaml").write_text("model: mine\n")
    code, _, err = embedstep("init", *arguments)
    assert (code, err) == (2, f"init: 1 problem\n  {message}\n")
    assert Path("there.yaml").read_text() == "model: mine\n"
    assert not Path("request.yaml").exists()


def test_a_file_is_replaced_where_that_is_asked_for() -> None:
    Path("request.yaml").write_text("model: mine\n")
    assert embedstep("init", "pairs.csv", "--yes", "--overwrite")[0] == 0
    assert columns_written() == {"anchor": "question", "positive": "answer"}


def test_a_problem_of_the_request_is_shown_and_the_file_stays_to_be_changed() -> None:
    Path("empty").mkdir()
    code, _, err = embedstep("init", "pairs.csv", "--yes", "--model", "./empty")
    assert (code, err) == (
        2,
        "request.yaml: 1 problem\n  model.path: empty holds no model: it has no modules.json and no config.json\n",
    )
    assert Path("request.yaml").exists()


@pytest.mark.parametrize(
    ("header", "command"),
    [
        ("query,passage", "embedstep promote request.yaml outputs/request"),
        ("sentence1,sentence2,score",
         "embedstep evaluate request.yaml --model before=acme/base --model after=outputs/request"),
        ("premise,hypothesis,label", None),
    ],
)  # fmt: skip
def test_the_commands_that_follow_lead_to_a_verdict_where_there_can_be_one(header: str, command: str | None) -> None:
    rows = (f"open {n},how to open the {n},{n % 3}" for n in range(60))
    cells = header.count(",") + 1
    Path("rows.csv").write_text("\n".join([header, *(",".join(row.split(",")[:cells]) for row in rows)]))
    code, out, _ = embedstep("init", "rows.csv", "--yes", "--model", "acme/base")
    assert code == 0
    following = [line.split("  ")[1] for line in out.partition("next\n")[2].splitlines() if line.startswith("  ")]
    assert following == [
        "embedstep run request.yaml --output outputs/request",
        *([command] if command else []),
        "embedstep check request.yaml",
    ]
    assert "  model: acme/base is not here; a run fetches it from the hub, over the network\n" in out
    assert out.endswith("Without access to the hub, name a folder with a model: --model\n")


@pytest.mark.slow
def test_three_commands_lead_from_a_file_to_a_verdict(
    tiny_model: Path, train_here: Callable[..., Any], own_uri: str
) -> None:
    lines = Path("pairs.csv").read_text().splitlines(keepends=True)
    Path("pairs.csv").write_text("".join(lines[:101]))
    code, out, err = embedstep("init", "pairs.csv", "--yes", "--model", str(tiny_model))
    assert code == 0, err
    commands = [line.split("  ")[1] for line in out.partition("next\n")[2].splitlines()]
    for command in commands[:2]:
        code, out, err = embedstep(*command.split()[1:])
        assert code == 0, err
    assert out.splitlines()[0] in ("promote", "hold", "reject")
    assert re.search(r"pairs_cosine_ndcg@10 0\.\d{4} against 0\.\d{4}", out)
    assert {"result.json", "report.html", "verdict.json"} <= {one.name for one in Path("outputs/request").iterdir()}
