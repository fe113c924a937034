"""Convert scalars of a request to the type of their field.

YAML guesses a value's type from its spelling and is often wrong: `1e-5` is text to YAML 1.1, `no` is False, and `1.10`
as a name loses its zero. The parser therefore keeps the source text of each unquoted number and word (`Plain`), and
each type here uses the text or the value, as its field needs. A value without an unambiguous conversion stays as it
is; pydantic's strict validation then refuses it with the field's path.

The same types serve values from JSON or Python, where an orchestrator may have turned `32` into `32.0`.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, cast

from pydantic import BeforeValidator, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
NUMBER = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
LONGEST_INTEGER = 400
"""Characters of the longest text that is parsed as an integer; Python refuses more than a few thousand."""
_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_NOT_NULL = {"None", "NULL", "Null", "nil"}


@dataclass(frozen=True, slots=True)
class Plain:
    """An unquoted number or truth value of a YAML document.

    Attributes:
        text: its source text.
        value: its value in YAML 1.2.
    """

    text: str
    value: bool | int | float


@dataclass(frozen=True, slots=True)
class TextPattern:
    """A pattern that a text has to match, with its own message; pydantic's shows the regular expression.

    Attributes:
        pattern: regular expression for the whole text; part of the JSON Schema.
        message: the pattern in words, to follow "needs".
    """

    pattern: str
    message: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Match the text after its own validation."""
        return core_schema.no_info_after_validator_function(self._match, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Add the pattern to the JSON Schema."""
        return {**handler(schema), "pattern": f"^{self.pattern}$"}

    def _match(self, text: str) -> str:
        if not re.fullmatch(self.pattern, text):
            raise PydanticCustomError("pattern", "{message}", {"message": self.message})
        return text


def map_scalars(data: Any, change: Callable[[Any], Any]) -> Any:
    """Return plain data with each value that is no mapping and no list replaced by `change` of it."""
    match data:
        case dict():
            return {key: map_scalars(value, change) for key, value in data.items()}
        case list() | tuple():
            return [map_scalars(value, change) for value in data]
        case _:
            return change(data)


def plain(raw: Any) -> Any:
    """Return `raw` with each `Plain` in it replaced by its YAML 1.2 value."""
    return map_scalars(raw, lambda value: value.value if isinstance(value, Plain) else value)


def _integer(raw: Any) -> Any:
    value = plain(raw)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, str) and INTEGER.fullmatch(value.strip()) and len(value) < LONGEST_INTEGER:
        # int() and float() strip fewer kinds of white space than strip() does.
        value = int(value.strip())
    if isinstance(value, int) and abs(value) >= 2**63:
        raise ValueError("an integer of at most 64 bits is needed")
    return value


def _number(raw: Any) -> Any:
    value = plain(raw)
    if isinstance(value, str) and NUMBER.fullmatch(value.strip()):
        value = float(value.strip())
    if isinstance(value, int) and not isinstance(value, bool):
        value = float(_integer(value))
    return _finite(value)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"a finite number is needed, not {value}")
    return value


def _plain_data(raw: Any) -> Any:
    """Accept any plain data without infinite numbers and NaN, which JSON cannot represent."""
    return map_scalars(plain(raw), _finite)


def _count_or_share(raw: Any) -> Any:
    """Keep integers and floats apart: to the trainer, `save_steps: 1` is a number of steps and 1.0 a share."""
    value = plain(raw)
    if isinstance(value, str) and INTEGER.fullmatch(value.strip()):
        return _integer(value)
    return _number(value) if not isinstance(value, int) else _integer(value)


def _boolean(raw: Any) -> Any:
    value = plain(raw)
    if isinstance(value, str):
        return _WORDS.get(value.strip().lower(), value)
    return value


def parse_untyped(text: str) -> bool | int | float | str:
    """Parse text of unknown type: a truth value, a number, or else the text itself."""
    for read in (_boolean, _integer, _number):
        value = read(text)
        if not isinstance(value, str):
            return cast(bool | int | float, value)
    return text


def _text(raw: Any) -> Any:
    if isinstance(raw, Plain):
        return raw.text
    if isinstance(raw, str) and raw in _NOT_NULL:
        raise ValueError(f"{raw!r} is text here; write null for nothing")
    return raw


def _choice(raw: Any) -> Any:
    """Restore the word `no` of a value that a YAML 1.1 tool has read as False."""
    value = raw.text if isinstance(raw, Plain) else raw
    return "no" if value is False or (isinstance(value, str) and value.lower() in ("false", "off")) else value


Integer = Annotated[int, BeforeValidator(_integer)]
Number = Annotated[float, BeforeValidator(_number)]
PositiveInteger = Annotated[Integer, Field(gt=0)]
PositiveNumber = Annotated[Number, Field(gt=0)]
CountOrShare = Annotated[int | float, BeforeValidator(_count_or_share)]
Boolean = Annotated[bool, BeforeValidator(_boolean)]
Text = Annotated[str, BeforeValidator(_text)]
CHOICE = BeforeValidator(_choice)
PlainData = Annotated[Any, BeforeValidator(_plain_data)]
