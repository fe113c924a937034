"""Options of losses, evaluators and modules: a small closed set of plain types, checked before torch is imported.

A request holds only what YAML can express, so an option that is a function in the library is a name here. The check and
the worker read a value through the same function, so they cannot disagree about what `"32"` means.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from embedstep.errors import Problem, suggest
from embedstep.request.scalars import Boolean, Integer, Number, Text

OptionKind = Literal[
    "boolean", "integer", "number", "text", "choice", "integers", "numbers", "choices", "some", "words", "weights"
]


class _Required(enum.Enum):
    REQUIRED = "required"


REQUIRED: Final = _Required.REQUIRED


@dataclass(frozen=True, kw_only=True, slots=True)
class Option:
    """One option by its name in the library's constructor.

    Attributes:
        kind: the type of its value.
        default: the library's default; REQUIRED where the request must set the option.
        choices: the accepted names, for `choice`, `choices` and `some`.
        least: smallest value allowed, for numbers and for each number of a list.
        most: largest value allowed, for numbers.
        above: value that numbers must exceed.
        may_be_null: whether null is accepted; with a default of None it always is.
    """

    kind: OptionKind
    default: Any = REQUIRED
    choices: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None
    above: float | None = None
    may_be_null: bool = False


# As in the sections of a request, only the types of `scalars` convert a value.
_STRICT = ConfigDict(strict=True)
_KINDS: Mapping[OptionKind, tuple[TypeAdapter[Any], str]] = {
    "boolean": (TypeAdapter(Boolean, config=_STRICT), "true or false"),
    "integer": (TypeAdapter(Integer, config=_STRICT), "an integer"),
    "number": (TypeAdapter(Number, config=_STRICT), "a number"),
    "text": (TypeAdapter(Text, config=_STRICT), "a text"),
    "choice": (TypeAdapter(Text, config=_STRICT), "one of"),
    "integers": (TypeAdapter(list[Integer], config=_STRICT), "a list of integers"),
    "numbers": (TypeAdapter(list[Number], config=_STRICT), "a list of numbers"),
    "choices": (TypeAdapter(list[Text], config=_STRICT), "a list, each once, of"),
    "some": (TypeAdapter(Text | list[Text], config=_STRICT), "one, or a list, each once, of"),
    "words": (TypeAdapter(Text | list[Text], config=_STRICT), "a list of words, or a file with a word on each line"),
    "weights": (
        TypeAdapter(Text | dict[Text, Number], config=_STRICT),
        "a number for each word, or a JSON file with them",
    ),
}
"""The type of each kind, and its name in messages."""


def boolean(default: bool) -> Option:
    """Return an option that is true or false."""
    return Option(kind="boolean", default=default)


def integer(default: Any = REQUIRED, *, least: int | None = None) -> Option:
    """Return an option that is an integer of `least` or more."""
    return Option(kind="integer", default=default, least=least)


def number(
    default: Any = REQUIRED,
    *,
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    may_be_null: bool = False,
) -> Option:
    """Return an option that is a number of `least` or more, of `most` or less, and greater than `above`."""
    return Option(kind="number", default=default, least=least, most=most, above=above, may_be_null=may_be_null)


def text(default: Any = REQUIRED) -> Option:
    """Return an option that is any text."""
    return Option(kind="text", default=default)


def choice(default: Any, names: tuple[str, ...], *, may_be_null: bool = False) -> Option:
    """Return an option that is one of `names`."""
    return Option(kind="choice", default=default, choices=names, may_be_null=may_be_null)


def choices(default: Any, names: tuple[str, ...]) -> Option:
    """Return an option that is a list of some of `names`, each at most once."""
    return Option(kind="choices", default=default, choices=names)


def some(default: Any, names: tuple[str, ...]) -> Option:
    """Return an option that is one of `names`, or a list of several, each at most once."""
    return Option(kind="some", default=default, choices=names)


def words(default: Any = REQUIRED) -> Option:
    """Return an option that is a list of words, or a text file with a word on each line."""
    return Option(kind="words", default=default)


def weights(default: Any = REQUIRED) -> Option:
    """Return an option that is a number for each word, or a JSON file with them."""
    return Option(kind="weights", default=default)


def integers(default: Any = REQUIRED, *, least: int | None = None) -> Option:
    """Return an option that is a list of integers of `least` or more."""
    return Option(kind="integers", default=default, least=least)


def numbers(default: Any = REQUIRED) -> Option:
    """Return an option that is a list of numbers."""
    return Option(kind="numbers", default=default)


def describe_option(option: Option) -> str:
    """Return what an option accepts, to follow `must be`: `an integer of 1 or more, or null`."""
    words = _KINDS[option.kind][1]
    if option.choices:
        words += f" {', '.join(option.choices)}"
    if option.least is not None:
        words += f" of {option.least:g} or more"
    if option.most is not None:
        words += f" and {option.most:g} or less"
    if option.above is not None:
        words += f" above {option.above:g}"
    return f"{words}, or null" if option.default is None or option.may_be_null else words


def option_value(option: Option, raw: Any) -> Any:
    """Return the value of an option as written, checked and converted: 32 for `"32"`.

    Raises:
        ValueError: the option does not accept it.
    """
    if raw is None and (option.default is None or option.may_be_null):
        return None
    try:
        value = _KINDS[option.kind][0].validate_python(raw)
    except ValidationError:
        raise ValueError(f"must be {describe_option(option)}, not {raw!r}") from None
    items = value if isinstance(value, list) else [value]
    if option.choices:
        items = [_choice(option, item) for item in items]
    if not items or not all(_in_range(option, item) for item in items) or _repeats(option, items):
        raise ValueError(f"must be {describe_option(option)}, not {raw!r}")
    return items if isinstance(value, list) else items[0]


def _choice(option: Option, item: str) -> str:
    """Return the name as the library spells it; case does not matter in a request."""
    for name in option.choices:
        if name.lower() == item.lower():
            return name
    raise ValueError(f"must be {describe_option(option)}, not {item!r}{suggest(item, option.choices)}")


def _in_range(option: Option, item: Any) -> bool:
    return (
        (option.least is None or item >= option.least)
        and (option.most is None or item <= option.most)
        and (option.above is None or item > option.above)
    )


def _repeats(option: Option, items: list[Any]) -> bool:
    return option.kind in ("choices", "some") and len(set(items)) < len(items)


def option_values(options: Mapping[str, Option], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of the options that were written, by name; the library applies its own defaults.

    Raises:
        ValueError: an option does not accept its value.
        KeyError: there is no such option.
    """
    return {name: option_value(options[name], raw) for name, raw in given.items()}


def all_values(options: Mapping[str, Option], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of all options, for rules across several of them.

    Raises:
        ValueError: an option does not accept its value.
        KeyError: there is no such option.
    """
    return {name: option.default for name, option in options.items()} | option_values(options, given)


def check_options(options: Mapping[str, Option], given: Mapping[str, Any], path: str, owner: str) -> list[Problem]:
    """Return the problems of options as written: unknown names, invalid values, missing required ones.

    Args:
        options: the options that exist.
        given: the options as written.
        path: path of the options in the request, such as `loss.options`.
        owner: name of the loss, evaluator or module, for the messages.
    """
    problems = []
    for name, raw in given.items():
        if name not in options:
            problems.append(Problem(f"{path}.{name}", _unknown(name, options, owner)))
            continue
        try:
            option_value(options[name], raw)
        except ValueError as error:
            problems.append(Problem(f"{path}.{name}", str(error)))
    for name, option in options.items():
        if option.default is REQUIRED and name not in given:
            problems.append(Problem(f"{path}.{name}", f"is missing: {owner} needs {describe_option(option)}"))
    return problems


def _unknown(name: str, options: Mapping[str, Option], owner: str) -> str:
    if not options:
        return f"{owner} has no options; remove it"
    return f"is not an option of {owner}; it has {', '.join(options)}{suggest(name, options)}"
