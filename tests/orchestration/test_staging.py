"""Artifacts of a task on the volume of its pods, which see no file of the task."""

from pathlib import Path

import pytest

from embedstep.errors import CannotStartError, InvalidRequestError
from embedstep.orchestration.staging import stage_inputs
from embedstep.request.launch import TrainJob
from tests.orchestration.executor import task


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    (tmp_path / "shared").mkdir()
    return tmp_path / "shared"


@pytest.fixture
def job(volume: Path) -> TrainJob:
    claim = {"claim": "shared", "path": str(volume)}
    return TrainJob.model_validate({"image": "embedstep:1", "output": f"{volume}/docs/out", "volumes": [claim]})


def test_the_same_content_is_copied_once_under_one_name(volume: Path, job: TrainJob, tmp_path: Path) -> None:
    """The request has this name in it, and another one would be another training."""
    staged = []
    for run in ("monday", "tuesday"):
        rows, model = tmp_path / run / "rows.parquet", tmp_path / run / "model"
        model.mkdir(parents=True)
        rows.write_bytes(b"rows")
        (model / "config.json").write_text("{}")
        staged.append(stage_inputs(task(tmp_path, {}, train_data=rows, base_model=model), job).inputs)
    assert staged[0] == staged[1]
    rows, model = staged[0]["train_data"], staged[0]["base_model"]
    assert (rows.parent.parent, rows.name) == (volume / "docs" / "inputs" / "train_data", "data.parquet")
    assert (rows.read_bytes(), (model / "config.json").read_text()) == (b"rows", "{}")
    (tmp_path / "tuesday" / "rows.parquet").write_bytes(b"other")
    other = stage_inputs(task(tmp_path, {}, train_data=tmp_path / "tuesday" / "rows.parquet"), job).inputs["train_data"]
    assert other != rows
    assert sorted(path.name for path in rows.parent.parent.iterdir()) == sorted([rows.parent.name, other.parent.name])


def test_what_is_on_a_volume_already_stays_there(volume: Path, job: TrainJob, tmp_path: Path) -> None:
    (volume / "rows.parquet").write_bytes(b"rows")
    given = task(tmp_path, {}, train_data=volume / "rows.parquet")
    assert stage_inputs(given, job) == given
    assert not (volume / "docs").exists()


def test_a_volume_that_the_task_does_not_see_is_reported(volume: Path, job: TrainJob, tmp_path: Path) -> None:
    volume.rmdir()
    with pytest.raises(InvalidRequestError) as caught:
        stage_inputs(task(tmp_path, {}, train_data=tmp_path / "rows.parquet"), job)
    assert str(caught.value) == (
        f"launch.trainjob.output: {volume} is not mounted in this task, which reads the model from there; use "
        "with_volume(task, ...)"
    )


def test_an_artifact_that_cannot_be_copied_may_be_later(volume: Path, job: TrainJob, tmp_path: Path) -> None:
    (tmp_path / "rows.parquet").write_bytes(b"rows")
    (volume / "docs").write_text("where the folder would be")
    with pytest.raises(CannotStartError, match=r"to the pods' volume at .*/docs/inputs/train_data: not a directory"):
        stage_inputs(task(tmp_path, {}, train_data=tmp_path / "rows.parquet"), job)
    assert [path.name for path in volume.iterdir()] == ["docs"]
