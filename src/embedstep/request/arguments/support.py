"""How each argument is supported: five levels, the functions that the table is written in, and a record for a row."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pydantic import BaseModel, Field

Support = Literal["used", "translated", "implemented", "environment", "refused"]
SUPPORT_MEANINGS: dict[Support, str] = {
    "used": "passed to the installed trainer unchanged",
    "translated": "passed under its current name, or with the value that means the same today",
    "implemented": "ignored or broken in the installed trainer; embedstep implements it",
    "environment": "depends on the machine; refused where the machine cannot do it",
    "refused": "has no meaning any more; only the default is accepted",
}
RELEASE_3_0 = "sentence-transformers 3.0"
LATER = "later"
_KEY = "x-contract"


def used(default: Any, description: str, *, since: str = RELEASE_3_0) -> Any:
    """Define an argument that the installed trainer carries out itself."""
    return _argument(default, description, "used", since)


def translated(default: Any, description: str, *, to: str, since: str = RELEASE_3_0) -> Any:
    """Define an argument that is called `to` today; with an empty `to`, the trainer always does it."""
    return _argument(default, description, "translated", since, current_name=to)


def implemented(default: Any, description: str, *, by: str, since: str = RELEASE_3_0) -> Any:
    """Define an argument that embedstep carries out."""
    return _argument(default, description, "implemented", since, by=by)


def environment(default: Any, description: str, *, by: str, since: str = RELEASE_3_0) -> Any:
    """Define an argument that needs what `by` names."""
    return _argument(default, description, "environment", since, by=by)


def refused(default: Any, description: str, *, instead: str, since: str = RELEASE_3_0) -> Any:
    """Define an argument of which only the default is accepted; `instead` says what to write."""
    return _argument(default, description, "refused", since, instead=instead)


def _argument(default: Any, description: str, support: Support, since: str, **more: str) -> Any:
    return Field(
        default, description=description, json_schema_extra={_KEY: {"support": support, "since": since, **more}}
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Contract:
    """One row of the table.

    Attributes:
        name: name of the argument.
        group: topic.
        default: value if the request does not set it.
        support: how it is supported.
        current_name: its name in the installed release; empty if the trainer always does it.
        since: release that introduced it.
        description: what it is for, in one sentence.
        by: what carries it out or what it needs, for `implemented` and `environment`.
        instead: what to write instead, for `refused`.
    """

    name: str
    group: str
    default: Any
    support: Support
    current_name: str
    since: str
    description: str
    by: str = ""
    instead: str = ""

    def to_json(self, type_: str) -> dict[str, Any]:
        """Return plain data, with the type of the argument in words."""
        return {"name": self.name, "type": type_, **asdict(self)}


def contracts_of(groups: Sequence[type[BaseModel]], removed: type[BaseModel]) -> Iterator[Contract]:
    """Yield the rows of the table, group by group; arguments in `removed` have no current name of their own."""
    for group in groups:
        for name, field in group.model_fields.items():
            extra: Any = field.json_schema_extra
            yield Contract(
                name=name,
                group=group.__name__.lower(),
                default=field.default,
                description=str(field.description),
                **{"current_name": "" if group is removed else name, **extra[_KEY]},
            )


def types_of(model: type[BaseModel]) -> dict[str, str]:
    """Return the type of each field in words, such as `integer or null`."""
    return {name: _in_words(field) for name, field in model.model_json_schema()["properties"].items()}


def _in_words(schema: dict[str, Any]) -> str:
    """Name a JSON Schema type in plain words: `integer or null`, `text`, `one of a, b`."""
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
