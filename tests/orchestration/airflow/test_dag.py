"""The DAG and the operator on a real Airflow, with real trainings."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pipelines.docstrings.pairs import build

from tests.orchestration.airflow.running import Airflow
from tests.places import ROOT

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(600)]
Build = Callable[..., dict[str, Any]]
EPOCHS = {"save_strategy": "no", "eval_strategy": "epoch"}


def docstrings(folder: Path) -> dict[str, Any]:
    """Rows from which so much is learnt that the first model may serve."""
    build(folder, limit=400)
    columns = {"anchor": "query", "positive": "docstring"}
    return {
        split: {"docs": {"path": str(folder / f"{split}.parquet"), "columns": columns}} for split in ("train", "eval")
    }


def test_a_retraining_promotes_and_the_next_one_finds_nothing_new(
    airflow: Airflow, document: Build, home: Path, tmp_path: Path
) -> None:
    found = airflow(
        {**document(skip_if_unchanged=True), "data": docstrings(tmp_path), "arguments": EPOCHS},
        """
        dag = dag_of("embedstep_retrain")
        first = dag.test(run_conf={"learning_rate": 0.001})
        train = next(one for one in first.get_task_instances() if one.task_id == "train")
        out(first=states(first), state=str(first.state), returned=train.xcom_pull(task_ids="train"))
        second = dag.test(run_conf={"learning_rate": 0.001})
        out(second=states(second))
        """,
    )
    assert found["state"] == "success"
    assert found["first"] == {name: ["success", 1] for name in ("prepare", "train", "evaluate", "promote")}
    # What goes from task to task are words and numbers.
    assert found["returned"]["status"] == "trained"
    assert len(json.dumps(found["returned"])) < 200
    runs = sorted((home / "runs").iterdir(), key=lambda path: path.stat().st_mtime)
    assert json.loads((runs[0] / "promote" / "decision").read_text())["verdict"] == "promote"
    result = json.loads((runs[0] / "train" / "result").read_text())
    chosen = {item["name"]: item["value"] for item in result["ledger"]}
    assert chosen["learning_rate"] == 0.001
    assert found["second"]["train"][0] == "skipped"
    assert {found["second"][name][0] for name in ("evaluate", "promote")} == {"skipped"}


def test_two_runs_of_one_hour_on_the_same_rows_train_once(
    airflow: Airflow, document: Build, home: Path, tmp_path: Path
) -> None:
    """The second is for a later time, and finds the champion of the same request and the same rows."""
    found = airflow(
        {**document(skip_if_unchanged=True), "data": docstrings(tmp_path), "arguments": EPOCHS},
        """
        from datetime import datetime, timezone
        dag = dag_of("embedstep_retrain")
        for minute in (0, 30):
            run = dag.test(
                logical_date=datetime(2026, 1, 5, 10, minute, tzinfo=timezone.utc), run_conf={"learning_rate": 0.001}
            )
            out(**{f"at_{minute}": {task: state for task, (state, _) in states(run).items()}})
            out(**{f"for_{minute}": str(run.data_interval_end)})
        """,
        EMBEDSTEP_RUNS=str(home / "hour"),
    )
    assert (found["for_0"], found["for_30"]) == ("2026-01-05 10:00:00+00:00", "2026-01-05 10:30:00+00:00")
    assert found["at_0"] == {name: "success" for name in ("prepare", "train", "evaluate", "promote")}
    assert found["at_30"] == {"prepare": "success", "train": "skipped", "evaluate": "skipped", "promote": "skipped"}
    (model,) = (home / "hour").glob("*/train/model")
    assert (model / "modules.json").exists()
    verdicts = [json.loads(file.read_text())["skip_reason"] for file in (home / "hour").glob("*/train/result")]
    assert sorted(verdicts, key=str) == [None, "unchanged"]


def test_a_refused_request_fails_at_once_and_is_not_tried_again(airflow: Airflow, document: Build) -> None:
    found = airflow(
        {**document(), "loss": "no_such_loss"},
        """
        import socket
        asked, look = [], socket.getaddrinfo
        socket.getaddrinfo = lambda host, *rest, **more: (asked.append(str(host)), look(host, *rest, **more))[1]
        run = dag_of("embedstep_retrain").test()
        here = ("localhost", "::1", socket.gethostname())
        out(states=states(run), state=str(run.state), asked=[host for host in asked if host not in here])
        """,
    )
    # Nothing is asked for on the network, which is not there in many a cluster.
    assert found["asked"] == []
    assert found["state"] == "failed"
    assert found["states"]["train"] == ["failed", 1]
    message = r"refused, and a retry does not help: .*no loss is named 'no_such_loss'.*\(exit code 2\)"
    assert re.search(message, found["output"])


def test_a_param_of_another_type_is_reported_before_anything_runs(airflow: Airflow, document: Build) -> None:
    found = airflow(
        document(),
        """
        try:
            dag_of("embedstep_retrain").test(run_conf={"learning_rate": "fast"})
        except Exception as error:
            out(message=f"{type(error).__name__}: {error}")
        """,
    )
    assert "learning_rate" in found["message"]
    assert "'fast' is not of type 'number'" in found["message"]


def test_an_interrupted_training_is_tried_again_and_resumes(airflow: Airflow, document: Build, home: Path) -> None:
    """The code 75: Airflow waits for its retry, which resumes from the last checkpoint of the try before."""
    request = document()
    request["arguments"] |= {"max_steps": 400, "save_strategy": "steps", "save_steps": 5, "eval_steps": 200}
    found = airflow(
        request,
        """
        import psutil, threading, time
        folder = os.environ["EMBEDSTEP_RUNS"]

        def interrupt():
            while not list(Path(folder).rglob("checkpoints/checkpoint-5")):
                time.sleep(0.1)
            for process in psutil.process_iter(["cmdline"]):
                command = process.info["cmdline"] or ()
                if "task" in command and folder in str(command):
                    process.terminate()

        threading.Thread(target=interrupt, daemon=True).start()
        dag = dag_of("embedstep_retrain")
        for task in dag.tasks:
            task.retry_delay = __import__("datetime").timedelta(seconds=1)
        run = dag.test()
        out(states=states(run))
        """,
        EMBEDSTEP_RUNS=str(home / "interrupted"),
    )
    assert found["states"]["train"] == ["success", 2], found["output"]
    assert re.search(r"the component failed: interrupted by SIGTERM after .*\(exit code 75\)", found["output"])
    assert "resuming after train step" in found["output"]
    (result,) = (home / "interrupted").glob("*/train/result")
    assert json.loads(result.read_text())["train_steps"] < 400


def test_parsing_the_dag_loads_nothing_that_trains(airflow: Airflow, document: Build) -> None:
    found = airflow(
        document(schedule={"cron": "0 3 * * 1", "timezone": "Europe/Berlin"}),
        """
        from airflow.sdk import DAG, Asset, Param
        before = set(sys.modules)
        dag = dag_of("embedstep_retrain")
        new = {name.partition(".")[0] for name in set(sys.modules) - before}
        out(new=sorted(new), schedule=[dag.schedule.expression, str(dag.schedule.timezone)])
        out(most=dag.max_active_runs, catchup=dag.catchup)
        out(outlets=[asset.uri for task in dag.tasks for asset in task.outlets])
        """,
    )
    assert not {"torch", "transformers", "zenml", "kfp", "mlflow", "pyarrow", "numpy"} & set(found["new"])
    assert (found["schedule"], found["most"], found["catchup"]) == (["0 3 * * 1", "Europe/Berlin"], 1, False)
    assert found["outlets"] == ["embedstep://docs/rows", "embedstep://docs/model"]


def test_the_dag_of_the_page_is_one(airflow: Airflow, home: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "airflow.md").read_text(), re.DOTALL)
    (home / "dags" / "docs.py").write_text(code)
    found = airflow(None, 'dag = dag_of("docs")\nout(tasks=[task.task_id for task in dag.tasks], catchup=dag.catchup)')
    assert (found["tasks"], found["catchup"]) == (["train"], False)
