import ast

import pytest

from embedstep.errors import InvalidRequestError
from embedstep.planning.script import Script, parse_script

SCRIPT = """import torch.nn
from library import Name as Other
size = 16
def main(given):
    global size
    size = 8
    local = given
    if local:
        once = 1
    with open(local) as file:
        surely = 1
if __name__ == "__main__":
    guarded = [size for size in range(3)]
items = []
items.append(1)
main.limit = 2
"""


@pytest.fixture
def script() -> Script:
    return parse_script(SCRIPT)


def name_node(script: Script, name: str) -> ast.AST:
    """First use of a name in the script."""
    return next(node for node in ast.walk(script.tree) if isinstance(node, ast.Name) and node.id == name)


@pytest.mark.parametrize(
    ("at", "name", "lines"),
    [
        ("items", "size", [3, 6]),
        ("items", "main", [4]),
        ("items", "given", []),
        ("local", "given", [4]),
        ("local", "local", [7]),
        ("items", "torch", [1]),
        ("items", "Other", [2]),
        ("items", "local", []),
    ],
)
def test_a_name_is_looked_up_in_its_scopes(script: Script, at: str, name: str, lines: list[int]) -> None:
    assert sorted(binding.line for binding in script.bound(name_node(script, at), name)) == lines


@pytest.mark.parametrize(("name", "lines"), [("items", [15]), ("main", [16]), ("size", [])])
def test_changes_in_place_are_found(script: Script, name: str, lines: list[int]) -> None:
    assert script.changes(name_node(script, "items"), name) == lines


@pytest.mark.parametrize(("name", "count"), [("once", 1), ("surely", 0), ("guarded", 0), ("local", 0)])
def test_what_may_not_run_has_conditions(script: Script, name: str, count: int) -> None:
    assert len(script.conditions(name_node(script, name))) == count


def test_a_name_is_that_before_the_import(script: Script) -> None:
    assert script.resolve(ast.parse("Other").body[0].value) == "Name"  # type: ignore[attr-defined]
    assert script.resolve(ast.parse("a.b.Name").body[0].value) == "Name"  # type: ignore[attr-defined]
    assert script.resolve(ast.parse("f()").body[0].value) == ""  # type: ignore[attr-defined]


def test_what_is_no_python_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match=r"is no Python: '\(' was never closed"):
        parse_script("train(")
