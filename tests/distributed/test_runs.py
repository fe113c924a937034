"""Real processes: `embedstep run` through torchrun, from the outside."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import Outcome

pytestmark = pytest.mark.torchrun
Build = Callable[..., dict[str, Any]]
Run = Callable[..., Outcome]
FAULTS = str(Path(__file__).parent / "faults")


def weights(folder: Path) -> dict[str, bytes]:
    """The saved tensors as bytes."""
    from safetensors.numpy import load_file

    return {name: tensor.tobytes() for name, tensor in load_file(folder / "model.safetensors").items()}


@pytest.mark.parametrize(
    ("processes", "batch", "launcher"),
    [
        (1, 16, []),  # 130 rows: the last batch has two
        (1, 13, ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=1"]),
        (2, 16, ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]),
    ],
    ids=["python", "torchrun 1", "torchrun 2"],
)
def test_weights_are_those_of_the_plain_script(
    embedstep_run: Run, request_of: Build, tiny_model: Path, data_folder: Path, tmp_path: Path,
    processes: int, batch: int, launcher: list[str],
) -> None:  # fmt: skip
    arguments = {
        "num_train_epochs": 1, "max_steps": -1, "per_device_train_batch_size": batch, "learning_rate": 1e-3,
        "warmup_steps": 2, "save_strategy": "no",
    }  # fmt: skip
    ours = embedstep_run(request_of(arguments=arguments, launch={"processes_per_node": processes}))
    assert ours.code == 0, ours.err
    plain = {**arguments, "report_to": "none"} | ({"ddp_backend": "gloo"} if processes > 1 else {})
    subprocess.run(
        [sys.executable, *launcher, str(Path(__file__).parent / "plain_script.py"), str(tiny_model),
         str(data_folder / "train.jsonl"), str(tmp_path / "plain"), json.dumps(plain)],
        env={**os.environ, "OMP_NUM_THREADS": str(max(1, len(os.sched_getaffinity(0)) // processes))},
        check=True, capture_output=True, timeout=240,
    )  # fmt: skip
    assert weights(ours.output / "model") == weights(tmp_path / "plain" / "model")
    assert weights(ours.output / "model") != weights(tiny_model)


def test_a_run_in_mlflow_is_whole(embedstep_run: Run, evaluated: Build, tmp_path: Path) -> None:
    document = evaluated(
        tracking={
            "kind": "mlflow",
            "experiment": "tests",
            "run_name": "two",
            "register_as": "tiny",
            "tags": {"a": "b"},
        },
        launch={"processes_per_node": 2},
        arguments={"eval_strategy": "steps", "eval_steps": 2, "prompts": {"anchor": "query: " + "x" * 7000}},
    )
    outcome = embedstep_run(document)
    assert outcome.code == 0, outcome.err
    result = outcome.json("result.json")
    assert result["tracking_uri"] == f"sqlite:///{tmp_path / 'mlflow.db'}"

    from mlflow import MlflowClient

    client = MlflowClient(result["tracking_uri"])
    experiment = client.get_experiment_by_name("tests")
    runs = client.search_runs([experiment.experiment_id])
    assert [run.info.run_id for run in runs] == [result["run_id"]]
    run = runs[0]
    assert (run.info.status, run.info.run_name, run.data.tags["a"]) == ("FINISHED", "two", "b")
    artifacts = {item.path for item in client.list_artifacts(run.info.run_id)}
    assert artifacts == {"request.json", "plan.json", "ledger.json", "metrics.jsonl", "result.json"}
    assert (tmp_path / "mlartifacts").is_dir()
    check_parameters(run.data.params)
    history = client.get_metric_history(run.info.run_id, "eval_docs_cosine_ndcg_at_10")
    assert [point.step for point in history] == [2, 4]
    assert [point.step for point in client.get_metric_history(run.info.run_id, "loss")] == [2, 4]
    version = client.get_model_version("tiny", "1")
    model = client.get_logged_model(version.source.removeprefix("models:/"))
    check_logged_model(Path(model.artifact_location.removeprefix("file://")), outcome.output / "model")


def check_parameters(found: dict[str, str]) -> None:
    """Parameters are to_sanitized_dict() of the real class, and the other sections flattened."""
    from sentence_transformers import SentenceTransformerTrainingArguments

    from embedstep.tracking.names import shortened

    own = {name: value for name, value in found.items() if "." not in name and name != "evaluators"}
    real = SentenceTransformerTrainingArguments(
        output_dir="x", use_cpu=True, max_steps=4, logging_steps=2, save_strategy="no", learning_rate=1e-3,
        eval_strategy="steps", eval_steps=2, prompts={"anchor": "query: " + "x" * 7000}, dataloader_drop_last=True,
        disable_tqdm=True, dataloader_pin_memory=False,
    ).to_sanitized_dict()  # fmt: skip
    differ = {"output_dir", "ddp_backend", "train_batch_size", "eval_batch_size"}
    assert {name: shortened(str(value)) for name, value in real.items() if name not in differ} == {
        name: value for name, value in own.items() if name not in differ
    }
    assert found["prompts"].endswith("characters)")
    assert found["loss.kind"] == "multiple_negatives_ranking"
    assert found["data.train.docs.columns.anchor"] == "anchor"
    assert found["launch.processes_per_node"] == "2"


def check_logged_model(folder: Path, model: Path) -> None:
    """The logged model is the saved one, in the sentence-transformers flavor, with an input example."""
    meta = yaml.safe_load((folder / "MLmodel").read_text())
    assert "sentence_transformers" in meta["flavors"]
    assert (folder / "input_example.json").exists()
    assert weights(folder / "model.sentence_transformer") == weights(model)


def test_saved_models_give_the_same_embeddings_in_a_fresh_process(
    embedstep_run: Run, request_of: Build, tiny_model: Path, minilm: Path, tmp_path: Path
) -> None:
    from sentence_transformers import SentenceTransformer

    folders = []
    for number, model in enumerate([str(tiny_model), {"static": str(minilm), "dimension": 16}]):
        outcome = embedstep_run(request_of(model=model), "--overwrite")
        assert outcome.code == 0, outcome.err
        folders.append(outcome.output.rename(tmp_path / f"kind-{number}") / "model")
    here = [SentenceTransformer(str(folder), device="cpu").encode(["read a file", "x"]).tolist() for folder in folders]
    code = (
        "import json, sys; from sentence_transformers import SentenceTransformer as S;"
        "print(json.dumps([S(f, device='cpu').encode(['read a file', 'x']).tolist() for f in sys.argv[1:]]))"
    )
    fresh = subprocess.run([sys.executable, "-c", code, *map(str, folders)], capture_output=True, text=True, check=True)
    assert json.loads(fresh.stdout.splitlines()[-1]) == here


def mlflow_status(outcome: Outcome, root: Path) -> str:
    """Status of the only run of the database in `root`."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{root / 'mlflow.db'}")
    (run,) = client.search_runs([item.experiment_id for item in client.search_experiments()])
    return str(run.info.status)


@pytest.mark.parametrize(
    ("fault", "code", "kind", "message"),
    [
        ("raise", 1, "ValueError", "injected on this rank, with the token ***"),
        ("kill", 1, "signal", "rank 1 was killed by SIGKILL: most often the host had no memory left"),
        ("exit", 1, "exit", "rank 1 ended with code 7"),
        ("memory", 4, "MemoryError", "injected"),
    ],
)
def test_the_failing_rank_stands_first(
    embedstep_run: Run, request_of: Build, tmp_path: Path, fault: str, code: int, kind: str, message: str
) -> None:
    document = request_of(launch={"processes_per_node": 2}, tracking={"kind": "mlflow"})
    outcome = embedstep_run(document, environ={"PYTHONPATH": FAULTS, "FAULT": fault, "FAULT_RANK": "1"})
    assert outcome.code == code, outcome.err
    error = outcome.json("error.json")
    assert (error["rank"], error["kind"], error["message"]) == (1, kind, message)
    assert outcome.json("result.json")["outcome"] == ("out_of_memory" if code == 4 else "failed")
    assert not (outcome.output / "model").exists()
    assert f"rank 1: {message}" in outcome.err
    assert "ChildFailedError" not in outcome.err
    assert "hf_abc" not in outcome.err + (outcome.output / "error.json").read_text()
    if (tmp_path / "mlflow.db").exists():
        assert mlflow_status(outcome, tmp_path) == "FAILED"


def test_exit_0_without_a_model_is_impossible(embedstep_run: Run, request_of: Build) -> None:
    outcome = embedstep_run(request_of(), environ={"PYTHONPATH": FAULTS, "FAULT": "leave", "FAULT_RANK": "0"})
    assert outcome.code == 1
    assert outcome.json("error.json")["message"] == "the processes ended well and left no verified model"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interruption_is_75_and_killed(request_of: Build, tmp_path: Path, number: signal.Signals) -> None:
    document = request_of(tracking={"kind": "mlflow"}, arguments={"max_steps": 100_000})
    (tmp_path / "request.yaml").write_text(yaml.safe_dump(document))
    process = subprocess.Popen(
        [sys.executable, "-m", "embedstep", "run", "request.yaml", "--output", "output"],
        cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_for(lambda: '"train_step": 2' in read(tmp_path / "output" / "progress.json"))
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 75, err
    assert "Traceback" not in err
    result = json.loads((tmp_path / "output" / "result.json").read_text())
    assert result["outcome"] == "interrupted"
    assert number.name in result["failure"]["message"]
    assert mlflow_status(Outcome(subprocess.CompletedProcess([], 75, "", err), tmp_path), tmp_path) == "KILLED"


def read(path: Path) -> str:
    """The text of a file that may not be there yet."""
    return path.read_text() if path.exists() else ""


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until `condition` holds."""
    deadline = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < deadline, "nothing happened for 90 seconds"
        time.sleep(0.05)


def test_two_processes_make_the_planned_steps(embedstep_run: Run, evaluated: Build, data_folder: Path) -> None:
    document = evaluated(
        loss={"docs": "multiple_negatives_ranking", "scores": "cosent"},
        launch={"processes_per_node": 2},
        arguments={"max_steps": -1, "num_train_epochs": 2, "eval_strategy": "epoch", "logging_steps": 1},
    )
    scored = {"anchor": "anchor", "positive": "positive", "label": "score"}
    document["data"]["train"]["scores"] = {"path": str(data_folder / "more.jsonl"), "columns": scored}
    outcome = embedstep_run(document)
    assert outcome.code == 0, outcome.err
    plan = outcome.json("plan.json")
    # 130 rows are 16 full batches of 8, 50 rows are 6: 22 batches for 2 processes.
    assert plan["steps_per_epoch"] == 11
    assert plan["train_steps"] == 22
    logs = [json.loads(line) for line in (outcome.output / "metrics.jsonl").read_text().splitlines()]
    assert max(log["train_step"] for log in logs) == 22
    assert [log["train_step"] for log in logs if "eval_docs_cosine_ndcg@10" in log] == plan["evaluations"] == [11, 22]
    assert {key for log in logs for key in log if key.startswith("eval_")} == set(plan["metrics"])
    # One voice: each logging step is told once, by the first rank.
    assert outcome.err.count("step  1/22") == 1


def test_data_and_model_from_the_hub_are_fetched_once(
    embedstep_run: Run, request_of: Build, data_folder: Path, tmp_path: Path
) -> None:
    # A folder is what `load_dataset` accepts in place of an id when there is no network: the same code path.
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "train.jsonl").write_text((data_folder / "train.jsonl").read_text())
    columns = {"anchor": "anchor", "positive": "positive"}
    document = request_of(data={"train": {"docs": {"hub": str(tmp_path / "hub"), "columns": columns}}})
    outcome = embedstep_run(document)
    assert outcome.code == 0, outcome.err
    assert outcome.json("plan.json")["datasets"][0]["rows"] == 130


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"model": "nobody/nothing"}, "model: nobody/nothing is no folder here, and the hub did not give it"),
        ({"data": {"train": {"docs": {"hub": "nobody/nothing", "columns": {"anchor": "a", "positive": "b"}}}}},
         "data.train.docs.hub: the hub did not give nobody/nothing"),
    ],
)  # fmt: skip
def test_a_hub_that_does_not_answer_is_exit_3(
    embedstep_run: Run, request_of: Build, sections: dict[str, Any], message: str
) -> None:
    outcome = embedstep_run(request_of(**sections))
    assert outcome.code == 3, outcome.err
    assert message in outcome.err
    assert "Traceback" not in outcome.err
