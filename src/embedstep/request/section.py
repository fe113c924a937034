"""What every section of a request is made of."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from embedstep.request.scalars import Spelled, Text

Name = Annotated[
    Text,
    Spelled(
        r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}",
        "a name of letters, digits, '_' and '-', 64 at most, that begins with a letter or digit",
    ),
]
Source = Annotated[Text, Field(min_length=1)]


def described(default: Any, description: str) -> Any:
    """Give a field its default (`...` for none) and the sentence that the JSON Schema shows for it."""
    return Field(default, description=description)


def or_text(schema: dict[str, Any]) -> None:
    """Say in the JSON Schema of a section that a plain string is its short form."""
    section = {key: schema.pop(key) for key in list(schema) if key not in ("title", "description")}
    schema["anyOf"] = [{"type": "string"}, section]


class Section(BaseModel):
    """A part of the request: frozen, strict, no unknown keys."""

    # Only the whole request is read; a schema for each part by itself would be made and hardly ever used.
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", defer_build=True, validate_default=True)
