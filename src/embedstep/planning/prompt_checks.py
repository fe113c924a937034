"""Prompts and routes for what is not there, prompts that contradict each other, and what a plan says of them."""

from collections.abc import Iterable, Iterator, Mapping

from embedstep.data.model_facts import ModelFacts
from embedstep.errors import Problem, suggest
from embedstep.planning.prompts import (
    DOCUMENT,
    NAMES,
    QUERY,
    ByColumn,
    PlannedPrompts,
    asked_name,
    own_prompts,
    text_columns,
    trained_sides,
)
from embedstep.request.model import Model
from embedstep.request.schema import TrainRequest
from embedstep.runtime.text import shorten

_PLURAL = {QUERY: "queries", DOCUMENT: "documents"}
_SHOWN = 60
"""Characters of a prompt in a sentence."""
_MOST = 3
"""Names in a sentence, of which there may be hundreds."""


def check_prompts(request: TrainRequest) -> Iterator[Problem]:
    """Yield every problem of prompts and routes, apart from the model's files."""
    for argument in ("prompts", "router_mapping"):
        yield from _keys_are_known(request, argument)
    yield from _prompts_are_on(request)
    yield from _prompts_agree(request)


def _keys_are_known(request: TrainRequest, argument: str) -> Iterator[Problem]:
    """Keys are roles, source columns or datasets; any other key would silently do nothing."""
    given: ByColumn = getattr(request.arguments, argument)
    if not isinstance(given, Mapping):
        return
    columns = {name: _names(request, name) for name in (*request.data.train, *request.data.eval)}
    known = {*columns, *(name for names in columns.values() for name in names)}
    for key, value in given.items():
        place = f"arguments.{argument}.{key}"
        if key not in known:
            yield Problem(place, f"is neither a role, a column nor a dataset; known are {_listed(known)}")
        elif isinstance(value, Mapping) and key in columns:
            for name in sorted(value.keys() - columns[key]):
                yield Problem(f"{place}.{name}", f"is neither a role nor a column; known are {_listed(columns[key])}")
        elif isinstance(value, Mapping):
            yield Problem(place, f"has keys of its own, and is a column; datasets are {_listed(columns)}")
    for name in columns:
        yield from _names_agree(request, argument, name)


def _names(request: TrainRequest, dataset: str) -> set[str]:
    return {name for column in text_columns(request, dataset).values() for name in column.all}


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def _names_agree(request: TrainRequest, argument: str, dataset: str) -> Iterator[Problem]:
    """A column may be named by its role and in the source, but with one value."""
    given: ByColumn = getattr(request.arguments, argument)
    if isinstance(given, Mapping) and isinstance(given.get(dataset), Mapping):
        given = given[dataset]
    texts = {name: text for name, text in given.items() if isinstance(text, str)} if isinstance(given, Mapping) else {}
    for column in text_columns(request, dataset).values():
        named = [*[name for name in column.by_role if name in texts][:1], *column.in_source]
        values = {name: texts[name] for name in named if name in texts}
        if len(set(values.values())) > 1:
            listed = " and ".join(values)
            yield Problem(f"arguments.{argument}", f"names one column twice, as {listed}; keep one")


def _prompts_are_on(request: TrainRequest) -> Iterator[Problem]:
    model = request.model
    named = [f"model.prompts.{name}" for names in NAMES.values() for name in names if model.prompts.get(name)]
    named += ["model.default_prompt_name"] if model.default_prompt_name else []
    named += ["arguments.prompts"] if request.arguments.prompts else []
    if named and not model.use_prompts:
        yield Problem("model.use_prompts", f"is false, and {named[0]} is given; keep one of the two")


def _prompts_agree(request: TrainRequest) -> Iterator[Problem]:
    """The prompt that a model is saved with is one that it is trained with."""
    for side in NAMES if request.model.use_prompts else ():
        name, trained = asked_name(request.model, side), trained_sides(request, None, side)
        asked = request.model.prompts.get(name or "")
        if name and trained and asked not in trained.values():
            message = f"is {_shown(asked)}, and arguments.prompts has {_with_columns(trained)}"
            yield Problem(f"model.prompts.{name}", f"{message}; keep one of the two")


def prompts_are_named(request: TrainRequest, facts: ModelFacts | None) -> Iterator[Problem]:
    """Each prompt that is used by its name is a prompt of the model.

    Args:
        request: the request.
        facts: what the model's files say; None for a new model.
    """
    known = {**(facts.prompts if facts is not None else {}), **request.model.prompts}
    used = {"model.default_prompt_name": request.model.default_prompt_name}
    for index, evaluator in enumerate(request.evaluators):
        for option in ("query_prompt_name", "corpus_prompt_name"):
            name = evaluator.options.get(option)
            # Every model has these two, empty unless they are given.
            used[f"evaluators.{index}.options.{option}"] = None if name in NAMES else name
    for place, name in used.items():
        if isinstance(name, str) and name not in known:
            hint = suggest(name, known) or f"; known are {', '.join(known) or 'none'}"
            yield Problem(place, f"{name!r} is not a prompt of the model{hint}")


def routes_are_named(request: TrainRequest, facts: ModelFacts) -> Iterator[Problem]:
    """A model with routes is trained only if columns have some, and only on those that it has."""
    given = request.arguments.router_mapping
    if "Router" in facts.modules and not given:
        message = "is empty, and the model has a route for each kind of text; write {anchor: query, positive: document}"
        yield Problem("arguments.router_mapping", message)
    for key, value in given.items() if facts.routes else ():
        named = value if isinstance(value, Mapping) else {"": value}
        for column, route in named.items():
            if route not in facts.routes:
                place = ".".join(filter(None, ("arguments.router_mapping", key, column)))
                hint = suggest(route, facts.routes) or f"; known are {', '.join(facts.routes)}"
                yield Problem(place, f"{route!r} is not a route of the model{hint}")


def explain_prompts(request: TrainRequest, facts: ModelFacts | None, prompts: PlannedPrompts) -> Iterator[str]:
    """Yield what is valid and may surprise, a sentence each.

    Args:
        request: the request.
        facts: what the model's files say.
        prompts: the prompts of the run.
    """
    yield from _explain_own(request.model, facts, prompts)
    for side, saved in zip(NAMES, (prompts.query, prompts.document), strict=True):
        trained = trained_sides(request, facts, side) if prompts.columns else {}
        if len(set(trained.values())) > 1:
            yield (
                f"{_PLURAL[side]} are trained with several prompts ({_with_columns(trained)}), and a saved model has "
                f"one: {_shown(saved)}; model.prompts.{side} chooses another"
            )
    is_own = facts is not None and facts.default_prompt_name == prompts.default
    if prompts.query and prompts.query == prompts.document and request.model.default_prompt_name is None and not is_own:
        yield "all texts are trained with one prompt, which encode of the saved model uses by default"
    yield from _explain_evaluators(request, prompts)
    yield from _explain_unused(request, prompts)


def _explain_own(model: Model, facts: ModelFacts | None, prompts: PlannedPrompts) -> Iterator[str]:
    """Yield what becomes of the prompts that the model came with."""
    own = {side: text for side, text in zip(NAMES, own_prompts(facts), strict=True) if text}
    saved = {QUERY: prompts.query, DOCUMENT: prompts.document}
    if own and not model.use_prompts:
        yield f"neither training nor evaluation uses the model's own prompts ({_by_side(own)}), and they are not saved"
        return
    kept = {side: text for side, text in own.items() if text == saved[side] and asked_name(model, side) is None}
    if kept:
        yield (
            f"training and evaluation use the model's own prompts ({_by_side(kept)}); model.use_prompts: false leaves "
            "them out, also of the saved model"
        )
    for side, text in own.items():
        if text != saved[side]:
            yield f"the model's own prompt for {_PLURAL[side]} is replaced: {_shown(text)} by {_shown(saved[side])}"
    if facts is not None and facts.prompts and not own and not any(saved.values()):
        names = ", ".join(facts.prompts)
        yield f"the model has prompts ({names}), and none for queries or documents; model.prompts.query sets one"


def _explain_evaluators(request: TrainRequest, prompts: PlannedPrompts) -> Iterator[str]:
    for evaluator in request.evaluators:
        query, document = prompts.evaluation.get(evaluator.dataset or "", (prompts.query, prompts.document))
        place = f"evaluator {evaluator.name}"
        if evaluator.kind in ("paraphrase_mining", "ParaphraseMiningEvaluator") and query != document:
            yield f"{place}: paraphrase mining has no queries and documents, and uses the model's default prompt"
        for option, trained in (("query_prompt", query), ("corpus_prompt", document)):
            asked = evaluator.options.get(option)
            if isinstance(asked, str) and asked != trained:
                yield f"{place}: {option} is {_shown(asked)}, and the training uses {_shown(trained)}"


def _explain_unused(request: TrainRequest, prompts: PlannedPrompts) -> Iterator[str]:
    """Yield prompts of the request that only callers of the saved model can use."""
    used = {*NAMES[QUERY], *NAMES[DOCUMENT], prompts.default}
    used |= {str(value) for evaluator in request.evaluators for value in evaluator.options.values()}
    for name in sorted(request.model.prompts.keys() - used):
        hint = suggest(name, (QUERY, *NAMES[DOCUMENT]))
        yield f"the prompt {name} is saved with the model, and neither training nor evaluation uses it{hint}"


def _by_side(prompts: Mapping[str, str]) -> str:
    return ", ".join(f"{side} {_shown(text)}" for side, text in prompts.items())


def _with_columns(prompts: Mapping[str, str]) -> str:
    """Return each prompt with its columns, the first of many."""
    columns: dict[str, list[str]] = {}
    for column, prompt in prompts.items():
        columns.setdefault(prompt, []).append(column)
    listed = [f"{_shown(prompt)} for {_first(some)}" for prompt, some in columns.items()]
    return _first(listed)


def _first(names: list[str]) -> str:
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return ", ".join(names[:_MOST]) + more


def _shown(prompt: str | None) -> str:
    """Return a prompt in quotes, shortened."""
    return repr(shorten(prompt, _SHOWN) if len(prompt) > _SHOWN else prompt) if prompt else "none"
