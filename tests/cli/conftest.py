"""The command line in this process, and the file of a small request."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from embedstep.cli.program import main

Build = Callable[..., dict[str, Any]]


def embedstep(*arguments: str, text: str | None = None) -> tuple[int, str, str]:
    """Run the command line here; return code, standard output, standard error."""
    result = CliRunner().invoke(main, arguments, input=text)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture(autouse=True)
def _without_terminal_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COLUMNS", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def request_file(request_of: Build, tmp_path: Path) -> Callable[..., str]:
    def write(**sections: Any) -> str:
        path = tmp_path / "request.yaml"
        path.write_text(yaml.safe_dump(request_of(**sections)))
        return str(path)

    return write
