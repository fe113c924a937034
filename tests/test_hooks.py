"""The table of hooks against the installed libraries and the code: each hook exists, and no use is missing."""

import ast
import importlib
import inspect
import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from tests.hooks import HOOKS, TESTED, Hook, owner_of, problem_of, signature_of
from tests.places import ROOT

SOURCE = ROOT / "src" / "embedstep"
FILES = {str(path.relative_to(SOURCE)): path for path in sorted(SOURCE.rglob("*.py"))}
ELSEWHERE = "airflow"  # installed in an environment of its own; tests/orchestration/airflow compares its rows there
MEANT_TO_BE_EXTENDED = {"TrainerCallback", "BaseMaterializer", "torch.utils.data.Dataset[Any]", "BaseOperator"}
"""Classes whose documentation says which methods a subclass writes."""
DOCUMENTED = {"os._exit"}
OF_PYTHON = {"atexit._run_exitfuncs"}
"""Names of the standard library that have no public form; a test of `runtime/exit.py` calls each."""
NOT_LIBRARIES = ("typing", "pydantic")
"""Modules whose classes make types of data: a subclass has no code of theirs."""

HERE = [hook for hook in HOOKS if not hook.owner.startswith(ELSEWHERE)]


def named(hook: Hook) -> str:
    return f"{hook.owner}.{hook.name}"


@pytest.mark.parametrize("hook", HERE, ids=named)
def test_a_hook_is_as_it_was_tested(hook: Hook) -> None:
    assert problem_of(hook) == ""


@pytest.mark.parametrize("hook", HOOKS, ids=named)
def test_the_table_holds_no_hook_without_a_use(hook: Hook) -> None:
    name = re.compile(rf"(?<!\w){re.escape(hook.name)}")
    assert any(name.search(path.read_text(encoding="utf-8")) for path in FILES.values())
    assert hook.reason
    assert hook.library in TESTED


def test_a_hook_that_changes_is_named() -> None:
    def row(name: str, signature: str | None) -> Hook:
        return Hook(library="python", owner="json:JSONEncoder", name=name, signature=signature, reason="a test")

    assert problem_of(row("encode", "(self, o)")) == problem_of(row("skipkeys", None)) == ""
    assert problem_of(row("encode", "(self)")) == "json:JSONEncoder.encode is now (self, o)"
    assert problem_of(row("_encode", "(self, o)")) == "json:JSONEncoder._encode is gone"
    assert problem_of(row("_skip", None)) == "json:JSONEncoder no longer has _skip"


def test_a_signature_is_compared_without_types() -> None:
    def function(one: int, *, two: "str | None" = None) -> None: ...

    assert signature_of(function) == "(one, *, two=None)"


# Which uses there are.


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name != "_"


def own_names(tree: ast.AST) -> Iterator[str]:
    """Private names that a module defines."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.Name(id=name, ctx=ast.Store()):
                yield name
            case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name, ctx=ast.Store()):
                yield name


def foreign_private_names(tree: ast.AST, own: set[str]) -> Iterator[str]:
    """Private names that a module imports, reads or writes, and that are not defined in the project."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names if any(map(is_private, alias.name.split("."))))
            case ast.ImportFrom(module=str(module), names=names) if not module.startswith("embedstep"):
                yield from (part for part in module.split(".") if is_private(part))
                yield from (alias.name for alias in names if is_private(alias.name))
            case ast.Attribute(value=value, attr=name) if is_private(name):
                is_defined_here = name in own and ast.unparse(value) != "super()"
                if not is_defined_here and ast.unparse(node) not in DOCUMENTED | OF_PYTHON:
                    yield name
            case ast.Call(
                func=ast.Name(id="getattr" | "setattr" | "hasattr" | "delattr"),
                args=[_, ast.Constant(value=str(name)), *_],
            ) if is_private(name) and name not in own:
                yield name


TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in FILES.items()}
OWN = {name for tree in TREES.values() for name in own_names(tree)}


def test_every_kind_of_private_use_is_seen() -> None:
    code = """
import a._b
from c import _d, e
from f._g import h
from embedstep.x import _y
class K(e):
    def _mine(self):
        self._kept = 1
        return self._theirs + self._kept + super()._mine() + getattr(e, "_asked") + h._held
os._exit(1)
"""
    tree = ast.parse(code)
    found = sorted(foreign_private_names(tree, set(own_names(tree))))
    assert found == ["_asked", "_d", "_g", "_held", "_mine", "_theirs", "a._b"]


@pytest.mark.parametrize("name", FILES)
def test_private_names_of_others_stand_in_the_table(name: str) -> None:
    assert set(foreign_private_names(TREES[name], OWN)) - {hook.name for hook in HOOKS} == set()


def library_bases(name: str, base: str) -> list[str]:
    """Base classes of other libraries as `module:Class`, those of our own bases included."""
    for node in ast.walk(TREES[name]):
        match node:
            case ast.ImportFrom(module=str(module), names=names) if base in {one.asname or one.name for one in names}:
                if not module.startswith("embedstep."):
                    return [f"{module}:{base}"]
                return subclass_bases(module.removeprefix("embedstep.").replace(".", "/") + ".py", base)
    return subclass_bases(name, base)


def subclass_bases(name: str, class_name: str) -> list[str]:
    classes = [node for node in TREES[name].body if isinstance(node, ast.ClassDef) and node.name == class_name]
    bases = [ast.unparse(base) for node in classes for base in node.bases]
    return [found for base in bases if base not in MEANT_TO_BE_EXTENDED for found in library_bases(name, base)]


SUBCLASSES = [
    (name, node)
    for name, tree in TREES.items()
    for node in tree.body
    if isinstance(node, ast.ClassDef)
    and any(not base.startswith(NOT_LIBRARIES) for base in subclass_bases(name, node.name))
]


def names_of_class(node: ast.ClassDef) -> set[str]:
    """Methods that a class defines, and private names that it reads or writes on itself."""
    methods = {item.name for item in node.body if isinstance(item, ast.FunctionDef) and not item.name.startswith("__")}
    attributes = {
        item.attr
        for item in ast.walk(node)
        if isinstance(item, ast.Attribute)
        and is_private(item.attr)
        and isinstance(item.value, ast.Name)
        and item.value.id == "self"
    }
    return methods | attributes


def is_of_library(library: type[Any], name: str) -> bool:
    """Whether a class of a library, or one of its bases, defines a method or an attribute of this name."""
    if hasattr(library, name):
        return True
    written = re.compile(rf"self\.{name}\b")
    return any(written.search(inspect.getsource(one)) for one in library.__mro__ if one.__module__ != "builtins")


@pytest.mark.parametrize(("name", "node"), SUBCLASSES, ids=lambda value: getattr(value, "name", value))
def test_what_a_subclass_shares_with_its_library_stands_in_the_table(name: str, node: ast.ClassDef) -> None:
    """Also a name of ours that the library happens to use for something else."""
    for base in subclass_bases(name, node.name):
        module, _, class_name = base.partition(":")
        if module.startswith(ELSEWHERE):
            rows = {hook.name for hook in HOOKS if hook.owner.startswith(ELSEWHERE)}
            public = {one for one in names_of_class(node) if not is_private(one)}
            assert public <= rows
            continue
        library = getattr(importlib.import_module(module), class_name)
        rows = {hook.name for hook in HERE if ":" in hook.owner and owner_of(hook) in library.__mro__}
        assert {one for one in names_of_class(node) if is_of_library(library, one)} - rows == set()


# Which releases are admitted.


def requirements() -> dict[str, Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lists = [
        project["dependencies"],
        *(group for name, group in project["optional-dependencies"].items() if name != "dev"),
    ]
    every = [Requirement(text) for group in lists for text in group]
    return {one.name: one for one in every if one.name != "embedstep"}


def constraints() -> dict[str, set[str]]:
    """Exact releases by library; Airflow is in an environment of its own, with other releases of some."""
    found: dict[str, set[str]] = {}
    for name in ("constraints.txt", "constraints-airflow.txt"):
        lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
        for library, release in (line.split("==") for line in lines if "==" in line):
            found.setdefault(library.lower().replace("_", "-"), set()).add(release)
    return found


@pytest.mark.parametrize("name", requirements())
def test_the_tested_releases_are_admitted_and_the_next_major_one_is_not(name: str) -> None:
    specifier = requirements()[name].specifier
    releases = constraints()[name]
    assert all(map(specifier.contains, releases))
    assert not specifier.contains(f"{max(int(release.partition('.')[0]) for release in releases) + 1}.0")


@pytest.mark.parametrize("library", TESTED)
def test_a_library_with_hooks_is_bounded_by_the_release_tested(library: str) -> None:
    assert constraints()[library] == {TESTED[library]}
    major, minor = map(int, TESTED[library].split(".")[:2])
    specifier = requirements()[library].specifier
    assert specifier.contains(f"{major}.{minor}.99")
    assert not specifier.contains(f"{major}.{minor + 1}.0")


@pytest.mark.parametrize("library", [name for name in TESTED if not name.startswith("apache-airflow")])
def test_the_installed_release_is_the_tested_one(library: str) -> None:
    assert version(library).partition("+")[0] == TESTED[library]


def test_the_files_are_found() -> None:
    assert Path("worker/trainer/trainer.py").as_posix() in FILES
    assert {node.name for _, node in SUBCLASSES} >= {"ResumableTrainer", "StepTrainer", "EmbedstepPodOperator"}
