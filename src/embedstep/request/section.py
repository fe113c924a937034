"""The base class of a request's sections, and the types that several of them use."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from embedstep.request.scalars import Text, TextPattern

Name = Annotated[
    Text,
    TextPattern(
        r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}",
        "a name of up to 64 letters, digits, '_' and '-' that begins with a letter or digit",
    ),
]
Source = Annotated[Text, Field(min_length=1)]


def described(default: Any, description: str) -> Any:
    """Define a field by its default (`...` for none) and its description in the JSON Schema."""
    return Field(default, description=description)


def or_text(schema: dict[str, Any]) -> None:
    """Say in the JSON Schema of a section that a plain string is its short form."""
    section = {key: schema.pop(key) for key in list(schema) if key not in ("title", "description")}
    schema["anyOf"] = [{"type": "string"}, section]


class Section(BaseModel):
    """A part of the request: frozen, strict, without unknown keys."""

    # Only the whole request is validated, so a validator for each section would be built and hardly ever used.
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", defer_build=True, validate_default=True)
