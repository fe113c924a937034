"""What becomes of an argument: five fates, as the verbs that the table is written in, and a record to read it by."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pydantic import BaseModel, Field

Fate = Literal["used", "translated", "implemented", "environment", "refused"]
FATES: dict[Fate, str] = {
    "used": "goes to the installed trainer as it is",
    "translated": "goes there under another name or with another value that means the same today",
    "implemented": "the installed trainer ignores it or breaks on it; embedstep does what it says",
    "environment": "depends on the machine: what the machine cannot do is refused",
    "refused": "has no meaning any more; only its default is accepted",
}
SEED = "sentence-transformers 3.0"
LATER = "later"
_KEY = "x-contract"


def used(default: Any, description: str, *, since: str = SEED) -> Any:
    """Write down an argument that the installed trainer does what it says with."""
    return _argument(default, description, "used", since)


def translated(default: Any, description: str, *, to: str, since: str = SEED) -> Any:
    """Write down an argument that means `to` today; an empty `to` is what happens anyway."""
    return _argument(default, description, "translated", since, today=to)


def implemented(default: Any, description: str, *, by: str, since: str = SEED) -> Any:
    """Write down an argument that embedstep itself carries out."""
    return _argument(default, description, "implemented", since, by=by)


def environment(default: Any, description: str, *, by: str, since: str = SEED) -> Any:
    """Write down an argument that depends on what `by` names."""
    return _argument(default, description, "environment", since, by=by)


def refused(default: Any, description: str, *, instead: str, since: str = SEED) -> Any:
    """Write down an argument of which only the default is accepted, and what to write instead."""
    return _argument(default, description, "refused", since, instead=instead)


def _argument(default: Any, description: str, fate: Fate, since: str, **more: str) -> Any:
    return Field(default, description=description, json_schema_extra={_KEY: {"fate": fate, "since": since, **more}})


@dataclass(frozen=True, kw_only=True, slots=True)
class Contract:
    """One row of the table.

    Attributes:
        name: name of the argument.
        group: topic.
        default: value when it is not written.
        fate: what becomes of it.
        today: what it is in the installed release; its own name when nothing has changed.
        since: release that brought it.
        description: what it is for, in a sentence.
        by: what carries it out or decides on it, for `implemented` and `environment`.
        instead: what to write instead, for `refused`.
    """

    name: str
    group: str
    default: Any
    fate: Fate
    today: str
    since: str
    description: str
    by: str = ""
    instead: str = ""

    def to_json(self, type_: str) -> dict[str, Any]:
        """Return plain data, with the type of its value in words."""
        return {"name": self.name, "type": type_, **asdict(self)}


def contracts_of(groups: Sequence[type[BaseModel]], gone: type[BaseModel]) -> Iterator[Contract]:
    """Yield the rows of the table, group by group; the names in the group `gone` are nothing by themselves today."""
    for group in groups:
        for name, field in group.model_fields.items():
            extra: Any = field.json_schema_extra
            yield Contract(
                name=name,
                group=group.__name__.lower(),
                default=field.default,
                description=str(field.description),
                **{"today": "" if group is gone else name, **extra[_KEY]},
            )


def types_of(model: type[BaseModel]) -> dict[str, str]:
    """Return the type of each field's value in words, such as `integer or null`."""
    return {name: _in_words(field) for name, field in model.model_json_schema()["properties"].items()}


def _in_words(schema: dict[str, Any]) -> str:
    """Name a JSON Schema type as a person would: `integer or null`, `text`, `one of a, b`."""
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_in_words(part) for part in schema["anyOf"]))
    if "$ref" in schema:
        return "{from_env: NAME}" if schema["$ref"].endswith("/FromEnvironment") else "mapping"
    if "enum" in schema:
        return f"one of {', '.join(map(str, schema['enum']))}"
    if "const" in schema:
        return str(schema["const"]).lower()
    if schema.get("type") == "array":
        return "list of texts"
    words = {"boolean": "true or false", "string": "text", "object": "mapping"}
    kind = str(schema.get("type", "anything"))
    return words.get(kind, kind)
