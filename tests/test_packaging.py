"""What is built installs and runs without the repository: the sdist, the wheel that is made of it, the version."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

from embedstep import __version__
from tests.places import ROOT

pytestmark = pytest.mark.slow


def run(*command: str | Path, cwd: Path) -> str:
    """Return what a command prints on standard output; the paths of this checkout are not in its environment."""
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    ended = subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, timeout=240, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the sdist and the wheel, built from a copy that holds nothing but the files of the repository."""
    source, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("built") / "dist"
    listed = run("git", "ls-files", "-z", "--", ".", ":!tests/golden", cwd=ROOT)
    for name in listed.split("\0"):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    run(source / ".ci" / "dist", sys.executable, folder, cwd=source)
    return folder


@pytest.fixture(scope="module")
def installed(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of an environment with the wheel, where the dependencies are those of this environment."""
    venv = tmp_path_factory.mktemp("clean") / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", venv, cwd=dist)
    (wheel,) = dist.glob("*.whl")
    python = venv / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel, cwd=dist)
    (packages,) = (venv / "lib").glob("python*/site-packages")
    # A path of a .pth file is searched last and its own .pth files are not read: nothing leads back to this checkout.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return venv / "bin"


def test_the_wheel_holds_the_package_and_nothing_else(dist: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {"embedstep/py.typed", "embedstep/report/page.html"} <= set(names)
    assert {name.partition("/")[0] for name in names} == {"embedstep", f"embedstep-{__version__}.dist-info"}
    files = (ROOT / "src" / "embedstep").rglob("*.py")
    assert {f"embedstep/{path.relative_to(ROOT / 'src' / 'embedstep')}" for path in files} <= set(names)


def test_the_sdist_holds_what_a_build_needs_and_no_part_of_the_tests(dist: Path) -> None:
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "src/embedstep/py.typed"} <= names
    assert not [name for name in names if re.match(r"tests|docs|pipelines", name)]


def test_the_version_stands_in_one_place(dist: Path) -> None:
    assert sorted(path.name for path in dist.iterdir()) == [
        f"embedstep-{__version__}-py3-none-any.whl",
        f"embedstep-{__version__}.tar.gz",
    ]
    assert __version__ not in (ROOT / "pyproject.toml").read_text(encoding="utf-8").replace("minilm-l6-v2==0.1.0", "")


def test_the_installed_command_shows_its_version(installed: Path, tmp_path: Path) -> None:
    assert run(installed / "embedstep", "--version", cwd=tmp_path) == f"embedstep, version {__version__}\n"
    home = run(installed / "python", "-c", "import embedstep; print(embedstep.__file__)", cwd=tmp_path)
    assert home.startswith(str(installed.parent))


def test_the_installed_command_checks_a_request(installed: Path, tmp_path: Path) -> None:
    rows = [{"query": f"question {number}", "answer": f"answer {number}"} for number in range(40)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    document = {
        "model": "sentence-transformers/all-MiniLM-L6-v2",
        "data": {"train": {"docs": {"path": "rows.jsonl", "columns": {"anchor": "query", "positive": "answer"}}}},
        "loss": "multiple_negatives_ranking",
    }
    (tmp_path / "request.json").write_text(json.dumps(document))
    assert "40 rows" in run(installed / "embedstep", "check", "request.json", cwd=tmp_path)
