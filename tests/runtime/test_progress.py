import pytest

from embedstep.runtime.progress import with_progress


def test_long_work_names_itself_once_in_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    """Standard error is no terminal here: no bar moves, and one line says what takes so long."""
    assert list(with_progress("tokenizing 80,000 texts", range(0, 80_000, 4_096))) == list(range(0, 80_000, 4_096))
    assert capsys.readouterr() == ("", "tokenizing 80,000 texts\n")


def test_short_work_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(with_progress("tokenizing 9 texts", range(9))) == list(range(9))
    assert capsys.readouterr() == ("", "")
