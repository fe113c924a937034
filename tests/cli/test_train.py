"""`check`, `plan` and `run`: what they print, and what they refuse."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Build, embedstep


def test_check_says_that_a_request_is_valid(request_file: Callable[..., str]) -> None:
    path = request_file()
    assert embedstep("check", path) == (0, f"{path}: valid, 130 rows, 4 train steps of 8 rows on 1 process\n", "")


def test_check_reads_standard_input(request_of: Build) -> None:
    code, out, _ = embedstep("check", "-", text=json.dumps(request_of()))
    assert code == 0
    assert out.startswith("-: valid")


def test_plan_is_a_table_or_json(request_file: Callable[..., str]) -> None:
    path = request_file(launch={"processes_per_node": 2})
    code, out, _ = embedstep("plan", path)
    assert code == 0
    assert (
        "  train.docs   130        0  anchor, positive  multiple_negatives_ranking       16         100%          2"
        in out
    )
    assert "2 on the CPU" in out
    assert "columns left out  class, id, negative, score" in out
    assert "dataloader_drop_last   True" in out
    assert "embedstep  all processes must make the same number of steps" in out
    plan = json.loads(embedstep("plan", path, "--json")[1])
    assert plan["format"] == "embedstep.plan/1"
    assert plan["train_steps"] == 4
    assert plan["steps_per_epoch"] == 8
    assert len(plan["ledger"]) == 151


def test_the_default_output_is_named_by_the_request(
    request_file: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    embedstep("run", request_file(model="./none"))
    assert json.loads((tmp_path / "outputs" / "request" / "result.json").read_text())["outcome"] == "refused"
    embedstep("run", request_file(model="./none", arguments={"output_dir": "elsewhere"}))
    assert (tmp_path / "elsewhere" / "result.json").exists()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("", "docs"),
        ('{"anchor": "a"}', "columns.positive"),
        ('{"anchor": "a", "positive": ""}', "positive"),
        ('{"anchor": 1, "positive": "b"}', "anchor"),
        ("not json", "rows.jsonl"),
    ],
)
def test_bad_rows_are_refused(request_file: Callable[..., str], tmp_path: Path, rows: str, message: str) -> None:
    (tmp_path / "rows.jsonl").write_text(rows + "\n" if rows else "")
    columns = {"anchor": "anchor", "positive": "positive"}
    path = request_file(data={"train": {"docs": {"path": str(tmp_path / "rows.jsonl"), "columns": columns}}})
    code, _, err = embedstep("check", path)
    assert code == 2
    assert message in err


def test_an_output_below_a_file_is_refused(request_file: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    code, _, err = embedstep("run", request_file(), "--output", str(tmp_path / "file" / "output"))
    assert code == 2
    assert "not a directory" in err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user who has no permission")
def test_an_output_without_permission_is_refused(request_file: Callable[..., str], tmp_path: Path) -> None:
    locked = Path(tempfile.mkdtemp(dir="/tmp"))
    locked.chmod(0o555)
    as_nobody = (
        "import os, sys; from embedstep.errors import InvalidRequestError;"
        "from embedstep.output.folder import lock_output;"
        "from pathlib import Path; os.setgid(65534); os.setuid(65534)\n"
        "try:\n  with lock_output(Path(sys.argv[1]), overwrite=False): print('lock_output')\n"
        "except InvalidRequestError as error: print(error)"
    )
    for folder in (locked, locked / "new"):
        process = subprocess.run(
            [sys.executable, "-c", as_nobody, str(folder)], capture_output=True, text=True, check=True
        )
        message = f"output: {folder} cannot be used: permission denied; choose another folder with --output\n"
        assert process.stdout == message
    locked.rmdir()


def test_a_preview_shows_the_texts_of_the_first_steps(
    request_of: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    """Four rows with three answers: no two rows with the same answer are in one batch of two."""
    rows = tmp_path / "rows.jsonl"
    rows.write_text("\n".join(json.dumps({"q": f"q{row}", "a": f"a{row % 3}"}) for row in range(4)))
    data = {"train": {"docs": {"path": str(rows), "columns": {"anchor": "q", "positive": "a"}}}}
    given = {"batch_sampler": "no_duplicates", "per_device_train_batch_size": 2}
    file = tmp_path / "request.json"
    file.write_text(json.dumps(request_of(data=data, launch={"processes_per_node": 1}, arguments=given)))
    code, out, _ = embedstep("plan", str(file), "--preview", "2")
    assert code == 0
    shown = [line.split() for line in out.partition("step 1, data.train.docs, process 0")[2].splitlines()]
    assert shown[1] == shown[5] == ["anchor", "positive"]
    batches = [shown[2:4], shown[6:8]]
    assert sorted(anchor for batch in batches for anchor, _ in batch) == ["q0", "q1", "q2", "q3"]
    for (_, one), (_, other) in batches:
        assert one != other
    code, out, _ = embedstep("plan", str(file), "--preview", "1", "--json")
    assert [len(item["ranks"][0]) for item in json.loads(out)["preview"]] == [2]
    code, _, err = embedstep("plan", str(file), "--preview", "1", "--set", "arguments.batch_sampler=batch_sampler")
    assert code == 2
    assert "there is no preview" in err
