"""The README is true: its request is the shipped one, its commands run, and its output is what they print."""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from pipelines.docstrings.demo import link_minilm

from embedstep.request.fingerprint import request_fingerprint
from embedstep.request.loading import load_request
from tests.conftest import pair_rows
from tests.places import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
BIN = Path(sys.executable).parent
REQUEST = "pipelines/requests/docstrings_static.yaml"


def blocks(language: str) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands() -> Iterator[tuple[str, str]]:
    """Each command of the console blocks, with the output that is shown below it."""
    for block in blocks("console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            yield command, output


COMMANDS = dict(commands())
SPECIAL = {"make demo", "make test", "mlflow ui --backend-store-uri sqlite:///mlflow.db"}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the README's reader has it, with a small amount of the demo's data."""
    from pyarrow import Table, parquet

    folder = tmp_path_factory.mktemp("readme")
    (folder / "pipelines").symlink_to(ROOT / "pipelines")
    data = folder / "build" / "docstrings"
    data.mkdir(parents=True)
    link_minilm(data / "minilm")
    for name, count, start in (("train", 1100, 0), ("eval", 60, 5000)):
        rows = [
            {"query": row["anchor"], "docstring": row["positive"], "module": "m"} for row in pair_rows(count, start)
        ]
        parquet.write_table(Table.from_pylist(rows), data / f"{name}.parquet")
    return folder


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run one command of the README in a shell, with the tests' own environment first on the PATH."""
    environ = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    return subprocess.run(
        command, shell=True, cwd=folder, env=environ, capture_output=True, text=True, timeout=240, check=False
    )


def shape(text: str) -> list[str]:
    """The text without what differs between machines and data: numbers, digests, paths, padding."""
    text = re.sub(r"\b[0-9a-f]{12,64}\b", "#", text)
    text = re.sub(r"(sqlite://)?/\S*?(mlflow\.db|outputs/\S+)", r"\2", text)
    # On the little data here the gain of a training may be chance, or none.
    text = re.sub(r"^(promote|hold|reject)$", "verdict", text, flags=re.MULTILINE)
    text = re.sub(r"; (not significant|the challenger is worse)$", "", text, flags=re.MULTILINE)
    # A name such as ndcg@10 keeps its number; a value loses it.
    text = re.sub(r"(?<![@\w])-?\d[\d,.]*(e-?\d+)?%?", "0", text)
    return [re.sub(r"\s+", " ", line).strip() for line in text.splitlines() if line.strip()]


def test_the_request_shown_is_the_one_that_is_shipped() -> None:
    (block,) = blocks("yaml")
    assert yaml.safe_load(block) == yaml.safe_load((ROOT / REQUEST).read_text())


def test_the_fingerprint_shown_is_that_of_the_request() -> None:
    assert f"  fingerprint       {request_fingerprint(load_request((ROOT / REQUEST).read_text()))}\n" in README


def test_make_s_commands_are_run_by_ci() -> None:
    ci = (ROOT / ".ci" / "run").read_text()
    assert {"make demo", "make test"} <= COMMANDS.keys()
    assert re.search(r"^step .*make demo", ci, flags=re.MULTILINE)
    assert re.search(r"^step .*make test$", ci, flags=re.MULTILINE)


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(command, marks=[pytest.mark.slow] if "replay" in command else [])
        for command in COMMANDS
        if command not in SPECIAL
    ],
)
def test_a_command_does_what_the_readme_shows(checkout: Path, command: str) -> None:
    training = next(one for one in COMMANDS if one.startswith(f"embedstep run {REQUEST}"))
    if "outputs/" in command and not (checkout / "outputs").exists():
        # The reader has trained before; another process of the tests may have.
        assert run(training, checkout).returncode == 0
    outcome = run(command, checkout)
    shown = COMMANDS[command]
    is_refused = "problem" in shown
    assert outcome.returncode == (2 if is_refused else 0), outcome.stderr
    if shown:
        found = shape(outcome.stderr + outcome.stdout)
        for line in shape(shown):
            # The number of logging steps depends on the amount of data; every kind of line has to be there.
            assert line == "…" or line in found, found


def test_the_python_example_runs(checkout: Path) -> None:
    (block,) = blocks("python")
    (checkout / "example.py").write_text(block)
    outcome = run(f"{shlex.quote(sys.executable)} example.py", checkout)
    assert outcome.returncode == 0, outcome.stderr
    steps, result = outcome.stdout.splitlines()
    assert steps == "9"
    assert result.startswith("0 /")


def test_the_mlflow_page_opens(checkout: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (command,) = [command for command in COMMANDS if command.startswith("mlflow ui")]
    server = subprocess.Popen(
        f"exec {command} --host 127.0.0.1 --port {port} --workers 1",
        shell=True, cwd=checkout, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
    )  # fmt: skip
    try:
        assert page(f"http://127.0.0.1:{port}/health") == "OK"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=30)


def page(url: str) -> str:
    """The text of a page, waiting for its server to come up."""
    deadline = time.monotonic() + 90
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return str(answer.read().decode())
        except OSError:
            assert time.monotonic() < deadline, "no answer for 90 seconds"
            time.sleep(0.2)
