"""What users hold on to, frozen: `make golden` rewrites the files, and the review sees the difference."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from embedstep.arguments.listing import arguments_page
from embedstep.cli import main
from embedstep.reference import losses_page
from embedstep.request.schema import TrainRequest

ROOT = Path(__file__).parents[1]


def schema() -> str:
    return json.dumps(TrainRequest.model_json_schema(), indent=2) + "\n"


def command_line() -> str:
    pages = [["--help"], *([verb, "--help"] for verb in ("check", "plan", "run", "schema", "arguments", "migrate"))]
    return "\n".join(CliRunner().invoke(main, page, prog_name="embedstep").output for page in pages)


FILES: dict[str, Callable[[], str]] = {
    "tests/golden/request_schema.json": schema,
    "tests/golden/command_line.txt": command_line,
    "docs/losses.md": losses_page,
    "docs/arguments.md": arguments_page,
}


@pytest.mark.parametrize("path", FILES)
def test_golden(path: str) -> None:
    if os.environ.get("EMBEDSTEP_GOLDEN") == "rewrite":
        (ROOT / path).write_text(FILES[path](), encoding="utf-8")
    assert (ROOT / path).read_text(encoding="utf-8") == FILES[path](), "run `make golden` and look at the difference"
