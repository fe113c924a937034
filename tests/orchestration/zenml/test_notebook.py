"""The steps from a notebook and from a module that is imported: each training has processes of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

CELLS = (
    """
from pathlib import Path

from zenml import pipeline
from zenml.client import Client

from embedstep.orchestration.zenml import prepare_data, train_embedder

REQUEST = Path("request.yaml").read_text()
""",
    """
@pipeline(enable_cache=False)
def retrain() -> None:
    train_rows, _, _ = prepare_data(request=REQUEST)
    train_embedder(request=REQUEST, train_data=train_rows)
""",
    "retrain()",
    """
import json
import os

from sentence_transformers import SentenceTransformer

run = Client().list_pipeline_runs(sort_by="desc:created", size=1, hydrate=True).items[0]
embedder = run.steps["train_embedder"].outputs["model"][0].load()
vector = SentenceTransformer(os.fspath(embedder), device="cpu").encode("open file 1")
found = {
    "status": str(run.status), "steps": {name: str(step.status) for name, step in run.steps.items()},
    "model_status": embedder.status, "train_steps": embedder.result["train_steps"], "dimension": len(vector),
}
Path("found.json").write_text(json.dumps(found))
""",
)
"""Cells of a notebook, and in one file a module."""

# Run a notebook as its readers do, cell by cell in a kernel.
NOTEBOOK = "import nbclient, nbformat; nbclient.execute(nbformat.read('retrain.ipynb', 4), timeout=400)"
# A module has no __main__ that spawned processes could run again.
MODULE = "import retrain"


@pytest.mark.parametrize("code", [NOTEBOOK, MODULE], ids=["notebook", "module"])
def test_a_training_from_a_notebook_and_from_a_module_leaves_its_model(
    code: str, evaluated: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    (tmp_path / "request.yaml").write_text(yaml.safe_dump(evaluated(arguments={"max_steps": 3})))
    cells: list[dict[str, Any]] = [
        {"cell_type": "code", "id": f"cell-{n}", "metadata": {}, "execution_count": None, "outputs": [], "source": cell}
        for n, cell in enumerate(CELLS)
    ]
    notebook = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    (tmp_path / "retrain.ipynb").write_text(json.dumps(notebook))
    (tmp_path / "retrain.py").write_text("".join(CELLS))
    environment = {
        **os.environ, "ZENML_CONFIG_PATH": str(tmp_path / "zenml"), "ZENML_ANALYTICS_OPT_IN": "false",
        "ZENML_LOGGING_VERBOSITY": "WARN", "AUTO_OPEN_DASHBOARD": "false", "IPYTHONDIR": str(tmp_path / "ipython"),
    }  # fmt: skip
    # ZenML asks for a root of the sources where the main program is no file.
    for program in ("from zenml_cli import cli; cli(['init'])", code):
        ended = subprocess.run(
            [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=500,
            check=False,
        )  # fmt: skip
        assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
    assert json.loads((tmp_path / "found.json").read_text()) == {
        "status": "completed", "steps": {"prepare_data": "completed", "train_embedder": "completed"},
        "model_status": "trained", "train_steps": 3, "dimension": 32,
    }  # fmt: skip
