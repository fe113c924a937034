"""Follows the features of a text through a list of modules: what each gets, what it gives, and what is wrong there."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from embedstep.data.hub import local_model
from embedstep.data.model_facts import ModelFacts
from embedstep.data.parameters import with_prefix
from embedstep.errors import Problem
from embedstep.planning.module_files import Found, read_weights
from embedstep.planning.modules import (
    MODULES,
    ROUTES,
    SENTENCE,
    TEXTS,
    Feature,
    Features,
    ModuleKind,
    Sizes,
    find_module,
)
from embedstep.request.extensions import is_reference
from embedstep.request.model import Model, Module
from embedstep.request.options import all_values

_Read = TypeVar("_Read")
_ROUTER = "router"
_UNKNOWN = Features(kind=None)
_FIRST = " or ".join(name for name, row in MODULES.items() if row.takes == (TEXTS,))


@dataclass(frozen=True, kw_only=True, slots=True)
class Built:
    """What a list of modules makes.

    Attributes:
        problems: what is wrong with it.
        classes: class of each module; those of a router's routes follow it.
        features: what the last module gives.
        sizes: number of values of each parameter by its name in training; None where they are not known.
        frozen: names of parameters that do not train whatever the request freezes.
        pooling: pooling modes, joined by `+`.
        facts: what the files of its only transformer say; None without one.
        transformers: number of transformers.
        has_limit: whether texts can be cut to a number of tokens.
    """

    problems: tuple[Problem, ...] = ()
    classes: tuple[str, ...] = ()
    features: Features = field(default_factory=Features)
    sizes: Sizes | None = None
    frozen: frozenset[str] = frozenset()
    pooling: str = ""
    facts: ModelFacts | None = None
    transformers: int = 0
    has_limit: bool = True


def follow_modules(model: Model, fetched: str | None = None) -> Built:
    """Follow the features of a text through the modules of a request.

    Args:
        model: section of the request, with modules.
        fetched: folder of the model of `path`, if it was fetched from the hub.
    """
    walk = _Walk(model, fetched)
    features = walk.follow(model.modules or (), "model.modules", "")
    problems = [*walk.problems]
    if features.kind not in (None, SENTENCE):
        problems.append(Problem("model.modules", f"ends with {features.kind}; add pooling, which makes one of them"))
    if model.path and not walk.uses_path and not walk.is_partial:
        problems.append(
            Problem("model.path", f"is read by no module; one without a path of its own reads it: {_FIRST}")
        )
    return Built(
        problems=tuple(problems),
        classes=tuple(walk.classes),
        features=features,
        sizes=None if walk.is_open else walk.sizes,
        frozen=frozenset(walk.frozen),
        pooling=walk.pooling,
        facts=walk.facts[0] if len(walk.facts) == 1 else None,
        transformers=walk.transformers,
        has_limit=walk.has_limit,
    )


class _Walk:
    """The modules met so far, in the order of the request."""

    def __init__(self, model: Model, fetched: str | None) -> None:
        self._model = model
        self._base = local_model(model, fetched)
        self.uses_path = False
        self.is_open = False  # whether some parameters are not known
        self.is_partial = False  # whether some modules are not known
        self.has_limit = False
        self.problems: list[Problem] = []
        self.classes: list[str] = []
        self.sizes: dict[str, int | None] = {}
        self.frozen: list[str] = []
        self.facts: list[ModelFacts] = []
        self.transformers = 0
        self.pooling = ""

    def follow(self, modules: Sequence[Module], path: str, prefix: str) -> Features:
        """Return what the last module gives.

        Args:
            modules: the list.
            path: its path in the request.
            prefix: begin of the names of its parameters in training.
        """
        features = Features()
        for place, module in enumerate(modules):
            features = self._step(module, features, f"{path}.{place}", f"{prefix}{place}.", is_first=place == 0)
        return features

    def _step(self, module: Module, before: Features, path: str, prefix: str, *, is_first: bool) -> Features:
        kind = find_module(module.kind)
        if isinstance(kind, str):
            return self._unknown(Problem(f"{path}.kind", kind))
        self.classes.append(kind.class_name)
        takes = kind.taken({name: option.default for name, option in kind.options.items()} | dict(module.options))
        misplaced = _misplaced(kind, takes, before)
        if misplaced:
            self.problems.append(Problem(path, misplaced))
            if before.kind == TEXTS:
                before = Features(kind=takes[0])  # so that the modules after it are not reported for it, too
        if found := list(kind.check(module.options, path)):
            self._unknown(*found)
            return Features(kind=kind.gives or before.kind, traits=kind.traits or before.traits)
        if (module.routes is None) == (kind.name == _ROUTER):
            needed = f"is missing: router needs a list of modules for each of {' and '.join(ROUTES)}"
            return self._unknown(Problem(f"{path}.routes", needed if kind.name == _ROUTER else "is for a router alone"))
        self.has_limit |= is_first and kind.has_limit
        if module.routes is not None:
            return self._routed(module.routes, f"{path}.routes", prefix)
        values = all_values(kind.options, module.options)
        self._check_width(kind, values, before, path)
        if not misplaced and (message := kind.requires(values, before)):
            self.problems.append(Problem(path, f"{kind.name} {message}"))
        files = self._read(kind, values, path)
        self._count(kind, values, before, files, prefix)
        if kind.name == "pooling":
            self._pool(values["pooling_mode"], "pooling_mode" in module.options, path)
        return kind.after(values, before, files)

    def _unknown(self, *problems: Problem) -> Features:
        self.problems += problems
        self.is_open = self.is_partial = True
        return _UNKNOWN

    def _routed(self, routes: Mapping[str, Sequence[Module]], path: str, prefix: str) -> Features:
        if set(routes) != set(ROUTES) or not all(routes.values()):
            message = (
                f"has {', '.join(routes) or 'none'}; router needs a list of modules for each of {' and '.join(ROUTES)}"
            )
            return self._unknown(Problem(path, message))
        ends = [self.follow(routes[name], f"{path}.{name}", f"{prefix}sub_modules.{name}.") for name in ROUTES]
        for name in ("kind", "width"):
            one, other = (getattr(end, name) for end in ends)
            if None not in (one, other) and one != other:
                unit = " dimensions" if name == "width" else ""
                message = f"end apart: query gives {one}{unit}, and document {other}{unit}"
                self.problems.append(Problem(path, message))
        return Features(kind=ends[0].kind or ends[1].kind, width=ends[0].width or ends[1].width)

    def _pool(self, modes: str | list[str], is_asked: bool, path: str) -> None:
        """Record the pooling; the mean is not taken of tokens that are known to be pooled in another way."""
        self.pooling = modes if isinstance(modes, str) else "+".join(modes)
        transformer = self.facts[-1] if self.facts else ModelFacts()
        reason = ""
        if transformer.pooling not in ("", self.pooling):
            reason = f"the transformer was saved with {transformer.pooling}"
        elif transformer.is_causal and not transformer.pooling:
            reason = f"{transformer.architecture} is a decoder, which is usually pooled by lasttoken"
        if reason and not is_asked:
            message = f"is missing: without it, pooling takes the mean, and {reason}"
            self.problems.append(Problem(f"{path}.options.pooling_mode", message))

    def _check_width(self, kind: ModuleKind, values: Mapping[str, Any], before: Features, path: str) -> None:
        given = values.get(kind.input_width) if kind.input_width else None
        if given is not None and before.width is not None and given != before.width:
            message = f"is {given}, and the modules before it give {before.width} dimensions; leave it out"
            self.problems.append(Problem(f"{path}.options.{kind.input_width}", message))

    def _read(self, kind: ModuleKind, values: Mapping[str, Any], path: str) -> Found | None:
        """Return what the files of a module say; None for a module without files."""
        for name, option in kind.options.items():
            if option.kind == "weights":
                self._reading(partial(read_weights, values[name]), f"{path}.options.{name}")
        if kind.read is None:
            return None
        own = values.get("path")
        field = f"{path}.options.{'path' if 'path' in kind.options else 'vocab'}"
        source = Path(own).expanduser() if own is not None else self._base
        if "path" in kind.options and own is None:
            if self._model.path is None:
                self.problems.append(Problem(field, f"is missing: {kind.name} needs a folder or file"))
                return Found()
            self.uses_path, field = True, "model.path"
        found = self._reading(partial(kind.read, values, source), field) or Found()
        if kind.name == "transformer":
            self.transformers += 1
        if found.layers is not None and self._model.layers is not None:
            found = replace(found, layers=len(self._model.layers.keep))
        if found.facts is not None:
            self.facts.append(found.facts)
            limit, longest = values["max_seq_length"], found.facts.max_tokens
            if limit is not None and longest is not None and limit > longest:
                message = f"is {limit}, and the model has positions for {longest} tokens"
                self.problems.append(Problem(f"{path}.options.max_seq_length", message))
        return found

    def _reading(self, read: Callable[[], _Read], field: str) -> _Read | None:
        try:
            return read()
        except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
            self.problems.append(Problem(field, str(error)))
            return None

    def _count(
        self, kind: ModuleKind, values: Mapping[str, Any], before: Features, found: Found | None, prefix: str
    ) -> None:
        is_own = is_reference(kind.class_name)
        sizes = found.parameters if found is not None else kind.parameters(values, before)
        if sizes is None or (is_own and not sizes):
            self.is_open = True
            return
        named = with_prefix(prefix, sizes)
        self.sizes |= named
        if kind.trains and not values[kind.trains]:
            self.frozen += named


def _misplaced(kind: ModuleKind, takes: tuple[Feature, ...], before: Features) -> str:
    """Say that a module does not find what it works on; empty where it does."""
    if before.kind is None or before.kind in takes:
        return ""
    needed = " or ".join(takes)
    if before.kind == TEXTS:
        return f"{kind.name} takes {needed}, and is first, where texts come in; begin with {_FIRST}"
    place = f"takes {needed}, and can only be first;" if takes == (TEXTS,) else f"takes {needed}, and"
    return f"{kind.name} {place} the modules before it give {before.kind}"


def built_facts(model: Model, saved: ModelFacts | None, built: Built) -> ModelFacts:
    """Return the facts of a model that is built of modules.

    Args:
        model: section of the request.
        saved: what the files of `path` say.
        built: its modules.
    """
    facts = built.facts or ModelFacts()
    own = saved or ModelFacts()
    return replace(
        facts,
        family=own.family,
        modules=built.classes,
        dtype=facts.dtype or own.dtype,
        parameters=None,
        pooling=built.pooling,
        is_bare=False,
        dimension=built.features.width,
        routes=ROUTES if MODULES[_ROUTER].class_name in built.classes else (),
        prompts=own.prompts,
        default_prompt_name=own.default_prompt_name,
        similarity=own.similarity,
    )
