"""The pages about ZenML, Airflow and plain Kubernetes do what they say."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.orchestration.running import forking
from tests.places import ROOT

Build = Callable[..., dict[str, Any]]


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def blocks(name: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page(name), re.DOTALL)


def commands(name: str, program: str) -> list[str]:
    return [line[2:] for line in page(name).splitlines() if line.startswith(f"$ {program} ")]


@pytest.fixture
def run(
    tmp_path: Path, evaluated: Build, zenml_home: Path, own_uri: str
) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """Run a command of a page in a folder with a small request and the pipelines."""
    request = evaluated(
        arguments={"max_steps": 2, "eval_strategy": "steps", "eval_steps": 2, "save_strategy": "no"},
        tracking={"uri": own_uri, "register_as": "docs"},
        promotion={"metric": "docs_cosine_ndcg@10"},
    )  # fmt: skip
    (tmp_path / "request.yaml").write_text(yaml.safe_dump(request))
    shutil.copytree(ROOT / "pipelines", tmp_path / "pipelines")  # a link would lead out of ZenML's source root

    def started(command: str) -> subprocess.CompletedProcess[str]:
        program, *arguments = shlex.split(command)
        start = {"python": [sys.executable], "embedstep": [sys.executable, "-m", "embedstep"], "zenml": [ZENML]}[
            program
        ]
        return subprocess.run(
            [*start, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=500, check=False,
            env={
                **os.environ, **forking(tmp_path), "ZENML_CONFIG_PATH": str(zenml_home),
                "ZENML_ANALYTICS_OPT_IN": "false", "AUTO_OPEN_DASHBOARD": "false", "ZENML_LOGGING_VERBOSITY": "WARN",
            },
        )  # fmt: skip

    return started


ZENML = str(Path(sys.executable).with_name("zenml"))


@pytest.mark.parametrize(
    ("name", "pictures"),
    [
        ("airflow.md", ["airflow.png"]),
        ("kubeflow.md", ["kubeflow.png"]),
        ("kubernetes.md", ["kubernetes.png"]),
        ("zenml.md", ["zenml.png", "zenml_report.png"]),
    ],
)
def test_the_pictures_of_a_page_are_there_small_and_described(name: str, pictures: list[str]) -> None:
    shown = re.findall(r"^!\[(.*)\]\((.*)\)$", page(name), re.MULTILINE)
    assert [link for _, link in shown] == [f"pictures/{picture}" for picture in pictures]
    for words, link in shown:
        held = (ROOT / "docs" / link).read_bytes()
        assert (held[:4], len(held) < 200_000, len(words.split()) >= 10) == (b"\x89PNG", True, True)


def test_the_cronjob_of_the_page_is_printed(run: Any) -> None:
    (command,) = commands("kubernetes.md", "embedstep")
    made = run(command)
    assert made.returncode == 0, made.stderr
    held, cronjob = yaml.safe_load_all(made.stdout)
    assert (held["kind"], cronjob["kind"], cronjob["spec"]["timeZone"]) == ("ConfigMap", "CronJob", "Europe/Berlin")


def test_the_schedule_of_airflow_s_page_is_shown(run: Any) -> None:
    (command,) = commands("airflow.md", "embedstep")
    shown = run(command)
    assert shown.returncode == 0, shown.stderr
    assert 'CronTriggerTimetable("0 3 * * 1", timezone="Europe/Berlin")' in shown.stdout


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_zenml_s_page_from_its_first_command_to_its_last(run: Any, tmp_path: Path) -> None:
    for program in ("zenml", "python", "embedstep"):
        for command in commands("zenml.md", program):
            ended = run(command)
            assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-2000:]
    code, many = blocks("zenml.md", "python")
    (tmp_path / "many.py").write_text(many)
    (config,) = blocks("zenml.md", "yaml")
    assert set(yaml.safe_load(config)["steps"]) == {"train_embedder"}
    (tmp_path / "write.py").write_text(f"import many\n{code}")  # which declares a pipeline that needs a cluster to run
    ended = run("python write.py")
    assert ended.returncode == 0, ended.stderr[-2000:]
