"""What may import what: the promises that keep `check` and `plan` fast and free of torch."""

import ast
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "embedstep"
MODULES = sorted(SOURCE.rglob("*.py"))
NAMES = [str(path.relative_to(SOURCE)) for path in MODULES]
LIBRARIES = {"torch", "transformers", "sentence_transformers", "datasets", "accelerate", "kfp", "zenml", "mlflow"}
HEAVY = ("torch", "transformers", "sentence_transformers", "datasets", "mlflow", "kfp", "zenml", "pandas")
OF_MLFLOW = {f"tracking/mlflow{name}.py" for name in ("", "_model", "_registry", "_system")}
OF_AN_ORCHESTRATOR = {"orchestration/kfp/": {"kfp"}, "orchestration/zenml": {"zenml"}}
LONGEST = 350
LONGER_FOR_THEIR_TABLE = {"request/arguments/schema.py", "planning/losses.py", "planning/evaluators.py"}


def imports(module: str) -> set[str]:
    """First parts of everything that a module imports, at its top or inside, by statement or by name."""
    return {name.partition(".")[0] for name in _imports(ast.parse((SOURCE / module).read_text(encoding="utf-8")))}


def _imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=str(name), level=0):
                yield name
            case ast.Call(
                func=ast.Name(id="import_module" | "__import__") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield name


def test_the_pass_sees_every_kind_of_import() -> None:
    code = """
import a.b
from c.d import e
from . import f
def g():
    import h
    class I:
        from j import k
    import_module("l.m")
    importlib.import_module("n")
if TYPE_CHECKING:
    from o import p
"""
    assert set(_imports(ast.parse(code))) == {"a.b", "c.d", "h", "j", "l.m", "n", "o"}


@pytest.mark.parametrize("module", [name for name in NAMES if not name.startswith("worker/")])
def test_only_the_worker_imports_what_trains(module: str) -> None:
    allowed = {"mlflow"} if module in OF_MLFLOW else set()
    for folder, libraries in OF_AN_ORCHESTRATOR.items():
        allowed |= libraries if module.startswith(folder) else set()
    assert imports(module) & LIBRARIES <= allowed


@pytest.mark.parametrize("module", [name for name in NAMES if not name.startswith("orchestration/")])
def test_the_package_does_not_need_its_adapters(module: str) -> None:
    tree = ast.parse((SOURCE / module).read_text(encoding="utf-8"))
    adapters = tuple(f"embedstep.orchestration.{name}" for name in ("kfp", "zenml", "airflow"))
    assert not [name for name in _imports(tree) if name.startswith(adapters)]


@pytest.mark.parametrize("module", NAMES)
def test_the_package_knows_nothing_of_pipelines_and_tests(module: str) -> None:
    assert not imports(module) & {"pipelines", "tests"}


@pytest.mark.parametrize("module", [name for name in NAMES if name not in OF_MLFLOW])
def test_mlflow_has_one_door(module: str) -> None:
    assert "mlflow" not in imports(module)


def test_one_place_reads_what_torchrun_leaves_in_the_environment() -> None:
    # launch/torchrun.py names the variables to take them away.
    readers = {name for name in NAMES if "LOCAL_RANK" in (SOURCE / name).read_text(encoding="utf-8")}
    assert readers == {"runtime/world.py", "launch/torchrun.py"}


@pytest.mark.parametrize("module", NAMES)
def test_every_module_says_what_it_is_for(module: str) -> None:
    assert ast.get_docstring(ast.parse((SOURCE / module).read_text(encoding="utf-8")))


@pytest.mark.parametrize("module", sorted(set(NAMES) - LONGER_FOR_THEIR_TABLE))
def test_no_module_is_long(module: str) -> None:
    assert len((SOURCE / module).read_text(encoding="utf-8").splitlines()) <= LONGEST


def loaded(code: str, *arguments: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after running `code`."""
    ending = "\nimport sys, json\nprint(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    process = subprocess.run(
        [sys.executable, "-c", code + ending, *arguments], capture_output=True, text=True, timeout=60, check=True
    )
    return {name.partition(".")[0] for name in json.loads(process.stderr.splitlines()[-1])}


@pytest.mark.parametrize(
    "module",
    [
        "embedstep", "embedstep.cli.program", "embedstep.step", "embedstep.planning.plan", "embedstep.request.loading",
        "embedstep.planning.checks",
    ],
)  # fmt: skip
def test_importing_loads_nothing_heavy(module: str) -> None:
    assert not loaded(f"import {module}") & set(HEAVY)


def test_the_package_by_itself_costs_nothing() -> None:
    found = loaded("import embedstep")
    assert "embedstep" in found
    assert not found & {"pydantic", "pyarrow", "yaml", "click", "numpy"}


def test_planning_loads_nothing_heavy(request_of: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    request = tmp_path / "request.json"
    request.write_text(json.dumps(request_of(tracking={"kind": "mlflow"})))
    found = loaded(
        "import sys\n"
        "from embedstep.request.loading import read_request\n"
        "from embedstep.step import plan_step\n"
        "assert plan_step(read_request(sys.argv[1])).train_steps == 4",
        str(request),
    )
    assert {"pydantic", "pyarrow"} <= found
    assert not found & set(HEAVY)


@pytest.mark.parametrize("verb", ["check", "plan"])
def test_the_command_line_loads_nothing_heavy(
    request_of: Callable[..., dict[str, Any]], tmp_path: Path, verb: str
) -> None:
    request = tmp_path / "request.json"
    request.write_text(json.dumps(request_of()))
    found = loaded(
        "import sys\nfrom embedstep.cli.program import main\nmain(sys.argv[1:], standalone_mode=False)",
        verb,
        str(request),
    )
    assert "click" in found
    assert not found & set(HEAVY)
