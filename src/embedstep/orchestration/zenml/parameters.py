"""The training arguments as one typed parameter of a ZenML step, and over a request in code."""

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
from embedstep.request.arguments.schema import CONTRACT, Arguments
from embedstep.request.document import parse_document
from embedstep.request.loading import problems_of_arguments
from embedstep.request.overrides import apply_overrides
from embedstep.request.scalars import plain


def _typed(name: str) -> Any:
    field = Arguments.model_fields[name]
    annotation: Any = field.annotation
    return Annotated[annotation, *field.metadata] if field.metadata else annotation


class _Told(BaseModel):
    """Tells what is wrong with a value: of a faulty one ZenML says only that it is of another type."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @model_validator(mode="wrap")
    @classmethod
    def _or_refused(cls, raw: Any, handler: ModelWrapValidatorHandler["_Told"]) -> "_Told":
        if isinstance(raw, Arguments):
            raw = to_lossless(raw)  # its defaults are not meant to override the request
        if isinstance(raw, BaseModel) and type(raw) is not cls:
            raw = raw.model_dump()  # ZenML would cut a subclass to the fields of its base in silence
        try:
            return handler(plain(raw))  # code may give tuples
        except ValidationError as error:
            if not isinstance(raw, dict):
                raise
            raise InvalidRequestError(problems_of_arguments(error, raw)) from None


TrainingArguments: type[BaseModel] = create_model(
    "TrainingArguments",
    __base__=_Told,
    __doc__="Training arguments over those of the request; null changes nothing.",
    **{name: (_typed(name) | None, None) for name in CONTRACT},  # type: ignore[call-overload]
)
"""Each training argument of either era by its name and type, none of them required.

ZenML takes a parameter of a step whole, from the code or from YAML. So what is left out here is the request's, and what
the code sets goes into the request (`request_with`): YAML wins over code, and code over the document, field by field.
"""


def request_with(request: str, **arguments: Unpack[ArgumentParameters]) -> str:
    """Return the text of a request with training arguments over its own.

    Args:
        request: the text of a request, YAML or JSON.
        arguments: training arguments; other names of the same ones go out of the document.

    Raises:
        InvalidRequestError: the text is no mapping, or an argument cannot be set in it.
    """
    document = parse_document(request)
    settings, problems = [], []
    for name, value in arguments.items():
        try:
            settings.append(f"arguments.{name}={json.dumps(value)}")
        except TypeError:
            told = f"needs plain data; a value of type {type(value).__name__} was given"
            problems.append(Problem(f"arguments.{name}", told))
    if problems := [*problems, *apply_overrides(document, settings)]:
        raise InvalidRequestError(problems)
    return json.dumps(plain(document.data), ensure_ascii=False)
