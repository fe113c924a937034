"""A report that cannot be written is a sentence, and never the failure of a run."""

from pathlib import Path

import pytest

from embedstep.report import background
from embedstep.report.background import write_report_in_subprocess


def test_a_folder_without_a_run_is_a_sentence_with_the_command(tmp_path: Path) -> None:
    (line,) = write_report_in_subprocess(tmp_path)
    assert f"embedstep report {tmp_path}" in line


def test_a_report_that_takes_too_long_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "_TIMEOUT", 0.01)
    (line,) = write_report_in_subprocess(tmp_path)
    assert f"embedstep report {tmp_path}" in line
