"""What every section of a request is made of."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from embedstep.request.scalars import Text

Name = Annotated[Text, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=64)]
Source = Annotated[Text, Field(min_length=1)]


def described(default: Any, description: str) -> Any:
    """Give a field its default (`...` for none) and the sentence that the JSON Schema shows for it."""
    return Field(default, description=description)


class Section(BaseModel):
    """A part of the request: frozen, strict, no unknown keys."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")
