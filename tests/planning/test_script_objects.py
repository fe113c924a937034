import ast

import pytest

from embedstep.planning.script import parse_script
from embedstep.planning.script_objects import find_uses, trainer_value


@pytest.mark.parametrize(
    ("script", "lines", "is_shared"),
    [
        ("a = Args()\nuse(a)\n", [1, 2], False),
        ("a = Args()\nb = a\nuse(b)\n", [1, 2, 3], False),
        ("use(a)\na = Args()\n", [2], False),
        ("a = Args()\nuse(a)\na = Args()\nuse(a)\n", [1, 2], False),
        ("def f():\n    return Args()\na = f()\nuse(a)\n", [2, 3, 4], False),
        ("def f():\n    return Args()\na = f()\nb = f()\n", [2, 3, 4], True),
        ("a = Args()\ndef f():\n    a = 1\n    use(a)\n", [1], False),
        ("a = Args()\ndef f():\n    use(a)\n", [1, 3], False),
    ],
)
def test_an_object_is_followed_through_variables_and_functions(script: str, lines: list[int], is_shared: bool) -> None:
    parsed = parse_script(script)
    first = next(call for call in parsed.calls() if parsed.resolve(call.func) == "Args")
    uses = find_uses(parsed, first)
    assert sorted({node.lineno for node, _ in uses.nodes if isinstance(node, ast.expr)}) == lines
    assert uses.is_shared is is_shared


def test_trainers_and_their_training_are_found() -> None:
    parsed = parse_script("a = Args()\nt = MyTrainer(model, a)\nother = Trainer(args=b)\nt.train()\nmodel.train()\n")
    uses = find_uses(parsed, next(parsed.calls()))
    assert [call.lineno for call in uses.trainers] == [2]
    assert [call.lineno for call in uses.training_calls] == [4]
    model = trainer_value(uses.trainers[0], "model")
    assert model is not None
    assert ast.unparse(model) == "model"
    assert trainer_value(uses.trainers[0], "loss") is None


def test_a_later_assignment_of_something_else_is_found() -> None:
    parsed = parse_script("a = None\na = Args()\na = change(a)\n")
    assert [one.line for one in find_uses(parsed, next(parsed.calls())).replaced] == [3]
