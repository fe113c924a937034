"""A tracker of another package: it gets everything, and later what it did not take at once."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from embedstep.errors import CannotStartError
from embedstep.output.result import StepResult
from embedstep.tracking.sender import Sender
from embedstep.tracking.spool import Spool, new_spool
from tests.tracking.logged import logged

pytestmark = pytest.mark.usefixtures("birdsong")
Run = Callable[..., StepResult]
Document = Callable[..., dict[str, Any]]


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
    assert folder.sent.not_recorded == ("gone.json: it no longer exists",)
    assert (tmp_path / "output" / "birdsong.txt").read_text().splitlines()[-2:] == ["metric 1 loss 1.0", "end FINISHED"]
