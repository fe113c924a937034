"""Scalars of a request, repaired by the type of the field that they stand in.

YAML decides on a value's type by its look and is often wrong: `1e-5` is text to YAML 1.1, `no` is False, `1.10` as a
name loses its zero. The loader therefore keeps the source text of each plain number and word beside its value
(`Plain`), and the types here, one for each kind of field, take what the field needs. A value that cannot be repaired
without doubt is left as it is, so that pydantic's strict check refuses it with the field's path.

The same types serve values that come from JSON or Python, where an orchestrator may have turned `32` into `32.0`.
"""

import math
import re
from dataclasses import dataclass
from typing import Annotated, Any, cast

from pydantic import BeforeValidator, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_LONGEST_INTEGER = 400
"""Digits up to which text is taken for a whole number at all; Python refuses to read more than a few thousand."""
_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_NOT_NULL = {"None", "NULL", "Null", "nil"}


@dataclass(frozen=True, slots=True)
class Plain:
    """An unquoted number or truth value of a YAML document.

    Attributes:
        text: the characters as they stand in the document.
        value: what they mean in YAML 1.2.
    """

    text: str
    value: bool | int | float


@dataclass(frozen=True, slots=True)
class Spelled:
    """How a text has to be spelled.

    Attributes:
        pattern: regular expression for the whole of it; the JSON Schema shows it.
        told: what it asks for, as it follows "needs" in a message.
    """

    pattern: str
    told: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Check after the text's own type."""
        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Show the pattern."""
        return {**handler(schema), "pattern": f"^{self.pattern}$"}

    def _checked(self, text: str) -> str:
        if not re.fullmatch(self.pattern, text):
            raise PydanticCustomError("spelling", "{told}", {"told": self.told})
        return text


def plain(raw: Any) -> Any:
    """Return `raw` with every `Plain` inside replaced by its YAML 1.2 value."""
    match raw:
        case Plain():
            return raw.value
        case dict():
            return {key: plain(value) for key, value in raw.items()}
        case list() | tuple():
            return [plain(value) for value in raw]
        case _:
            return raw


def _integer(raw: Any) -> Any:
    value = plain(raw)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, str) and _INTEGER.fullmatch(value.strip()) and len(value) < _LONGEST_INTEGER:
        # int() and float() know fewer kinds of white space than strip() does.
        value = int(value.strip())
    if isinstance(value, int) and abs(value) >= 2**63:
        raise ValueError("a whole number of at most 64 bits is needed")
    return value


def _number(raw: Any) -> Any:
    value = plain(raw)
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        value = float(value.strip())
    if isinstance(value, int) and not isinstance(value, bool):
        value = float(_integer(value))
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"a finite number is needed, not {value}")
    return value


def _plain_data(raw: Any) -> Any:
    """Any plain data, but no number that JSON cannot write down."""
    value = plain(raw)
    _require_finite(value)
    return value


def _require_finite(value: Any) -> None:
    match value:
        case float() if not math.isfinite(value):
            raise ValueError(f"a finite number is needed, not {value}")
        case dict():
            for inner in value.values():
                _require_finite(inner)
        case list():
            for inner in value:
                _require_finite(inner)


def _count_or_share(raw: Any) -> Any:
    """A field where 1 and 1.0 differ to the trainer (`save_steps`): the kind of number that was written is kept."""
    value = plain(raw)
    if isinstance(value, str) and _INTEGER.fullmatch(value.strip()):
        return _integer(value)
    return _number(value) if not isinstance(value, int) else _integer(value)


def _boolean(raw: Any) -> Any:
    value = plain(raw)
    if isinstance(value, str):
        return _WORDS.get(value.strip().lower(), value)
    return value


def scalar(text: str) -> bool | int | float | str:
    """Return what text says where nobody knows the type: a truth value, a number, or itself."""
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
    """Give back the word `no` where a YAML 1.1 tool on the way has read it as False."""
    value = raw.text if isinstance(raw, Plain) else raw
    return "no" if value is False or (isinstance(value, str) and value.lower() in ("false", "off")) else value


Integer = Annotated[int, BeforeValidator(_integer)]
Number = Annotated[float, BeforeValidator(_number)]
CountOrShare = Annotated[int | float, BeforeValidator(_count_or_share)]
Boolean = Annotated[bool, BeforeValidator(_boolean)]
Text = Annotated[str, BeforeValidator(_text)]
CHOICE = BeforeValidator(_choice)
PlainData = Annotated[Any, BeforeValidator(_plain_data)]
