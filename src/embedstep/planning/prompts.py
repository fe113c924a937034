"""The prompts of a run, from the request and the model's files: the same in training, evaluation and the saved model.

`anchor` is on the side of queries, positives and negatives on that of documents. A column has the prompt that
`arguments.prompts` names for it, else the model's prompt of its side.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from embedstep.data.facts import SPLITS
from embedstep.data.model_facts import ModelFacts
from embedstep.data.roles import Role, list_roles
from embedstep.data.transforms import given_columns
from embedstep.request.arguments.ledger import LedgerEntry
from embedstep.request.datasets import Dataset
from embedstep.request.model import Model
from embedstep.request.schema import TrainRequest

QUERY, DOCUMENT = "query", "document"
NAMES: Mapping[str, tuple[str, ...]] = {QUERY: (QUERY,), DOCUMENT: (DOCUMENT, "passage", "corpus")}
"""Names of the prompt of each side, in the order in which `encode_query` and `encode_document` use them."""
ByColumn = Mapping[str, Any] | str | None
"""The arguments `prompts` and `router_mapping`: by column, by dataset, by both, or one text for all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedPrompts:
    """The prompts of a run.

    Attributes:
        columns: prompt of each column by train dataset and role; columns without a prompt are left out.
        query: prompt that `encode_query` of the saved model uses; empty for none.
        document: the same of `encode_document`.
        default: name of the prompt that `encode` uses; None for none.
        evaluation: prompts for queries and documents of eval datasets for which they are not those of the saved model.
    """

    columns: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    query: str = ""
    document: str = ""
    default: str | None = None
    evaluation: Mapping[str, tuple[str, str]] = field(default_factory=dict)


def plan_prompts(request: TrainRequest, facts: ModelFacts | None) -> PlannedPrompts:
    """Return the prompts of a run.

    Args:
        request: the request.
        facts: what the model's files say; None for a new model, and for one that is not on this machine.
    """
    if not request.arguments.prompts and not request.model.prompts and not (facts is not None and facts.prompts):
        return PlannedPrompts(default=_default(request.model, facts, "", ""))
    trained = {name: trained_prompts(request, facts, name) for name in request.data.train}
    query, document = (_saved(request, facts, side) for side in NAMES)
    evaluation = {}
    for name in request.data.eval:
        asked = trained[name] if name in trained else _selected(request, name)
        documents = (prompt for role, prompt in asked.items() if side_of(role) == DOCUMENT)
        sides = (asked.get("anchor", query), next(documents, document))
        if sides != (query, document):
            evaluation[name] = sides
    given = {name: {role: text for role, text in prompts.items() if text} for name, prompts in trained.items()}
    return PlannedPrompts(
        columns={name: prompts for name, prompts in given.items() if prompts},
        query=query,
        document=document,
        default=_default(request.model, facts, query, document),
        evaluation=evaluation,
    )


def side_of(role: str) -> str:
    """Return the side of a column: `query` or `document`."""
    return QUERY if role == "anchor" else DOCUMENT


def own_prompts(facts: ModelFacts | None) -> tuple[str, str]:
    """Return the prompts of the model's files for queries and documents; both the default one where it has no other."""
    if facts is None:
        return "", ""
    own = facts.prompts
    query, document = side_prompts(own)
    default = "" if query or document else own.get(facts.default_prompt_name or "", "")
    return query or default, document or default


def side_prompts(prompts: Mapping[str, str]) -> tuple[str, str]:
    """Return the prompts that `encode_query` and `encode_document` use of those by name; empty for none."""
    query, document = (next((prompts[name] for name in NAMES[side] if name in prompts), "") for side in NAMES)
    return query, document


def asked_name(model: Model, side: str) -> str | None:
    """Return the name by which `model.prompts` has a prompt for a side; None if it has none."""
    return next((name for name in NAMES[side] if name in model.prompts), None)


def trained_sides(request: TrainRequest, facts: ModelFacts | None, side: str) -> dict[str, str]:
    """Return the prompts of the trained columns of a side, by `dataset.role`."""
    return {
        f"{name}.{role}": prompt
        for name in request.data.train
        for role, prompt in trained_prompts(request, facts, name).items()
        if side_of(role) == side
    }


def trained_prompts(request: TrainRequest, facts: ModelFacts | None, dataset: str) -> dict[str, str]:
    """Return the prompt of each column of a train dataset; empty for none."""
    sides = dict(zip(NAMES, _of_the_model(request.model, facts), strict=True))
    asked = _selected(request, dataset)
    return {role: asked.get(role, sides[side_of(role)]) for role in text_columns(request, dataset)}


def _of_the_model(model: Model, facts: ModelFacts | None) -> tuple[str, str]:
    """Return the prompts for queries and documents that the request names, else those of the model's files."""
    if not model.use_prompts:
        return "", ""
    own, name = own_prompts(facts), model.default_prompt_name
    asked = {side: asked_name(model, side) for side in NAMES}
    # The default prompt is for both sides unless it has the name of one.
    if not any(asked.values()) and name is not None and not any(name in names for names in NAMES.values()):
        default = {**(facts.prompts if facts is not None else {}), **model.prompts}.get(name, "")
        return default, default
    query, document = (
        text if given is None else model.prompts[given] for given, text in zip(asked.values(), own, strict=True)
    )
    return query, document


def _saved(request: TrainRequest, facts: ModelFacts | None, side: str) -> str:
    """Return the prompt of a side that the model is saved with: the one asked for, else the first trained one."""
    of_the_model = _of_the_model(request.model, facts)[list(NAMES).index(side)]
    trained = list(trained_sides(request, facts, side).values())
    if not trained and isinstance(request.arguments.prompts, str):
        return request.arguments.prompts  # for all texts, also those of a side without a column
    if not trained or (asked_name(request.model, side) is not None and of_the_model in trained):
        return of_the_model
    return next(filter(None, trained), "")


def _default(model: Model, facts: ModelFacts | None, query: str, document: str) -> str | None:
    """Return the name of the default prompt. One prompt for all texts is the default, too, so that `encode` uses it."""
    if not model.use_prompts or model.default_prompt_name is not None:
        return model.default_prompt_name
    own = facts.default_prompt_name if facts is not None else None
    known = {**(facts.prompts if facts is not None else {}), **model.prompts, QUERY: query, DOCUMENT: document}
    return QUERY if query and query == document and known.get(own or "") != query else own


@dataclass(frozen=True, kw_only=True, slots=True)
class ColumnNames:
    """The names by which an argument may call a text column of a dataset.

    Attributes:
        by_role: names of its role; `negative` means each of several negatives.
        in_source: names of the source column in all splits, without those that are roles of the dataset.
    """

    by_role: tuple[str, ...]
    in_source: tuple[str, ...]

    @property
    def all(self) -> tuple[str, ...]:
        """All names; the first that is given counts."""
        return (*self.by_role, *self.in_source)


def text_columns(request: TrainRequest, dataset: str) -> dict[str, ColumnNames]:
    """Return the text columns of a dataset by role, in all splits."""
    splits = [getattr(request.data, split) for split in SPLITS]
    listed = [role for split in splits if dataset in split for role in _roles(split[dataset])]
    listed = [role for role in listed if role.key != "label"]
    roles = {name for role in listed for name in (role.name, role.key)}
    sources: dict[str, dict[str, None]] = {}
    for role in listed:
        sources.setdefault(role.name, {}).update({} if role.column in roles else {role.column: None})
    return {
        role.name: ColumnNames(by_role=tuple(dict.fromkeys((role.name, role.key))), in_source=tuple(sources[role.name]))
        for role in listed
    }


def _roles(dataset: Dataset) -> Iterator[Role]:
    """Yield the roles of a dataset, with those that its transform gives."""
    named = {role.name: role for role in list_roles(dataset.columns)}
    yield from (
        {name: Role(name=name, key=name, column=name) for name in given_columns(dataset.transform)} | named
    ).values()


def _selected(request: TrainRequest, dataset: str, argument: str = "prompts") -> dict[str, str]:
    """Return what an argument by column or dataset says of the columns of a dataset that it names.

    A dataset's own entry replaces those for all datasets, as in the library.
    """
    columns = text_columns(request, dataset)
    given: ByColumn = getattr(request.arguments, argument)
    if isinstance(given, Mapping) and dataset in given:
        is_column = any(dataset in column.all for column in columns.values())
        # With a single dataset, a column may have its name.
        if isinstance(given[dataset], Mapping) or len(request.data.train) > 1 or not is_column:
            given = given[dataset]
    if given is None or isinstance(given, str):
        return {} if given is None else dict.fromkeys(columns, given)
    texts = {name: text for name, text in given.items() if isinstance(text, str)}
    found = {role: next((texts[name] for name in names.all if name in texts), None) for role, names in columns.items()}
    return {role: text for role, text in found.items() if text is not None}


def with_columns(
    entries: tuple[LedgerEntry, ...], request: TrainRequest, prompts: PlannedPrompts
) -> tuple[LedgerEntry, ...]:
    """Return the ledger with prompts and routes by role, as the trainer needs them.

    What the trainer would read in the same way stays as it is written.

    Args:
        entries: the ledger.
        request: the request.
        prompts: the prompts of the run.
    """
    routed = request.data.train if request.arguments.router_mapping else ()
    needed = {
        "prompts": prompts.columns,
        "router_mapping": {name: _selected(request, name, "router_mapping") for name in routed},
    }
    return tuple(_by_role(entry, request, needed[entry.name]) if entry.name in needed else entry for entry in entries)


def _by_role(entry: LedgerEntry, request: TrainRequest, needed: Mapping[str, Mapping[str, str]]) -> LedgerEntry:
    columns = {name: needed.get(name, {}) for name in request.data.train}
    if not entry.value and not needed:
        return entry
    if all(_as_the_trainer(entry.value, request, name) == texts for name, texts in columns.items()):
        return entry
    value = columns if len(columns) > 1 else next(iter(columns.values()))
    effect = "with the model's prompts, by role" if entry.name == "prompts" else "by role"
    return replace(entry, value=value, source="embedstep", effect=effect)


def _as_the_trainer(written: ByColumn, request: TrainRequest, dataset: str) -> Mapping[str, str] | None:
    """Return what the library's collator uses for each column; None where it would depend on the order of keys."""
    has_names = len(request.data.train) > 1
    if isinstance(written, Mapping):
        kinds = {isinstance(value, Mapping) for value in written.values()}
        if len(kinds) > 1 or (True in kinds and not has_names):
            return None
        if has_names and dataset in written:
            written = written[dataset]
        elif True in kinds:
            written = {}
    columns = text_columns(request, dataset)
    if isinstance(written, str):
        written = dict.fromkeys(columns, written)
    return {role: text for role, text in (written or {}).items() if role in columns and text}


def saved_prompts(facts: ModelFacts, model: Model, prompts: PlannedPrompts) -> dict[str, str]:
    """Return the prompts that the model is saved with, by name, without empty ones."""
    named = {**facts.prompts, **model.prompts, QUERY: prompts.query, DOCUMENT: prompts.document}
    return {name: text for name, text in named.items() if text}
