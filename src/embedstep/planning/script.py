"""A Python script as a syntax tree, with what each name in it is bound to. The script is parsed, never run."""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from embedstep.errors import InvalidRequestError

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_SCOPES = (ast.Module, ast.ClassDef, *_FUNCTIONS, *_COMPREHENSIONS)
_CONDITIONS: Mapping[type[ast.AST], tuple[str, ...]] = {
    ast.If: ("body", "orelse"),
    ast.For: ("body", "orelse"),
    ast.AsyncFor: ("body", "orelse"),
    ast.While: ("body", "orelse"),
    ast.Try: ("handlers",),
    ast.Match: ("cases",),
    ast.IfExp: ("body", "orelse"),
    ast.BoolOp: ("values",),
    ast.comprehension: ("ifs",),
}
"""Statements and expressions of which a part may run never, or several times, and the fields with that part."""
_IN_PLACE = {
    "update", "append", "extend", "insert", "pop", "popitem", "setdefault", "remove", "clear", "sort", "reverse", "add",
    "discard",
}  # fmt: skip
"""Methods by which a list, mapping or set changes."""


@dataclass(frozen=True, slots=True)
class Binding:
    """One place where a name gets a value.

    Attributes:
        node: the name, parameter, definition or import.
        value: the expression that it gets; a class or function itself; None where only a run gives it.
    """

    node: ast.AST
    value: ast.AST | None

    @property
    def line(self) -> int:
        """Line in the script, from 1."""
        return int(getattr(self.node, "lineno", 1))


@dataclass(frozen=True, slots=True)
class Script:
    """A parsed script.

    Attributes:
        tree: the whole syntax tree.
        parents: the parent of each node.
        bindings: by scope and name, every place where the name gets a value.
        changed: by scope and name, the lines where the value of the name is changed in place.
        originals: the imported name of each `import ... as` name.
    """

    tree: ast.Module
    parents: Mapping[ast.AST, ast.AST]
    bindings: Mapping[tuple[ast.AST, str], list[Binding]]
    changed: Mapping[tuple[ast.AST, str], list[int]]
    originals: Mapping[str, str]

    def scope_of(self, node: ast.AST) -> ast.AST:
        """Return the function, class, comprehension or module that a node is in."""
        return _scope_of(node, self.parents)

    def home_of(self, node: ast.AST, name: str) -> ast.AST | None:
        """Return the scope whose variable a name means at a node, or None if the script binds no such name."""
        scope: ast.AST | None = self.scope_of(node)
        is_first = True
        while scope is not None:
            # The names in the body of a class are not seen by its methods.
            if (scope, name) in self.bindings and (is_first or not isinstance(scope, ast.ClassDef)):
                return scope
            scope, is_first = None if scope is self.tree else self.scope_of(scope), False
        return None

    def bound(self, node: ast.AST, name: str) -> list[Binding]:
        """Return every binding of the variable that a name means at a node."""
        home = self.home_of(node, name)
        return [] if home is None else self.bindings[home, name]

    def changes(self, node: ast.AST, name: str) -> list[int]:
        """Return the lines that change, in place, the value of the variable that a name means at a node."""
        home = self.home_of(node, name)
        return [] if home is None else self.changed.get((home, name), [])

    def resolve(self, node: ast.AST) -> str:
        """Return the last part of a dotted name as it was before `import ... as`: `losses.CoSENTLoss` is CoSENTLoss."""
        if isinstance(node, ast.Attribute):
            return node.attr
        return self.originals.get(node.id, node.id) if isinstance(node, ast.Name) else ""

    def conditions(self, node: ast.AST) -> frozenset[tuple[ast.AST, str]]:
        """Return the branches and loops around a node, within its scope: where it runs not exactly once."""
        found, scope = set(), self.scope_of(node)
        while (parent := self.parents.get(node)) is not None and node is not scope:
            if not _is_main_guard(parent):
                found |= {(parent, name) for name in _CONDITIONS.get(type(parent), ()) if _is_in(parent, name, node)}
            node = parent
        return frozenset(found)

    def statement(self, node: ast.AST) -> ast.AST:
        """Return the statement that a node is part of."""
        while not isinstance(node, ast.stmt):
            node = self.parents[node]
        return node

    def calls(self) -> Iterator[ast.Call]:
        """Yield all calls in the order of the text."""
        found = [node for node in ast.walk(self.tree) if isinstance(node, ast.Call)]
        yield from sorted(found, key=position)


def position(node: ast.AST) -> tuple[int, int]:
    """Return line and column of a node, for order in the text."""
    return int(getattr(node, "lineno", 0)), int(getattr(node, "col_offset", 0))


def parse_script(text: str) -> Script:
    """Parse a script.

    Raises:
        InvalidRequestError: the text is not Python.
    """
    try:
        tree = ast.parse(text)
        parents = {child: parent for parent in ast.walk(tree) for child in ast.iter_child_nodes(parent)}
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InvalidRequestError.at("", f"is no Python: {error}") from None
    globals_ = {
        (_scope_of(node, parents), name)
        for node in ast.walk(tree)
        if isinstance(node, ast.Global | ast.Nonlocal)
        for name in node.names
    }
    bindings: dict[tuple[ast.AST, str], list[Binding]] = {}
    for node in ast.walk(tree):
        for name, value in _bound_by(node, parents):
            scope = _scope_of(node, parents)
            # A variable of an outer function is taken for one of the module: both then have two values.
            bindings.setdefault((tree if (scope, name) in globals_ else scope, name), []).append(Binding(node, value))
    script = Script(tree, parents, bindings, {}, _originals(tree))
    return Script(tree, parents, bindings, _changed(script), script.originals)


def _scope_of(node: ast.AST, parents: Mapping[ast.AST, ast.AST]) -> ast.AST:
    while (parent := parents.get(node)) is not None:
        if isinstance(parent, _SCOPES) and not _is_outside(parent, node):
            return parent
        node = parent
    return node


def _is_outside(scope: ast.AST, node: ast.AST) -> bool:
    """Whether a child of a definition belongs to the scope around it: a decorator, a base class."""
    return any(_is_in(scope, name, node) for name in ("decorator_list", "bases", "keywords"))


def _is_in(parent: ast.AST, name: str, node: ast.AST) -> bool:
    field = getattr(parent, name, None)
    return any(child is node for child in field) if isinstance(field, list) else field is node


def _is_main_guard(node: ast.AST) -> bool:
    """Whether a node is `if __name__ == "__main__":`, which holds when the script is run."""
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("__name__ == '__main__'", "'__main__' == __name__")


def _bound_by(node: ast.AST, parents: Mapping[ast.AST, ast.AST]) -> Iterator[tuple[str, ast.AST | None]]:
    """Yield the names that a node binds, each with its value where the text shows it."""
    match node:
        case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
            if not isinstance(parent := parents[node], ast.AnnAssign) or parent.value is not None:
                yield name, _assigned(node, parents)
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name, node
        case ast.arg(arg=name):
            yield name, None
        case ast.alias(name=name, asname=asname):
            yield asname or name.partition(".")[0], None
        case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
            yield name, None


def _assigned(node: ast.AST, parents: Mapping[ast.AST, ast.AST]) -> ast.AST | None:
    """Return the value that an assignment gives to one name, also of `a, b = 1, 2`."""
    match parents[node]:
        case ast.Assign(value=value) | ast.NamedExpr(value=value) | ast.AnnAssign(value=value):
            return value
        case ast.Tuple(elts=names) as pair:
            whole = parents[pair]
            if isinstance(whole, ast.Assign) and isinstance(whole.value, ast.Tuple):
                values = whole.value.elts
                if len(values) == len(names) and not any(isinstance(one, ast.Starred) for one in (*names, *values)):
                    return values[[one is node for one in names].index(True)]
    return None


def _originals(tree: ast.Module) -> dict[str, str]:
    return {
        alias.asname: alias.name.rpartition(".")[2]
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname
    }


def _changed(script: Script) -> dict[tuple[ast.AST, str], list[int]]:
    """Return the lines that change a value in place: an item, an attribute of a class, a method of a list."""
    found: dict[tuple[ast.AST, str], list[int]] = {}
    for node in ast.walk(script.tree):
        owner = _changed_owner(node)
        while isinstance(owner, ast.Subscript | ast.Attribute):
            owner = owner.value
        if isinstance(owner, ast.Name) and (home := script.home_of(owner, owner.id)) is not None:
            found.setdefault((home, owner.id), []).append(position(node)[0])
    return found


def _changed_owner(node: ast.AST) -> ast.AST | None:
    match node:
        case ast.Subscript(value=owner, ctx=ast.Store() | ast.Del()):
            return owner
        case ast.Attribute(value=owner, ctx=ast.Store() | ast.Del()):
            return owner
        case ast.Call(func=ast.Attribute(value=owner, attr=name)) if name in _IN_PLACE:
            return owner
        case ast.Call(func=ast.Name(id="setattr"), args=[owner, *_]):
            return owner
    return None
