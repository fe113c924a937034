"""What a step leaves in its output folder when it ends before any process of it runs."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from embedstep import step
from embedstep.errors import CANNOT_START, INTERRUPTED, REFUSED, InvalidRequestError
from embedstep.output.folder import LOCK
from embedstep.request.loading import load_request
from embedstep.step import plan_step, run_step

Build = Callable[..., dict[str, Any]]
SECRET = "opensesame-and-then-some"
PAIRS = {"anchor": "anchor", "positive": "positive"}


def content(folder: Path) -> dict[str, str]:
    """The text of every file under `folder`."""
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "sections",
    [
        {"arguments": {"hub_token": SECRET}},
        {"arguments": {"push_to_hub_token": SECRET}},
        {"tracking": {"uri": f"https://me:{SECRET}@tracking.example"}},
        {"tracking": {"uri": f"https://tracking.example/?password={SECRET}"}},
        {"tracking": {"kind": "none", "tags": {"source": f"postgres://me:{SECRET}@db/x"}}},
        {"model": f"https://models.example/x?X-Amz-Signature={SECRET}"},
        {"loss": {"kind": "gist_embed", "options": {"guide": f"https://me:{SECRET}@models.example/guide"}}},
        {
            "data": {
                "train": {"docs": {"sql": "select q", "database": f"postgresql://me:{SECRET}@db/x", "columns": PAIRS}}
            }
        },
    ],
    ids=lambda sections: "+".join(sections),
)
def test_a_refused_secret_is_nowhere(request_of: Build, tmp_path: Path, sections: dict[str, Any]) -> None:
    (tmp_path / "request.yaml").write_text(yaml.safe_dump(request_of(**sections)))
    process = subprocess.run(
        [sys.executable, "-m", "embedstep", "run", "request.yaml", "--output", "output"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert process.returncode == REFUSED, process.stderr
    assert SECRET not in process.stdout + process.stderr
    written = content(tmp_path / "output") if (tmp_path / "output").exists() else {}
    assert not [name for name, text in written.items() if SECRET in text]


def test_a_refused_request_leaves_a_finished_step_as_it_is(request_of: Build, tmp_path: Path) -> None:
    output = tmp_path / "output"
    (output / "model").mkdir(parents=True)
    for name in (LOCK, "request.json", "result.json", "metrics.jsonl", "model/weights"):
        (output / name).write_text(f"old {name}")
    before = content(output)
    with pytest.raises(InvalidRequestError, match=r"model.path: none does not exist"):
        run_step(load_request(json.dumps(request_of(model="./none"))), output, overwrite=True)
    assert content(output) == before


def test_a_refused_request_replaces_what_a_failed_attempt_left(request_of: Build, tmp_path: Path) -> None:
    output = tmp_path / "output"
    output.mkdir()
    for name in (LOCK, "request.json", "result.json", "metrics.jsonl"):
        (output / name).write_text(f"old {name}")
    result = run_step(load_request(json.dumps(request_of(model="./none"))), output)
    assert result.exit_code == REFUSED
    assert set(content(output)) == {LOCK, "result.json", "error.json"}
    assert json.loads((output / "error.json").read_text())["problems"] == ["model.path: none does not exist"]


def test_gpus_that_are_missing_are_reported_before_any_row_is_read(
    request_of: Build, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Within a second, and not after the hours that a large dataset takes."""

    def scanned(*arguments: object, **options: object) -> None:
        raise AssertionError("rows are read")

    monkeypatch.setattr(step, "scan_all", scanned)
    monkeypatch.setenv("EMBEDSTEP_GPUS", "2")
    result = run_step(load_request(json.dumps(request_of())), tmp_path / "output")
    assert result.exit_code == 3
    assert result.failure is not None
    assert result.failure.message.startswith("2 GPUs were asked for (EMBEDSTEP_GPUS), and 0 are visible; ")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interruption_while_the_data_is_read_is_75(
    request_of: Build, tmp_path: Path, number: signal.Signals
) -> None:
    slow = (
        "import sys, time; from embedstep import step; from embedstep.cli.program import main;"
        "step.scan_all = lambda *arguments, **options: (print('reading', flush=True), time.sleep(60)); main()"
    )
    (tmp_path / "request.yaml").write_text(yaml.safe_dump(request_of()))
    process = subprocess.Popen(
        [sys.executable, "-c", slow, "run", "request.yaml", "--output", "output"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "reading\n"
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == INTERRUPTED, err
    assert f"interrupted by {number.name}" in err
    assert "Traceback" not in err
    assert json.loads((tmp_path / "output" / "result.json").read_text())["outcome"] == "interrupted"
    # Ranks that were importing their libraries end with the step.
    wait_until(lambda: not processes_with(str(tmp_path / "output")))


def processes_with(argument: str) -> list[str]:
    """Return the commands of the processes that run and have this argument."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            command = file.read_bytes().decode(errors="replace").split("\0")
            found += [" ".join(command)] if argument in command else []
    return found


def wait_until(is_so: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_data_that_is_refused_leaves_no_process(request_of: Build, tmp_path: Path) -> None:
    """The ranks are started before the data is read."""
    (tmp_path / "rows.jsonl").write_text('{"anchor": "a", "positive": ""}\n')
    rows = {"path": str(tmp_path / "rows.jsonl"), "columns": {"anchor": "anchor", "positive": "positive"}}
    result = run_step(load_request(json.dumps(request_of(data={"train": {"docs": rows}}))), tmp_path / "output")
    assert result.exit_code == REFUSED
    wait_until(lambda: not processes_with(str(tmp_path / "output")))


def test_a_full_disk_while_the_rows_are_written_is_3(request_of: Build, tmp_path: Path) -> None:
    """The system refuses files above 4 KB, in a process of its own: this one's log may be longer."""
    (tmp_path / "request.yaml").write_text(yaml.safe_dump(request_of()))
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096));"
        "from embedstep.cli.program import main; main(['run', 'request.yaml', '--output', 'output'])"
    )
    process = subprocess.run(
        [sys.executable, "-B", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert process.returncode == CANNOT_START, process.stderr
    failure = json.loads((tmp_path / "output" / "result.json").read_text())["failure"]
    assert "the rows cannot be written to" in failure["message"]
    assert failure["message"].endswith("File too large")


def test_rows_of_a_query_are_planned_as_rows_of_a_file(request_of: Build, data_folder: Path, tmp_path: Path) -> None:
    def planned(source: dict[str, Any]) -> Any:
        rows = {**source, "columns": PAIRS, "hold_out": {"share": 0.1}, "limit": 100}
        plan = plan_step(load_request(json.dumps(request_of(data={"train": {"docs": rows}}))))
        return {item.split: (item.rows, item.fingerprint, item.path) for item in plan.datasets}

    lines = (data_folder / "train.jsonl").read_text().splitlines()
    (tmp_path / "sorted.jsonl").write_text("\n".join(sorted(lines, key=lambda line: json.loads(line)["anchor"])))
    by_file = planned({"path": str(tmp_path / "sorted.jsonl")})
    assert planned({"sql": f"select positive, anchor from '{data_folder}/train.jsonl' order by anchor"}) == by_file
    assert planned({"sql": f"select anchor, positive, id from '{data_folder}/*rain.jsonl'"}) == by_file


def test_a_refused_query_is_reported_with_the_problems_of_other_data(request_of: Build, data_folder: Path) -> None:
    query = {"sql": f"select anchor,\n wrong from '{data_folder}/train.jsonl'", "columns": PAIRS}
    data = {"train": {"query": query, "file": {"path": "absent.csv", "columns": PAIRS}}}
    with pytest.raises(InvalidRequestError) as caught:
        plan_step(load_request(json.dumps(request_of(data=data))))
    assert [str(problem) for problem in caught.value.problems] == [
        'data.train.query.sql: cannot be run: Binder Error: Referenced column "wrong" not found in FROM clause! '
        'Candidate bindings: "negative" (line 2: wrong)',
        "data.train.file.path: absent.csv does not exist",
    ]
