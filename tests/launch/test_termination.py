"""The last lines of a rank that left no exception."""

from pathlib import Path

from embedstep.worker.torchrun.agent import _last_lines


def test_the_last_lines_are_shown_without_secrets(tmp_path: Path) -> None:
    folder = tmp_path / "run_1" / "attempt_0" / "3"
    folder.mkdir(parents=True)
    assert _last_lines(tmp_path, 3) == []
    file = folder / "stderr.log"
    file.write_text("one\nwith hf_abcdefghijklmnopqrstuvwxyz\n")
    assert _last_lines(tmp_path, 3) == ["one", "with ***"]
    file.write_text("\n".join(f"line {number} " + "x" * 300 for number in range(100_000)))
    message = _last_lines(tmp_path, 3)
    assert [line[:10] for line in message] == [f"line {number}" for number in range(99_980, 100_000)]
    file.write_text("x" * 1_000_000)
    assert _last_lines(tmp_path, 3) == []
