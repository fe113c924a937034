"""The training arguments as one typed parameter of a ZenML step, and as overrides of a request in code."""

import json
from typing import Annotated, Any, Unpack

from pydantic import (
    BaseModel,
    ConfigDict,
    ModelWrapValidatorHandler,
    ValidationError,
    create_model,
    model_validator,
)

from embedstep.errors import InvalidRequestError, Problem
from embedstep.orchestration.typed_arguments import ArgumentParameters
from embedstep.request.arguments.lossless import to_lossless
from embedstep.request.arguments.schema import Arguments
from embedstep.request.arguments.table import CONTRACT
from embedstep.request.document import parse_document
from embedstep.request.loading import problems_of_arguments
from embedstep.request.overrides import apply_overrides
from embedstep.request.scalars import plain


def _typed(name: str) -> Any:
    field = Arguments.model_fields[name]
    annotation: Any = field.annotation
    return Annotated[annotation, *field.metadata] if field.metadata else annotation


class _CheckedModel(BaseModel):
    """Reports what is wrong with a value. ZenML itself says only that it has another type."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @model_validator(mode="wrap")
    @classmethod
    def _validate(cls, raw: Any, handler: ModelWrapValidatorHandler["_CheckedModel"]) -> "_CheckedModel":
        if isinstance(raw, Arguments):
            raw = to_lossless(raw)  # its defaults are not meant to override the request
        if isinstance(raw, BaseModel) and type(raw) is not cls:
            raw = raw.model_dump()  # ZenML would silently drop the fields of a subclass
        try:
            return handler(plain(raw))  # code may pass tuples
        except ValidationError as error:
            if not isinstance(raw, dict):
                raise
            raise InvalidRequestError(problems_of_arguments(error, raw)) from None


TrainingArguments: type[BaseModel] = create_model(
    "TrainingArguments",
    __base__=_CheckedModel,
    __doc__="Training arguments that override those in the request; null changes nothing.",
    **{name: (_typed(name) | None, None) for name in CONTRACT},  # type: ignore[call-overload]
)
"""Every training argument, old and new, with its type; all are optional.

ZenML takes a step parameter as a whole, either from code or from YAML. Arguments left out here keep the value in the
request, and code sets its arguments in the request with `request_with`. So YAML overrides code, and code overrides the
document, field by field.
"""


def request_with(request: str, **arguments: Unpack[ArgumentParameters]) -> str:
    """Return the text of a request with some training arguments replaced.

    Args:
        request: the request as YAML or JSON.
        arguments: training arguments; an older name of the same argument is removed from the document.

    Raises:
        InvalidRequestError: the text is not a mapping, or an argument cannot be set.
    """
    document = parse_document(request)
    settings, problems = [], []
    for name, value in arguments.items():
        try:
            settings.append(f"arguments.{name}={json.dumps(value)}")
        except TypeError:
            message = f"needs plain data; a value of type {type(value).__name__} was given"
            problems.append(Problem(f"arguments.{name}", message))
    if problems := [*problems, *apply_overrides(document, settings)]:
        raise InvalidRequestError(problems)
    return json.dumps(plain(document.data), ensure_ascii=False)
