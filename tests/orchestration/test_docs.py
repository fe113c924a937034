"""The page about Kubeflow does what it says."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.places import ROOT

PAGE = (ROOT / "docs" / "kubeflow.md").read_text(encoding="utf-8")


def commands(program: str) -> list[str]:
    return [line for line in PAGE.splitlines() if line.startswith(f"$ {program} ")]


@pytest.fixture(autouse=True)
def _in_a_folder_with_the_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pipelines").symlink_to(ROOT / "pipelines")
    (tmp_path / "build").mkdir()
    monkeypatch.chdir(tmp_path)


def test_the_pipeline_of_the_page_compiles(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "write.py").write_text(code)
    subprocess.run([sys.executable, "write.py"], check=True, timeout=120)
    specification, platform = yaml.safe_load_all((tmp_path / "build" / "docs_embedder.yaml").read_text())
    assert list(specification["root"]["dag"]["tasks"]) == ["train-embedder"]
    assert "deploymentSpec" in platform["platforms"]["kubernetes"]


def test_the_retraining_of_the_page_is_made(tmp_path: Path) -> None:
    (line,) = commands("python")
    subprocess.run([sys.executable, *shlex.split(line)[2:]], check=True, timeout=120)
    made = (tmp_path / "build" / "retrain.yaml").read_text()
    assert made == (ROOT / "pipelines" / "kubeflow_retrain" / "pipeline.yaml").read_text()


def test_the_schedule_of_the_page_is_shown() -> None:
    (line,) = commands("embedstep schedule")
    ended = subprocess.run(
        [sys.executable, "-m", *shlex.split(line)[1:]], check=True, timeout=120, capture_output=True, text=True
    )
    shown = PAGE.partition(f"{line}\n")[2].partition("```")[0].splitlines()
    said = [re.sub(r"\([0-9a-f]{12}\)", "(…)", one) for one in ended.stdout.splitlines()]
    assert [one for one in shown if one != "  …"] == [one for one in said if not one.endswith(" UTC") or "cron" in one]


def test_every_component_has_its_page() -> None:
    for link in re.findall(r"\]\(\.\./(components/[^)]*)\)", PAGE):
        assert (ROOT / link).exists()
