"""Parse YAML or JSON text into plain data.

YAML 1.1 reads `no` as False, `010` as 8, `12:30` as 750 and `1e-5` as text. Here an unquoted scalar follows YAML 1.2
and keeps its source text (`Plain`), and the field's type decides between them (`scalars`). Duplicate keys are refused,
because one of them would be dropped silently; so are tags, which can construct Python objects.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from embedstep.errors import InvalidRequestError
from embedstep.request.scalars import INTEGER, LONGEST_INTEGER, NUMBER, Plain

_NOT_FINITE = {".inf": math.inf, "+.inf": math.inf, "-.inf": -math.inf, ".nan": math.nan}
_NULLS = {"", "~", "null"}
_MAX_DEPTH = 64
_STRING_TAG = "tag:yaml.org,2002:str"
_SCALAR_TAGS = {_STRING_TAG, "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}

Path = tuple[str | int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """A parsed document.

    Attributes:
        data: mappings, lists, strings, None, and `Plain` for numbers and truth values.
        lines: line of each key and item by its path, from 1; empty for JSON, and 0 for a value of `--set`.
    """

    data: Any
    lines: dict[Path, int] = field(default_factory=dict)

    def line_note(self, path: Sequence[str | int]) -> str:
        """Return ` (line N)` of the value at `path` or of its nearest parent, ` (--set)` for an override, else ""."""
        for length in range(len(path), 0, -1):
            if (line := self.lines.get(tuple(path[:length]))) is not None:
                return f" (line {line})" if line else " (--set)"
        return ""

    def mark_override(self, path: Path) -> None:
        """Replace the lines of the value at `path` by the mark of `--set`."""
        for known in [known for known in self.lines if known[: len(path)] == path]:
            del self.lines[known]
        self.lines[path] = 0


def parse_document(text: str) -> Document:
    """Parse YAML or JSON text.

    Raises:
        InvalidRequestError: the text is not one document of mappings, lists and scalars, or a key is repeated.
    """
    if text.lstrip().startswith("{"):
        return _parse_json(text)
    return _parse_yaml(text)


def parse_scalar(text: str) -> Any:
    """Parse an unquoted YAML 1.2 scalar: None, `Plain` for a number or truth value, else the text itself."""
    if text in _NULLS:
        return None
    if text in ("true", "false"):
        return Plain(text, text == "true")
    if INTEGER.fullmatch(text) and len(text) < LONGEST_INTEGER:
        return Plain(text, int(text))
    if NUMBER.fullmatch(text):
        return Plain(text, float(text))
    return Plain(text, _NOT_FINITE[text]) if text in _NOT_FINITE else text


def _refused(message: str, line: int | None = None) -> InvalidRequestError:
    return InvalidRequestError.at("", f"line {line}: {message}" if line else message)


def _parse_json(text: str) -> Document:
    def mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        for key in keys:
            if keys.count(key) > 1:
                raise _refused(f"the key {key!r} is repeated in one mapping; keep one")
        return dict(pairs)

    try:
        data = json.loads(
            text,
            object_pairs_hook=mapping,
            parse_int=lambda number: Plain(number, int(number)) if len(number) < LONGEST_INTEGER else number,
            parse_float=lambda number: Plain(number, float(number)),
            parse_constant=lambda name: Plain(name, float(name)),
        )
    except json.JSONDecodeError as error:
        # `{a: 1}` is YAML, too. Text that is neither gets JSON's error, because it begins like JSON.
        try:
            return _parse_yaml(text)
        except InvalidRequestError as yaml_error:
            if isinstance(yaml_error.__cause__, yaml.YAMLError):
                raise _refused(f"this is not JSON: {error.msg}", error.lineno) from error
            raise
    except RecursionError as error:
        raise _refused(f"the document is nested more than {_MAX_DEPTH} deep") from error
    return Document(data=_with_truth_values(data, 0))


def _with_truth_values(data: Any, depth: int) -> Any:
    """Wrap JSON's true and false like YAML's, so that a text field gives the same answer for both."""
    if depth > _MAX_DEPTH:
        raise _refused(f"the document is nested more than {_MAX_DEPTH} deep")
    match data:
        case bool():
            return Plain("true" if data else "false", data)
        case dict():
            return {key: _with_truth_values(value, depth + 1) for key, value in data.items()}
        case list():
            return [_with_truth_values(value, depth + 1) for value in data]
        case _:
            return data


def _parse_yaml(text: str) -> Document:
    lines: dict[Path, int] = {}
    try:
        # BaseLoader resolves nothing: every scalar is a `str`, unless the document has an explicit tag.
        node = yaml.compose(text, Loader=yaml.BaseLoader)
        data = None if node is None else _construct(node, (), lines)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else None
        raise _refused(f"this is not YAML: {error.problem or error.context}", line) from error
    except (yaml.YAMLError, RecursionError) as error:
        raise _refused(f"this is not YAML: {str(error).splitlines()[0]}") from error
    return Document(data=data, lines=lines)


def _construct(node: Any, path: Path, lines: dict[Path, int]) -> Any:
    line = node.start_mark.line + 1
    if len(path) > _MAX_DEPTH:
        raise _refused(f"nested more than {_MAX_DEPTH} deep, or an alias that contains itself", line)
    if node.tag not in _SCALAR_TAGS:
        raise _refused(f"the tag {node.tag!r} is not allowed; write the value itself", line)
    if isinstance(node, yaml.ScalarNode):
        return parse_scalar(node.value) if node.style is None else node.value
    if isinstance(node, yaml.SequenceNode):
        return [_item(child, (*path, index), lines) for index, child in enumerate(node.value)]
    data: dict[str, Any] = {}
    for key_node, value_node in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            raise _refused("a key must be a plain word", key_node.start_mark.line + 1)
        key = key_node.value
        if key in data:
            raise _refused(f"the key {key!r} is repeated in one mapping; keep one", key_node.start_mark.line + 1)
        data[key] = _item(value_node, (*path, key), lines, key_node)
    return data


def _item(node: Any, path: Path, lines: dict[Path, int], key_node: Any = None) -> Any:
    lines[path] = (key_node or node).start_mark.line + 1
    return _construct(node, path, lines)
