"""Real processes: `embedstep run` through torchrun, from the outside."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import Outcome, wait_for
from tests.distributed.hub_server import Hub, serving
from tests.faults.processes import faulty

pytestmark = [pytest.mark.torchrun, pytest.mark.slow]
Build = Callable[..., dict[str, Any]]
Run = Callable[..., Outcome]

LORA = {"peft_type": "LORA", "r": 4, "lora_dropout": 0.1, "target_modules": "all-linear"}


def weights(folder: Path) -> dict[str, bytes]:
    """The saved tensors as bytes."""
    from safetensors.numpy import load_file

    return {name: tensor.tobytes() for name, tensor in load_file(folder / "model.safetensors").items()}


@pytest.mark.parametrize(
    ("processes", "batch", "launcher", "optimizer", "peft"),
    [
        (1, 16, [], {}, {}),  # 130 rows: the last batch has two
        (1, 13, ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=1"], {"optim": "adamw_torch"}, {}),
        (2, 16, ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"], {}, {}),
        (2, 16, ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"], {}, LORA),
    ],
    ids=["python", "torchrun 1", "torchrun 2", "torchrun 2, adapter"],
)
def test_weights_are_those_of_the_plain_script(
    embedstep_run: Run, request_of: Build, tiny_model: Path, data_folder: Path, tmp_path: Path,
    processes: int, batch: int, launcher: list[str], optimizer: dict[str, str], peft: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    arguments = {
        "num_train_epochs": 1, "max_steps": -1, "per_device_train_batch_size": batch, "learning_rate": 1e-3,
        "warmup_steps": 2, "save_strategy": "no", **optimizer,
    }  # fmt: skip
    model = {"path": str(tiny_model), "peft": peft}
    ours = embedstep_run(request_of(model=model, arguments=arguments, launch={"processes_per_node": processes}))
    assert ours.code == 0, ours.err
    plain = {**arguments, "report_to": "none"} | ({"ddp_backend": "gloo"} if processes > 1 else {})
    subprocess.run(
        [sys.executable, *launcher, str(Path(__file__).parent / "plain_script.py"), str(tiny_model),
         str(data_folder / "train.jsonl"), str(tmp_path / "plain"), json.dumps(plain), json.dumps(peft)],
        env={**os.environ, "OMP_NUM_THREADS": str(max(1, len(os.sched_getaffinity(0)) // processes))},
        check=True, capture_output=True, timeout=240,
    )  # fmt: skip
    assert weights(ours.output / "model") == weights(tmp_path / "plain" / "model")
    assert weights(ours.output / "model") != weights(tiny_model)


def test_a_second_run_on_the_same_files_finds_rows_and_token_ids(
    embedstep_run: Run, request_of: Build, data_folder: Path, tmp_path: Path
) -> None:
    """And it trains to the same weights; in a cache that only this user reads."""
    changed = max(file.stat().st_ctime for file in data_folder.iterdir())
    time.sleep(max(0.0, changed + 3 - time.time()))  # the times of a newer file are not trusted
    arguments = {"num_train_epochs": 2, "max_steps": -1, "per_device_train_batch_size": 16, "save_strategy": "no"}
    document = request_of(arguments=arguments, launch={"processes_per_node": 2})
    cache, data = tmp_path / "cache", tmp_path / "output" / "attempt" / "data"
    sizes, trained = [], []
    for options in ((), ("--overwrite",)):
        ended = embedstep_run(document, *options, environ={"EMBEDSTEP_CACHE": str(cache)})
        assert ended.code == 0, ended.err
        trained.append(weights(ended.output / "model"))
        (kept,) = cache.glob("*/train-docs.arrow")
        assert (data / "train-docs.arrow").samefile(kept)
        sizes.append({file.name: file.stat().st_size for file in data.glob("*.i*")})
        assert (data / "sources.json").exists() is (not options)  # the first run alone has read the files
    assert len(sizes[0]) == 4  # an index and ids of two columns
    assert sizes[0] == sizes[1]  # nothing was tokenized again
    assert trained[0] == trained[1]
    assert cache.stat().st_mode & 0o077 == 0


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
    assert artifacts == {
        "request.json", "plan.json", "ledger.json", "metrics.jsonl", "result.json", "metric_names.json", "report.html",
    }  # fmt: skip
    assert (tmp_path / "mlartifacts").is_dir()
    # The parameter is cut, and the artifact has the whole.
    recorded = json.loads(Path(client.download_artifacts(run.info.run_id, "request.json")).read_text())
    assert recorded["request"]["arguments"]["prompts"] == {"anchor": "query: " + "x" * 7000}
    check_parameters(run.data.params)
    history = client.get_metric_history(run.info.run_id, "eval_docs_cosine_ndcg_at_10")
    assert [point.step for point in history] == [2, 4]
    assert [point.step for point in client.get_metric_history(run.info.run_id, "loss")] == [2, 4]
    assert client.get_metric_history(run.info.run_id, "cost/process_hours")[-1].value == result["cost"]["hours"]
    version = client.get_model_version("tiny", "1")
    assert version.tags["embedstep.space_fingerprint"] == result["embedding_space_id"]
    assert version.tags["embedstep.training_fingerprint"] == run.data.tags["embedstep.training_fingerprint"]
    model = client.get_logged_model(version.source.removeprefix("models:/"))
    check_logged_model(Path(model.artifact_location.removeprefix("file://")), outcome.output / "model")


def check_parameters(found: dict[str, str]) -> None:
    """Parameters are to_sanitized_dict() of the real class, and the other sections flattened."""
    from sentence_transformers import SentenceTransformerTrainingArguments

    from embedstep.tracking.names import shortened

    of_request = {"evaluators", "schedule", "skip_if_unchanged", "early_stopping", "evaluate_base"}
    own = {name: value for name, value in found.items() if "." not in name and name not in of_request}
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
    word_vectors = {"static": str(minilm), "initial_vectors": "word_embeddings"}
    for number, model in enumerate([str(tiny_model), {"static": str(minilm), "dimension": 16}, word_vectors]):
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
    ("fault", "at", "code", "kind", "message"),
    [
        ("kill", "step", 1, "signal", "rank 1 was killed by SIGKILL: usually because the host ran out of memory"),
        ("torch memory", "step", 4, "RuntimeError", "DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_the_failing_rank_stands_first(
    embedstep_run: Run, request_of: Build, tmp_path: Path, fault: str, at: str, code: int, kind: str, message: str
) -> None:
    document = request_of(launch={"processes_per_node": 2}, tracking={"kind": "mlflow"})
    outcome = embedstep_run(document, environ=faulty(fault, at, rank=1))
    assert outcome.code == code, outcome.err
    error = outcome.json("error.json")
    assert (error["rank"], error["kind"]) == (1, kind)
    assert message in error["message"]
    assert outcome.json("result.json")["outcome"] == ("out_of_memory" if code == 4 else "failed")
    assert not (outcome.output / "model").exists()
    first = error["message"].splitlines()[0]
    assert (first if first.startswith("rank 1 ") else f"rank 1: {first}") in outcome.err
    assert outcome.err.count("failed first") <= 1
    assert "ChildFailedError" not in outcome.err
    assert "hf_abc" not in outcome.err + (outcome.output / "error.json").read_text()
    assert mlflow_status(outcome, tmp_path) == "FAILED"


def test_exit_0_without_a_model_is_impossible(embedstep_run: Run, request_of: Build) -> None:
    outcome = embedstep_run(request_of(), environ=faulty("leave", "plan", rank=0))
    assert outcome.code == 1
    assert outcome.json("error.json")["message"] == "the processes ended with code 0 and left no verified model"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interruption_is_75_and_killed(request_of: Build, tmp_path: Path, number: signal.Signals) -> None:
    document = request_of(tracking={"kind": "mlflow"}, arguments={"max_steps": 100_000})
    progress = tmp_path / "output" / "progress.json"
    result, err = interrupted(document, tmp_path, number, lambda: '"train_step": 2' in read(progress))
    assert number.name in result["failure"]["message"]
    assert mlflow_status(Outcome(subprocess.CompletedProcess([], 75, "", err), tmp_path), tmp_path) == "KILLED"


def interrupted(
    document: dict[str, Any],
    folder: Path,
    number: signal.Signals,
    when: Callable[[], bool],
    environ: dict[str, str] | None = None,
) -> tuple[dict[str, Any], str]:
    """Run the request in `folder`, send the signal, and return the result and what was shown."""
    (folder / "request.yaml").write_text(yaml.safe_dump(document))
    process = subprocess.Popen(
        [sys.executable, "-m", "embedstep", "run", "request.yaml", "--output", "output"],
        cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **(environ or {})},
    )  # fmt: skip
    wait_for(when)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 75, err
    assert "Traceback" not in err
    result: dict[str, Any] = json.loads((folder / "output" / "result.json").read_text())
    assert result["outcome"] == "interrupted"
    return result, err


def test_on_a_terminal_there_is_a_bar_and_one_rank_reports_to_a_server(
    request_of: Build, tmp_path: Path, server: str
) -> None:
    """The person's terminal is a real one, the tracking server a real one over HTTP."""
    document = request_of(
        tracking={"kind": "mlflow", "uri": server, "experiment": "over http"},
        launch={"processes_per_node": 2}, arguments={"max_steps": 8},
    )  # fmt: skip
    (tmp_path / "request.yaml").write_text(yaml.safe_dump(document))
    ours, theirs = os.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "embedstep", "run", "request.yaml", "--output", "output"],
        cwd=tmp_path, stderr=theirs, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "120"},
    ) as process:  # fmt: skip
        os.close(theirs)
        shown = "".join(parts_of(ours))
        assert process.stdout is not None
        out = process.stdout.read()
    assert process.returncode == 0, shown
    assert re.search(r"training.*8/8.*loss \d\.\d{4}.*\d rows/s", shown)
    assert shown.count("loss ") > 4
    assert f"--backend-store-uri {server}" in out

    from mlflow import MlflowClient

    client = MlflowClient(server)
    (run,) = client.search_runs([client.get_experiment_by_name("over http").experiment_id])
    assert run.info.status == "FINISHED"
    assert [point.step for point in client.get_metric_history(run.info.run_id, "loss")] == [2, 4, 6, 8]
    artifacts = {item.path for item in client.list_artifacts(run.info.run_id)}
    assert {"request.json", "plan.json", "ledger.json", "metrics.jsonl", "result.json"} <= artifacts


def parts_of(terminal: int) -> Iterator[str]:
    """What is written to a terminal until the last program has left it."""
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # how Linux shows that the other end is closed
            return
        yield part.decode(errors="replace")


def read(path: Path) -> str:
    """The text of a file that may not be there yet."""
    return path.read_text() if path.exists() else ""


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
    # One voice: each logging step is shown once, by the first rank.
    assert outcome.err.count("step  1/22") == 1


def test_two_processes_split_each_batch(embedstep_run: Run, request_of: Build) -> None:
    given = {"split_batches": True, "max_steps": -1, "num_train_epochs": 1}
    outcome = embedstep_run(request_of(launch={"processes_per_node": 2}, arguments=given))
    assert outcome.code == 0, outcome.err
    plan = outcome.json("plan.json")
    # 130 rows are 16 full batches of 8, of which each process trains on 4 rows, with 3 negatives to each anchor.
    assert (plan["global_batch_size"], plan["train_steps"]) == (8, 16)
    assert plan["datasets"][0]["negatives_per_anchor"] == 3


def hub_data(name: str) -> dict[str, Any]:
    """A section with one train dataset of the hub."""
    columns = {"anchor": "anchor", "positive": "positive"}
    return {"train": {"docs": {"hub": name, "split": "train", "columns": columns}}}


def online(hub: Hub, cache: Path) -> dict[str, str]:
    """The environment of a machine that reaches this hub and has fetched nothing yet."""
    return {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": hub.url, "HF_HOME": str(cache)}


def test_a_model_on_the_hub_is_fetched_once_at_its_revision(
    embedstep_run: Run, request_of: Build, tiny_model: Path, tmp_path: Path
) -> None:
    document = request_of(model={"path": "org/tiny", "revision": "v1.2"}, launch={"processes_per_node": 2})
    with serving(tiny_model, "org/tiny", "v1.2") as hub:
        outcome = embedstep_run(document, environ=online(hub, tmp_path / "cache"))
    assert outcome.code == 0, outcome.err
    assert [path for path in hub.asked if "/revision/" in path] == ["/api/models/org/tiny/revision/v1.2"]
    downloads = [path for path in hub.asked if path.endswith("/model.safetensors")]
    assert len(downloads) == 2  # one for its headers, one for its content; no rank has asked again
    assert weights(outcome.output / "model").keys() == weights(tiny_model).keys()


@pytest.mark.parametrize(
    ("model", "code", "message"),
    [
        (
            {"path": "org/tiny", "revision": "v9"},
            2,
            "org/tiny is not a local folder, and the hub has no revision 'v9' of it",
        ),
        ("org/other", 2, "org/other is not a local folder, and the hub has no such model, or"),
        ("org/broken", 3, "org/broken is not a local folder and could not be fetched; is there a network? ("),
    ],
    ids=["no such revision", "no such model", "out of order"],
)
def test_what_the_hub_does_not_have_is_refused_and_what_it_does_not_give_is_not(
    embedstep_run: Run, request_of: Build, tiny_model: Path, tmp_path: Path, model: object, code: int, message: str
) -> None:
    with serving(tiny_model, "org/tiny", "v1.2") as hub:
        outcome = embedstep_run(request_of(model=model), environ=online(hub, tmp_path / "cache"))
    assert outcome.code == code, outcome.err
    assert f"model.path: {message}" in outcome.err
    assert "Traceback" not in outcome.err


def test_a_dataset_that_the_hub_does_not_have_is_refused(
    embedstep_run: Run, request_of: Build, tiny_model: Path, tmp_path: Path
) -> None:
    document = request_of(data=hub_data("org/none"))
    with serving(tiny_model, "org/tiny", "v1.2") as hub:
        outcome = embedstep_run(document, environ=online(hub, tmp_path / "cache"))
    assert outcome.code == 2, outcome.err
    assert "data.train.docs.hub: org/none" in outcome.err
    assert "Traceback" not in outcome.err


def test_data_from_the_hub_is_prepared_before_the_ranks_start(
    embedstep_run: Run, request_of: Build, data_folder: Path, tmp_path: Path
) -> None:
    # A folder is what `load_dataset` accepts in place of an id when there is no network: the same code path.
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "train.jsonl").write_text((data_folder / "train.jsonl").read_text())
    columns = {"anchor": "anchor", "positive": "positive"}
    document = request_of(
        data={"train": {"docs": {"hub": str(tmp_path / "hub"), "split": "train", "columns": columns}}}
    )
    outcome = embedstep_run(document)
    assert outcome.code == 0, outcome.err
    assert outcome.json("plan.json")["datasets"][0]["rows"] == 130


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"model": "nobody/nothing"}, "model.path: nobody/nothing is not a local folder and could not be fetched"),
        ({"data": hub_data("nobody/nothing")},
         "data.train.docs.hub: nobody/nothing could not be fetched"),
    ],
)  # fmt: skip
def test_a_hub_that_does_not_answer_is_exit_3(
    embedstep_run: Run, request_of: Build, sections: dict[str, Any], message: str
) -> None:
    outcome = embedstep_run(request_of(**sections))
    assert outcome.code == 3, outcome.err
    assert message in outcome.err
    assert "Traceback" not in outcome.err


def test_rows_that_take_longer_than_the_patience_of_the_ranks(request_of: Build, tmp_path: Path) -> None:
    """The others waited in a barrier for the first rank's preparation, and timed out."""
    slow = (
        "import time; from embedstep import step; from embedstep.cli.program import main; really = step.scan_all;"
        "step.scan_all = lambda *arguments, **options: (time.sleep(8), really(*arguments, **options))[1];"
        "main()"
    )
    request = request_of(launch={"processes_per_node": 2}, arguments={"max_steps": 2, "ddp_timeout": 5})
    (tmp_path / "request.yaml").write_text(yaml.safe_dump(request))
    command = [sys.executable, "-c", slow, "run", "request.yaml", "--output", "output"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False)
    assert ended.returncode == 0, ended.stderr
