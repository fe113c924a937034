"""Which data files of coverage are combined."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.coverage_files import main

CODE = "import json\nfor number in range(2000):\n    exec(f'def f{number}(): return 1')\n"


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """Return the data file of a process that has ended by itself."""
    (tmp_path / "code.py").write_text(CODE)
    (tmp_path / "rc").write_text(f"[run]\nparallel = true\ndata_file = {tmp_path}/data/data\n")
    (tmp_path / "data").mkdir()
    run = [sys.executable, "-m", "coverage", "run", "--rcfile=rc", "code.py"]
    subprocess.run(run, cwd=tmp_path, check=True, timeout=60)
    (file,) = (tmp_path / "data").iterdir()
    return file


def test_files_of_killed_processes_are_left_out_by_name(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = whole.read_bytes()
    cut = whole.with_name("data.host.pid1.Xabcx.H0123456789abh")
    cut.write_bytes(content[: len(content) // 2])
    empty = whole.with_name("data.host.pid2.Xabcx")
    empty.touch()
    main(whole.parent)
    assert list(whole.parent.iterdir()) == [whole]
    said, no_hash, counted = capsys.readouterr().out.splitlines()
    assert said.startswith(f"left out: {cut.name}: ")
    assert no_hash == f"left out: {empty.name}: its process ended before it was written"
    assert counted == "1 of 3 processes are counted"
