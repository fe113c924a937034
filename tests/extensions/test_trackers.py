"""Trackers besides MLflow: one of another package, TensorBoard, and Weights & Biases, each with every metric."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from embedstep.errors import CannotStartError
from embedstep.output.result import StepResult
from embedstep.request.trackers import CALLBACKS, KINDS
from embedstep.tracking.sender import Sender
from embedstep.tracking.spool import Spool, new_spool

NEEDS_WANDB = pytest.mark.skipif(find_spec("wandb") is None, reason="wandb is not installed (pip install wandb)")
Run = Callable[..., StepResult]
Document = Callable[..., dict[str, Any]]


def logged(result: StepResult) -> set[tuple[int, str]]:
    """Every metric that `metrics.jsonl` has, with its train step."""
    lines = [json.loads(line) for line in (Path(result.output) / "metrics.jsonl").read_text().splitlines()]
    return {(line["train_step"], name) for line in lines for name in line.keys() - {"train_step", "epoch"}}


def test_a_declared_tracker_gets_everything(train_here: Run, evaluated: Document) -> None:
    result = train_here(evaluated(tracking={"kind": "text_file", "experiment": "birds", "run_name": "wren"}))
    assert (result.exit_code, result.incomplete_tracking, result.run_id) == (0, (), None)
    text = (Path(result.output) / "birdsong.txt").read_text()
    assert result.tracking_uri == str(Path(result.output) / "birdsong.txt")
    first, *lines = text.splitlines()
    assert first.startswith("run ")
    assert first.endswith(" birds wren")
    metrics = [line.split() for line in lines if line.startswith("metric ")]
    found = {(int(step), name) for _, step, name, _ in metrics}
    assert logged(result) <= found
    assert "file plan.json" in lines
    assert any(line.startswith("parameter learning_rate ") for line in lines)
    assert lines[-1] == "end FINISHED"


def test_what_a_tracker_did_not_take_is_recorded_by_the_next_sender(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    birdsong = import_module("birdsong")
    folder = new_spool(tmp_path / "output")
    spool = Spool(folder=folder)
    start = {"experiment": "birds", "run_name": None, "tags": {"a": "b"}, "key": "x", "tracker": "text_file", "uri": ""}
    spool.add("start", **start)
    (tmp_path / "gone.json").write_text("{}")
    spool.file(tmp_path / "gone.json")
    (folder.files / "gone.json").unlink()
    spool.metrics({"loss": 1.0}, train_step=1)
    spool.end("FINISHED", patience=1)
    with monkeypatch.context() as away:
        away.setattr(birdsong.TextFile, "log_metrics", lambda *arguments: 1 / 0)
        with pytest.raises(CannotStartError, match="tracking: ZeroDivisionError: division by zero"):
            Sender(folder, "").forward()
    assert folder.sent.last_error
    assert Sender(folder, "").forward()
    assert folder.is_sent
    assert folder.sent.not_recorded == ("gone.json: it is not there any more",)
    assert (tmp_path / "output" / "birdsong.txt").read_text().splitlines()[-2:] == ["metric 1 loss 1.0", "end FINISHED"]


def test_tensorboard_gets_every_metric(train_here: Run, evaluated: Document, tmp_path: Path) -> None:
    folder = tmp_path / "events"
    tracking = {"kind": "tensorboard", "uri": str(folder), "experiment": "birds", "run_name": "wren"}
    result = train_here(evaluated(tracking=tracking))
    assert (result.exit_code, result.incomplete_tracking) == (0, ())
    assert Path(str(result.tracking_uri)).parent == folder / "birds"
    assert {(step, name.replace("@", "_")) for step, name in logged(result)} <= set(scalars(folder))


def scalars(folder: Path) -> Iterator[tuple[int, str]]:
    """Yield step and name of each scalar in the event files below a folder."""
    from tensorboardX.proto.event_pb2 import Event

    for file in folder.rglob("events.*"):
        data = file.read_bytes()
        while data:  # length, its checksum, the event, its checksum
            size = int.from_bytes(data[:8], "little")
            event = Event.FromString(data[12 : 12 + size])
            yield from ((event.step, value.tag) for value in event.summary.value)
            data = data[16 + size :]


@NEEDS_WANDB
def test_weights_and_biases_gets_every_metric_offline(
    train_here: Run, evaluated: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    result = train_here(evaluated(tracking={"kind": "wandb"}))
    assert (result.exit_code, result.incomplete_tracking) == (0, ())
    assert logged(result) <= set(history(Path(result.output)))


def history(folder: Path) -> Iterator[tuple[int, str]]:
    """Yield train step and name of each metric in the offline runs below a folder."""
    from wandb.proto.wandb_internal_pb2 import Record
    from wandb.sdk.internal.datastore import DataStore

    for file in folder.rglob("run-*.wandb"):
        store = DataStore()
        store.open_for_scan(str(file))
        records = [Record.FromString(data) for data in iter(store.scan_data, None)]
        store._fp.close()
        for record in records:  # the callback puts what is known at the end, such as train_runtime, in the summary
            items = [*record.history.item, *record.summary.update]
            values = {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}
            step = values.get("train_step", -1)
            yield from ((int(step), name) for name in values)


@pytest.mark.parametrize("tracker", ["tensorboard", pytest.param("wandb", marks=NEEDS_WANDB)])
def test_report_to_has_every_metric_after_the_run(
    tracker: str, embedstep_run: Callable[..., Any], evaluated: Document, tmp_path: Path
) -> None:
    folder = tmp_path / "reports"
    folder.mkdir()
    arguments = (
        {"report_to": [tracker], "logging_dir": str(folder)} if tracker == "tensorboard" else {"report_to": [tracker]}
    )
    environ = {"WANDB_MODE": "offline", "WANDB_DIR": str(folder), "WANDB_SILENT": "true"}
    outcome = embedstep_run(evaluated(arguments=arguments), environ=environ)
    assert outcome.code == 0, outcome.err
    names = {name for _, name in (scalars if tracker == "tensorboard" else history)(folder)}
    wanted = {name for line in (outcome.output / "metrics.jsonl").read_text().splitlines() for name in json.loads(line)}
    for name in wanted - {"train_step", "epoch"}:
        shown = name.replace("@", "_") if tracker == "tensorboard" else name
        group, _, rest = shown.partition("_")  # as the callbacks name them
        places = {f"train/{shown}", f"{group}/{rest}", shown}
        assert places & names, f"{name} is not among {sorted(names)}"


def test_handlers_run_at_the_end_of_a_process_and_not_longer_than_allowed() -> None:
    code = (
        "import atexit, time\n"
        "from embedstep.runtime.exit import exit_now, run_exit_handlers\n"
        "atexit.register(time.sleep, 60)\n"
        "atexit.register(print, 'written')\n"
        "run_exit_handlers(0.2)\n"
        "exit_now(7)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert (ended.returncode, ended.stdout) == (7, "written\n")


@pytest.mark.parametrize(
    ("tracking", "message"),
    [
        ({"kind": "tensorbord"}, "did you mean tensorboard?"),
        ({"kind": "text_fil"}, "did you mean text_file?"),
        ({"kind": "birdsong:gone"}, "tracking.kind: birdsong has no 'gone'"),
        ({"kind": "birdsong:blocks"}, "it must be an embedstep.TrackerKind"),
        ({"kind": "text_file", "register_as": "x"},
         "tracking.register_as: is a name in MLflow's registry, and tracking.kind is text_file"),
        ({"kind": "tensorboard", "mode": "nest"}, "tracking.mode: is about a run in MLflow, and tracking.kind is"),
    ],
)  # fmt: skip
def test_a_tracker_that_cannot_be_is_refused(
    problems_of: Callable[..., list[str]], tracking: dict[str, str], message: str
) -> None:
    assert message in "\n".join(problems_of(tracking=tracking))


def test_the_table_has_each_callback_of_the_installed_release() -> None:
    from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

    assert set(INTEGRATION_TO_CALLBACK) == set(CALLBACKS)
    assert {"mlflow", "tensorboard", "wandb", "none"} == set(KINDS)
