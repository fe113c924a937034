"""What an orchestrator adds: a step of ZenML and a task of Airflow over `embedstep run`, and parsing the DAG.

The orchestrator's own cost is that of an empty step or task, which stands on the other side together with the run.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import median

import yaml

from tests.benchmarks.clustered import short
from tests.benchmarks.command_line import write_request
from tests.benchmarks.commands import environment, timed
from tests.benchmarks.harness import BenchmarkError, Record, measure, seconds_of
from tests.benchmarks.material import material

_ROOT = Path(__file__).parents[2]
_REPEATS = 9
_ON_TOP = 1.0
"""Seconds that ours may add to the orchestrator's own and to the run."""
_PARSE_BOUND = 1.3
_ZENML = """
import sys
from pathlib import Path
from zenml import pipeline, step

@step(enable_cache=False)
def nothing() -> None:
    pass

@pipeline(enable_cache=False)
def once():
    if sys.argv[1] == "empty":
        nothing()
    else:
        from embedstep.orchestration.zenml import train_embedder
        train_embedder(request=Path("request.yaml").read_text())

once()
"""
_AIRFLOW = """
import os, sys
from airflow.dag_processing.dagbag import DagBag
run = DagBag(os.environ["AIRFLOW_HOME"] + "/dags").dags[sys.argv[1]].test()
sys.exit(0 if str(run.state) == "success" else 1)
"""
_DAGS = """
import os
from airflow.sdk import DAG, task
from embedstep.orchestration.airflow import EmbedstepOperator

with DAG("empty", schedule=None):
    @task
    def nothing():
        pass
    nothing()

with DAG("train", schedule=None):
    EmbedstepOperator(
        task_id="train", component="train_embedder", request=open(os.environ["REQUEST"]).read(),
        folder=os.environ["FOLDER"] + "/{{ run_id }}", python=os.environ["EMBEDSTEP_PYTHON"],
    )
"""
_PARSE = """
import sys, time
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG
began = time.perf_counter()
bag = DagBag(sys.argv[1])
print(time.perf_counter() - began)
assert bag.dags and not bag.import_errors, bag.import_errors
"""
"""Parses where Airflow is loaded, as its DAG processor does."""
_EMPTY_DAG = "from airflow.sdk import DAG\n\nwith DAG('empty', schedule=None):\n    pass\n"


def zenml(quick: bool) -> Record:
    """A step of ZenML, compared with an empty one and `embedstep run`."""
    with tempfile.TemporaryDirectory(prefix="embedstep-bench-") as name:
        folder = Path(name)
        _small(write_request(folder / "request.yaml", material(quick)))
        (folder / "run.py").write_text(_ZENML)
        env = environment(
            ZENML_CONFIG_PATH=str(folder / "zenml"), ZENML_ANALYTICS_OPT_IN="false", AUTO_OPEN_DASHBOARD="false",
            ZENML_LOGGING_VERBOSITY="WARN",
        )  # fmt: skip

        def step(kind: str) -> float:
            return timed([sys.executable, "run.py", kind], env=env, folder=folder)

        step("empty")  # makes the store
        return _on_top("zenml_step", "a step of ZenML / an empty one and embedstep run", folder, step, quick)


def airflow(quick: bool) -> Record:
    """A task of Airflow, compared with an empty one and `embedstep run`."""
    python = _airflow()
    with tempfile.TemporaryDirectory(prefix="embedstep-bench-") as name:
        folder = Path(name)
        request = _small(write_request(folder / "request.yaml", material(quick)))
        (folder / "dags").mkdir()
        (folder / "dags" / "both.py").write_text(_DAGS)
        (folder / "run.py").write_text(_AIRFLOW)
        env = _airflow_environment(
            folder, REQUEST=str(request), FOLDER=str(folder / "runs"), EMBEDSTEP_PYTHON=sys.executable
        )
        timed([python, "-m", "airflow", "db", "migrate"], env=env, folder=folder)

        def task(kind: str) -> float:
            return timed([python, "run.py", kind], env=env, folder=folder)

        task("empty")
        return _on_top("airflow_task", "a task of Airflow / an empty one and embedstep run", folder, task, quick)


def _small(file: Path) -> Path:
    """Leave next to nothing to train, so that its time does not hide what stands around it."""
    document = yaml.safe_load(short(file).read_text())
    document["arguments"] |= {"per_device_train_batch_size": 4, "save_strategy": "no"}
    file.write_text(yaml.safe_dump(document))
    return file


def _on_top(name: str, compares: str, folder: Path, start: Callable[[str], float], quick: bool) -> Record:
    run = [sys.executable, "-m", "embedstep", "run", "request.yaml", "--output", str(folder / "out"), "--overwrite"]

    def ours() -> float:
        return start("train")

    def other() -> float:
        return start("empty") + timed(run, env=environment(), folder=folder)

    found = measure(name, compares, ours, other, 0.0, 1 if quick else _REPEATS)
    on_top = found.ours - found.other
    parts = {"seconds on top": on_top, "seconds allowed": _ON_TOP}
    return replace(found, bound=(found.other + _ON_TOP) / found.other, parts=parts)


def parsing(quick: bool) -> Record:
    """Run the file of the DAG, and that of one without a task, as Airflow's best practices time a DAG: `python dag.py`.

    Airflow's own import is in both. The parts say what is left where Airflow is loaded, as in its DAG processor.
    """
    python = _airflow()
    with tempfile.TemporaryDirectory(prefix="embedstep-bench-") as name:
        folder = Path(name)
        (folder / "parse.py").write_text(_PARSE)
        for kind in ("ours", "other"):
            (folder / kind).mkdir()
        shutil.copy(_ROOT / "pipelines" / "airflow_retrain" / "dag.py", folder / "ours")
        request = yaml.safe_load((_ROOT / "pipelines" / "requests" / "docstrings_minilm.yaml").read_text())
        (folder / "ours" / "request.yaml").write_text(yaml.safe_dump(request))
        (folder / "other" / "dag.py").write_text(_EMPTY_DAG)
        env = _airflow_environment(folder)

        def run(kind: str) -> float:
            return timed([python, str(folder / kind / "dag.py")], env=env, folder=folder)

        def loaded(kind: str) -> float:
            timed([python, "parse.py", str(folder / kind)], env=env, folder=folder)
            lines = (folder / "output.log").read_text().splitlines()
            return float(next(line for line in reversed(lines) if line.replace(".", "").isdecimal()))

        def ours() -> float:
            return run("ours")

        def other() -> float:
            return run("other")

        seconds_of(ours), seconds_of(other)
        repeats = 1 if quick else _REPEATS
        found = measure("dag_parse", "run the file of the DAG / of an empty one", ours, other, _PARSE_BOUND, repeats)
        parts = {
            f"{name}, Airflow loaded": median(loaded(kind) for _ in range(repeats))
            for name, kind in (("ours", "ours"), ("an empty DAG", "other"))
        }
        return replace(found, parts=parts)


def _airflow() -> str:
    found = os.environ.get("EMBEDSTEP_AIRFLOW", ".venv-airflow/bin/python")
    if not Path(found).exists():
        raise BenchmarkError(f"{found} is not there; `make test-airflow` makes the environment")
    return str(Path(found).absolute())


def _airflow_environment(home: Path, **more: str) -> Mapping[str, str]:
    return environment(
        AIRFLOW_HOME=str(home), AIRFLOW__CORE__LOAD_EXAMPLES="False", SCARF_ANALYTICS="false",
        AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=f"sqlite:///{home}/airflow.db",
        AIRFLOW__USAGE_DATA_COLLECTION__ENABLED="False", **more,
    )  # fmt: skip
