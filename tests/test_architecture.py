"""What may import what: the layers, and the promises that keep `check` and `plan` fast and free of torch."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.places import ROOT

SOURCE = ROOT / "src" / "embedstep"
MODULES = sorted(SOURCE.rglob("*.py"))
NAMES = [str(path.relative_to(SOURCE)) for path in MODULES]

LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"errors"}),
    frozenset({"runtime", "sampling"}),
    frozenset({"request", "output"}),
    frozenset({"data"}),
    frozenset({"planning"}),
    frozenset({"launch"}),
    frozenset({"tracking"}),
    frozenset({"report"}),
    frozenset({"worker", "promotion"}),
    frozenset({"step"}),
    frozenset({"replay"}),
    frozenset({"orchestration"}),
    frozenset({"cli"}),
    frozenset({"__main__"}),
)
"""From the lowest to the highest. A package imports from lower layers only, and from itself."""
HOMES: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("torch", "transformers", "sentence_transformers", "datasets", "accelerate"), ("worker/",)),
    "mlflow": ("tracking/mlflow",),
    "peft": ("worker/adapters.py",),
    "duckdb": ("data/queries.py", "data/statements.py"),  # the latter only names its types
    "python_calamine": ("data/workbooks.py",),
    "tensorboardX": ("tracking/tensorboard.py",),
    "wandb": ("tracking/wandb.py",),
    "kubernetes": ("launch/kubernetes/", "orchestration/airflow/pods.py"),  # whose operator takes its objects
    "kfp": ("orchestration/kfp/",),
    "kfp_server_api": ("orchestration/kfp/",),
    "zenml": ("orchestration/zenml/",),
    "airflow": ("orchestration/airflow/",),
}
"""Where each library may be imported: the beginning of a path."""
NEVER_IMPORTED = frozenset({"worker", "cli"})
"""Packages that only a command starts, by name."""
SURFACE = frozenset({"__version__"})
"""What a package may take from `embedstep` itself; everything else comes from where it is defined."""
HEAVY = ("torch", "transformers", "sentence_transformers", "datasets", "mlflow", "kfp", "zenml", "pandas", "duckdb")
LONGEST = 350
LONGER_FOR_THEIR_TABLE = {
    "request/arguments/table.py",
    "planning/losses.py",
    "planning/evaluators.py",
    "planning/modules.py",
}
MOST_PACKAGES, MOST_MODULES = 14, 5


def imports(module: str) -> set[str]:
    """Everything that a module imports, at its top or inside, by statement or by name."""
    return set(_imports(ast.parse((SOURCE / module).read_text(encoding="utf-8"))))


def _imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module="embedstep", names=names, level=0):
                yield from (f"embedstep.{alias.name}" for alias in names)
            case ast.ImportFrom(module=str(name), level=0):
                yield name
            case ast.Call(
                func=ast.Name(id="import_module" | "__import__") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield name


def room(module: str) -> str:
    """The package or module at the top of `embedstep` that a module belongs to."""
    return module.partition("/")[0].removesuffix(".py")


def rooms_imported(module: str) -> set[str]:
    names = {name.split(".")[1] for name in imports(module) if name.startswith("embedstep.")}
    return names - SURFACE - {room(module)}


LEVEL = {name: level for level, layer in enumerate(LAYERS) for name in layer}


def test_the_pass_sees_every_kind_of_import() -> None:
    code = """
import a.b
from c.d import e
from . import f
from embedstep import p
def g():
    import h
    class I:
        from j import k
    import_module("l.m")
    importlib.import_module("n")
if TYPE_CHECKING:
    from o import p
"""
    assert set(_imports(ast.parse(code))) == {"a.b", "c.d", "embedstep.p", "h", "j", "l.m", "n", "o"}


def test_the_house_has_few_rooms() -> None:
    packages = [path.name for path in SOURCE.iterdir() if (path / "__init__.py").exists()]
    modules = [path.stem for path in SOURCE.glob("*.py")]
    assert set(packages) | set(modules) == set(LEVEL) | {"__init__"}
    assert len(packages) <= MOST_PACKAGES
    assert len(modules) <= MOST_MODULES


@pytest.mark.parametrize("module", [name for name in NAMES if name != "__init__.py"])
def test_a_package_imports_only_from_lower_layers(module: str) -> None:
    assert {name for name in rooms_imported(module) if LEVEL[name] >= LEVEL[room(module)]} == set()


def test_no_module_imports_itself_through_others() -> None:
    dotted = {
        f"embedstep.{name.removesuffix('.py').replace('/', '.').removesuffix('.__init__')}": name for name in NAMES
    }
    graph = {name: {dotted[one] for one in imports(name) if one in dotted} - {name} for name in NAMES}
    while graph:
        leaves = {name for name, needed in graph.items() if not needed & graph.keys()}
        assert leaves, f"in a circle, or above one: {', '.join(sorted(graph))}"
        graph = {name: needed for name, needed in graph.items() if name not in leaves}


@pytest.mark.parametrize("module", [name for name in NAMES if room(name) not in ("__main__", *NEVER_IMPORTED)])
def test_nobody_imports_what_only_a_command_starts(module: str) -> None:
    assert rooms_imported(module) & NEVER_IMPORTED == set()


@pytest.mark.parametrize("library", HOMES)
def test_a_library_has_one_home(library: str) -> None:
    users = {name for name in NAMES if library in {one.partition(".")[0] for one in imports(name)}}
    assert users
    assert {name for name in users if not name.startswith(HOMES[library])} == set()


@pytest.mark.parametrize("module", NAMES)
def test_the_package_knows_nothing_of_pipelines_and_tests(module: str) -> None:
    assert not {name.partition(".")[0] for name in imports(module)} & {"pipelines", "tests", "docs"}


def test_the_page_shows_the_layers_as_they_are() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \|", page, re.MULTILINE)
    shown = {int(number): frozenset(re.findall(r"`(\w+)[/.`]", names)) for number, names in rows}
    assert shown == dict(enumerate(LAYERS))


def test_the_page_shows_a_walk_in_which_a_file_calls_or_starts_the_next() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    walk = re.findall(r"^\d+\. `([\w/]+\.py)`: `(\w+)`", page, re.MULTILINE)
    assert 5 <= len(walk) <= 10
    before = ""
    for file, name in walk:
        text = (SOURCE / file).read_text(encoding="utf-8")
        assert name in {getattr(node, "name", "") for node in ast.parse(text).body}, f"{file} has no {name}"
        module = "embedstep." + file.removesuffix(".py").removesuffix("/__main__").replace("/", ".")
        assert not before or f"{name}(" in before or f'"{module}"' in before, f"nothing leads to {file}"
        before += text


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


@pytest.mark.parametrize("module", [name for name in NAMES if not name.endswith("__.py")])
def test_every_module_has_its_tests_under_its_own_name(module: str) -> None:
    folder, _, name = module.rpartition("/")
    assert (ROOT / "tests" / folder / f"test_{name}").exists()


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
        "embedstep.planning.checks", "embedstep.request.arguments.training_arguments",
    ],
)  # fmt: skip
def test_importing_loads_nothing_heavy(module: str) -> None:
    assert not loaded(f"import {module}") & set(HEAVY)


def test_the_package_by_itself_costs_nothing() -> None:
    found = loaded("import embedstep")
    assert "embedstep" in found
    assert not found & {"pydantic", "pyarrow", "yaml", "click", "numpy"}


def test_arguments_are_set_and_dumped_without_torch() -> None:
    found = loaded(
        "from embedstep import BatchSamplers, TrainingArguments\n"
        "given = TrainingArguments('out', batch_sampler=BatchSamplers.NO_DUPLICATES).set_training(batch_size=32)\n"
        "assert given.to_dict()['per_device_train_batch_size'] == given.train_batch_size == 32\n"
        "given.to_json_string(), given.to_sanitized_dict(), given.device, given.world_size"
    )
    assert "pydantic" in found
    assert not found & set(HEAVY)


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


@pytest.mark.parametrize("name", ["check", "plan"])
def test_the_command_line_loads_nothing_heavy(
    request_of: Callable[..., dict[str, Any]], tmp_path: Path, name: str
) -> None:
    request = tmp_path / "request.json"
    request.write_text(json.dumps(request_of()))
    found = loaded(
        "import sys\nfrom embedstep.cli.program import main\nmain(sys.argv[1:], standalone_mode=False)",
        name,
        str(request),
    )
    assert "click" in found
    assert not found & set(HEAVY)
