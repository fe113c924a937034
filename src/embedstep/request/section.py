"""The base class of a request's sections, and the types that several of them use."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from embedstep.request.scalars import PlainData, Text, TextPattern

Name = Annotated[
    Text,
    TextPattern(
        r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}",
        "a name of up to 64 letters, digits, '_' and '-' that begins with a letter or digit",
    ),
]
Source = Annotated[Text, Field(min_length=1)]


def _as_list(raw: Any) -> Any:
    """Accept one name for a list of one: `negative: hard` for `negative: [hard]`."""
    return [raw] if isinstance(raw, str) else raw


OneOrMore = Annotated[
    list[Text], Field(min_length=1), BeforeValidator(_as_list, json_schema_input_type=str | list[str])
]


Options = Annotated[dict[str, PlainData], BeforeValidator(lambda raw: {} if raw is None else raw)]
"""Options by name; null, as YAML reads an empty value, means none."""


def described(default: Any, description: str) -> Any:
    """Define a field by its default (`...` for none) and its description in the JSON Schema."""
    return Field(default, description=description)


class Section(BaseModel):
    """A part of the request: frozen, strict, without unknown keys."""

    # Only the whole request is validated, so a validator for each section would be built and hardly ever used.
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", defer_build=True, validate_default=True)


def _or_text(schema: dict[str, Any]) -> None:
    section = {key: schema.pop(key) for key in list(schema) if key not in ("title", "description")}
    schema["anyOf"] = [{"type": "string"}, section]


class ShortSection(Section):
    """A section that may be written as a plain string, the value of its first field."""

    model_config = ConfigDict(json_schema_extra=_or_text)

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, raw: Any) -> Any:
        return {next(iter(cls.model_fields)): raw} if isinstance(raw, str) else raw
