"""The hooks into Airflow, compared in the environment that has it."""

import os
import subprocess

import pytest

from tests.places import ROOT

pytestmark = pytest.mark.airflow

CODE = """
from tests.hooks import HOOKS, problem_of

rows = [hook for hook in HOOKS if hook.owner.startswith("airflow")]
assert rows
problems = [problem for problem in map(problem_of, rows) if problem]
assert not problems, problems
"""


def test_a_hook_into_airflow_is_as_it_was_tested(python: str) -> None:
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([python, "-c", CODE], cwd=ROOT, env=environ, check=True, timeout=120)
