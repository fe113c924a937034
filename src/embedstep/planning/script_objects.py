"""Where an object of a script is used: the variables that hold it, and the trainers that get it."""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from embedstep.planning.script import Binding, Script, position

Place = tuple[ast.AST | None, str]
"""A variable or attribute: the scope that binds its first name, and its text, such as `self.args`."""
TRAINER_PARAMETERS = ("model", "args", "train_dataset", "eval_dataset", "loss")
"""The first parameters of SentenceTransformerTrainer."""


@dataclass(frozen=True, slots=True)
class Uses:
    """An object and its uses.

    Attributes:
        call: the call that makes it.
        nodes: every expression that gives the object, with the number of functions that have returned it.
        origins: for each of them the expression that its variable was assigned.
        trainers: the trainers that get it.
        training_calls: their calls of `train`.
        replaced: later assignments of other values to a variable that holds it.
        is_shared: whether a function that makes it is called several times.
    """

    call: ast.Call
    nodes: tuple[tuple[ast.AST, int], ...]
    origins: Mapping[ast.AST, ast.AST]
    trainers: tuple[ast.Call, ...]
    training_calls: tuple[ast.Call, ...]
    replaced: tuple[Binding, ...]
    is_shared: bool

    def origin_of(self, node: ast.AST) -> ast.AST:
        """Return the expression that the variable at a node was assigned, or the call itself."""
        return self.origins.get(node, node)


def is_trainer(script: Script, call: ast.Call) -> bool:
    """Whether a call makes a trainer; a class of the script counts if it is named so."""
    return script.resolve(call.func).endswith("Trainer")


def trainer_value(call: ast.Call, name: str) -> ast.AST | None:
    """Return what a trainer gets for one of its first parameters, by name or by position."""
    by_name = next((word.value for word in call.keywords if word.arg == name), None)
    index = TRAINER_PARAMETERS.index(name)
    return by_name or (call.args[index] if index < len(call.args) else None)


def place_of(script: Script, node: ast.AST) -> Place | None:
    """Return the variable or attribute that an expression names; None for other expressions."""
    root = node
    while isinstance(root, ast.Attribute):
        root = root.value
    if not isinstance(root, ast.Name):
        return None
    home = script.home_of(root, root.id)
    if root.id == "self" and home is not None:
        home = script.scope_of(home)
    return home, ast.unparse(node)


def find_uses(script: Script, call: ast.Call) -> Uses:
    """Follow an object from the call that makes it: through variables, `return`, setters and trainers."""
    occurrences = _occurrences(script)
    hops: dict[ast.AST, int] = {}
    origins: dict[ast.AST, ast.AST] = {}
    trainers: dict[ast.Call, None] = {}
    places: dict[Place, ast.AST] = {}
    returned = 0
    queue: list[tuple[ast.AST, int, ast.AST | None]] = [(call, 0, None)]
    while queue:
        node, depth, origin = queue.pop(0)
        if node in hops:
            continue
        hops[node] = depth
        if origin is not None:
            origins[node] = origin
        for target in _targets(script, node):
            if (place := place_of(script, target)) is not None and place not in places:
                places[place] = node
                found = occurrences.get(place, ())
                queue += [(one, depth, node) for one in found if _holds(script, place, call, node, one)]
        callers = list(_callers(script, node))
        returned += max(0, len(callers) - 1)
        queue += [(one, depth + 1, None) for one in callers]
        if (chained := _chained(script, node)) is not None:
            queue.append((chained, depth, origin))
        if (trainer := _trainer_of(script, node)) is not None:
            trainers[trainer] = None
            for target in _targets(script, trainer):
                if (place := place_of(script, target)) is not None:
                    queue += [(one, depth, trainer) for one in occurrences.get((place[0], f"{place[1]}.args"), ())]
    ordered = tuple(sorted(trainers, key=position))
    return Uses(
        call,
        tuple(hops.items()),
        origins,
        ordered,
        tuple(_training_calls(script, ordered)),
        tuple(_replaced(script, places, hops, call)),
        returned > 0,
    )


def _holds(script: Script, place: Place, call: ast.Call, node: ast.AST, use: ast.AST) -> bool:
    """Whether a variable may hold the object when it is used: after its assignment, before that of another call."""
    if script.scope_of(use) is not script.scope_of(node):
        return True
    home, name = place
    for binding in script.bindings.get((home, name), ()) if home is not None else ():
        is_between = position(node) < position(binding.node) < position(use)
        is_sure = script.conditions(binding.node) <= script.conditions(node)
        if is_between and is_sure and _is_same_class(script, binding.value, call):
            return False
    return position(use) > position(node)


def _is_same_class(script: Script, value: ast.AST | None, call: ast.Call) -> bool:
    """Whether a value is another call of the class that a call is of."""
    return isinstance(value, ast.Call) and value is not call and script.resolve(value.func) == script.resolve(call.func)


def _occurrences(script: Script) -> dict[Place, list[ast.AST]]:
    found: dict[Place, list[ast.AST]] = {}
    for node in ast.walk(script.tree):
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load):
            place = place_of(script, node)
            if place is not None:
                found.setdefault(place, []).append(node)
    return found


def _targets(script: Script, node: ast.AST) -> Iterator[ast.AST]:
    """Yield what an expression is assigned to."""
    match script.parents[node]:
        case ast.Assign(targets=targets, value=value) if value is node:
            yield from targets
        case ast.AnnAssign(target=target, value=value) | ast.NamedExpr(target=target, value=value) if value is node:
            yield target


def _callers(script: Script, node: ast.AST) -> Iterator[ast.Call]:
    """Yield the calls of the function that returns a node."""
    if not isinstance(script.parents[node], ast.Return):
        return
    function = script.scope_of(node)
    for call in script.calls():
        if isinstance(call.func, ast.Name) and any(one.value is function for one in script.bound(call, call.func.id)):
            yield call


def _chained(script: Script, node: ast.AST) -> ast.AST | None:
    """Return the call of a setter on a node, which returns the object; or the assignment expression around it."""
    parent = script.parents[node]
    around = script.parents.get(parent)
    is_setter = isinstance(parent, ast.Attribute) and parent.attr.startswith("set_")
    if is_setter and isinstance(around, ast.Call) and around.func is parent:
        return around
    return parent if isinstance(parent, ast.NamedExpr) else None


def _trainer_of(script: Script, node: ast.AST) -> ast.Call | None:
    """Return the trainer that gets a node as its arguments."""
    parent = script.parents[node]
    call = script.parents[parent] if isinstance(parent, ast.keyword) else parent
    if isinstance(call, ast.Call) and is_trainer(script, call) and trainer_value(call, "args") is node:
        return call
    return None


def _training_calls(script: Script, trainers: tuple[ast.Call, ...]) -> Iterator[ast.Call]:
    places = {place_of(script, target) for trainer in trainers for target in _targets(script, trainer)}
    for call in script.calls():
        if isinstance(call.func, ast.Attribute) and call.func.attr == "train":
            owner = call.func.value
            if owner in trainers or place_of(script, owner) in places - {None}:
                yield call


def _replaced(
    script: Script, places: Mapping[Place, ast.AST], known: Mapping[ast.AST, int], call: ast.Call
) -> Iterator[Binding]:
    """Yield later assignments of something else; another call of the same class is the choice of the caller."""
    for (home, name), node in places.items():
        for binding in script.bindings.get((home, name), ()) if home is not None else ():
            is_known = binding.value in known or _is_same_class(script, binding.value, call)
            if not is_known and position(binding.node) > position(node):
                yield binding
