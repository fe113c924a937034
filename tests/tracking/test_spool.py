import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedstep.tracking.spool import Spool, SpoolFolder, new_spool, spools, unsent
from tests.tracking.conftest import Started


def test_entries_are_lines_with_the_time(started: Started) -> None:
    folder, spool = started()
    spool.parameters({"seed": 1, "none": None})
    spool.metrics({"loss": 0.5}, train_step=3)
    (_, first), (parameters, second), (metrics, end) = folder.read()
    assert (parameters["kind"], parameters["values"]) == ("parameters", {"seed": "1", "none": "None"})
    assert (metrics["kind"], metrics["step"], metrics["values"]) == ("metrics", 3, {"loss": 0.5})
    assert 1.7e12 < parameters["at"] <= metrics["at"]
    assert folder.read(first) == [(parameters, second), (metrics, end)]
    assert end == folder.entries.stat().st_size


def test_a_line_that_is_being_written_is_no_entry_yet(started: Started) -> None:
    folder, spool = started()
    spool.metrics({"loss": 0.5}, train_step=1)
    whole = folder.read()
    with folder.entries.open("a") as file:
        file.write('{"at": 1, "kind": "end", "sta')
    assert folder.read() == whole
    assert folder.status is None


def test_a_line_that_a_full_disk_has_cut_off_takes_nothing_else_with_it(started: Started) -> None:
    folder, spool = started()
    with folder.entries.open("a") as file:
        file.write('{"at": 1, "kind": "met\n')
    spool.metrics({"loss": 0.5}, train_step=1)
    assert [entry["kind"] for entry, _ in folder.read()] == ["start", "lost", "metrics"]


@given(st.lists(st.dictionaries(st.text(min_size=1), st.floats(allow_nan=False, allow_infinity=False), max_size=3)))
def test_every_number_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, logs: list[dict[str, float]]
) -> None:
    spool = Spool(folder=(folder := new_spool(tmp_path_factory.mktemp("spool"))))
    for step, values in enumerate(logs):
        spool.metrics(values, train_step=step)
    assert [(entry["step"], entry["values"]) for entry, _ in folder.read()] == list(enumerate(logs))


def test_a_number_that_is_not_finite_is_counted_and_not_kept(started: Started) -> None:
    folder, spool = started()
    spool.metrics({"loss": math.nan, "rate": 0.1}, train_step=1)
    spool.metrics({"loss": math.inf}, train_step=2)
    spool.metrics({"loss": 0.5}, train_step=3)
    assert [entry["values"] for entry, _ in folder.read()[1:]] == [
        {"rate": 0.1, "non_finite/loss": 1.0}, {"non_finite/loss": 2.0}, {"loss": 0.5},
    ]  # fmt: skip


def test_a_file_is_kept_as_it_was(started: Started, tmp_path: Path) -> None:
    folder, spool = started()
    file = tmp_path / "plan.json"
    file.write_text("first")
    spool.file(file)
    file.write_text("second")
    assert (folder.files / "plan.json").read_text() == "first"
    assert folder.read()[-1][0]["name"] == "plan.json"


def test_what_the_disk_does_not_take_is_a_complaint_and_no_exception(tmp_path: Path) -> None:
    spool = Spool(folder=SpoolFolder(tmp_path / "none" / "1"))
    spool.metrics({"loss": 0.5}, train_step=1)
    spool.file(tmp_path / "missing.json")
    assert spool.not_recorded == ["metrics: No such file or directory", "missing.json: No such file or directory"]


def test_without_a_folder_nothing_is_kept(tmp_path: Path) -> None:
    spool = Spool(folder=None)
    spool.metrics({"loss": 0.5}, train_step=1)
    spool.file(tmp_path / "missing.json")
    assert spool.not_recorded == []


def test_spools_that_were_sent_go_when_another_begins(started: Started, tmp_path: Path) -> None:
    output = tmp_path / "output"
    for _ in range(3):
        _, spool = started()
        spool.end("FAILED", patience=1)
    first, _, third = spools(output)
    for sent in (first, third):
        sent.write_sent(type(sent.sent)(bytes=sent.entries.stat().st_size))
    assert [spool.number for spool in unsent(output)] == [2]
    started()
    # The last one says which run a retry continues with.
    assert [spool.number for spool in spools(output)] == [2, 3, 4]
    assert json.loads((third.path / "sent.json").read_text())["bytes"] > 0
