"""GitHub runs what `.ci/run` runs: the targets of the Makefile, and each of them that tests something."""

import re
from pathlib import Path

import pytest
import yaml

from tests.places import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def targets_in(text: str) -> set[str]:
    """The targets that commands in a text make."""
    return set(re.findall(r"(?:^|;)\s*make ([a-z-]+)", text, re.MULTILINE))


def commands(workflow: str) -> list[str]:
    jobs = yaml.safe_load(workflow)["jobs"].values()
    return [step["run"] for job in jobs for step in job["steps"] if "run" in step]


CALLED = {path.name: targets_in("\n".join(commands(path.read_text(encoding="utf-8")))) for path in WORKFLOWS}


@pytest.mark.parametrize("name", CALLED)
def test_a_workflow_calls_targets_that_exist(name: str) -> None:
    assert CALLED[name]
    assert CALLED[name] <= TARGETS


def test_every_target_that_tests_is_called_by_a_workflow() -> None:
    tests = {name for name in TARGETS if name.startswith("test")}
    assert {"test", "test-slow"} <= tests
    assert tests - set().union(*CALLED.values()) == set()


def test_the_workflows_call_every_target_of_the_gate() -> None:
    gate = targets_in((ROOT / ".ci" / "run").read_text(encoding="utf-8")) - {"setup"}  # every target sets up by itself
    assert gate - set().union(*CALLED.values()) == set()


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_an_action_is_pinned_to_a_commit(path: Path) -> None:
    used = re.findall(r"uses: (\S+)", path.read_text(encoding="utf-8"))
    assert used
    assert [action for action in used if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", action)] == []
