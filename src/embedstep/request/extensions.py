"""Code of other packages that a request names: a loss, an evaluator, a module, a batch sampler and others.

A name is that of an entry point of an installed package, or `package.module:Name`. Both lead to a declaration: a small
value that says which columns and options the thing takes, and where its code is. Declarations are read on machines
without torch, so they import none; nothing at all is imported that no request names.
"""

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib import import_module
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationError
from pydantic_core import CoreSchema, PydanticKnownError, core_schema

from embedstep.errors import EmbedstepError, first_line

LOSSES: Final = "embedstep.losses"
EVALUATORS: Final = "embedstep.evaluators"
MODULES: Final = "embedstep.modules"
BATCH_SAMPLERS: Final = "embedstep.batch_samplers"
TRACKERS: Final = "embedstep.trackers"
ROW_FUNCTIONS: Final = "embedstep.row_functions"
ROW_SOURCES: Final = "embedstep.row_sources"
TRANSFORMS: Final = "embedstep.transforms"

_REFERENCE = r"[A-Za-z_]\w*(\.\w+)*:[A-Za-z_]\w*"
_T = TypeVar("_T")


def is_reference(name: str) -> bool:
    """Return whether `name` is spelled `package.module:Name`."""
    return re.fullmatch(_REFERENCE, name) is not None


def entry_names(group: str) -> list[str]:
    """Return the names that installed packages have in an entry point group."""
    return sorted(entry_points(group=group).names)


@cache
def declared(group: str, name: str, kind: type[_T]) -> _T:
    """Return the declaration that `name` stands for; its module is imported.

    Args:
        group: the entry point group, such as `embedstep.losses`.
        name: name of an entry point, or `package.module:Name`.
        kind: class that the declaration is an instance of.

    Raises:
        LookupError: no installed package has such an entry point.
        ValueError: the code cannot be imported, or is no such declaration.
    """
    reference = name if is_reference(name) else _entry(group, name).value
    found = load(reference)
    if not isinstance(found, kind):
        raise ValueError(f"{reference} is of type {type(found).__name__}; it must be an embedstep.{kind.__name__}")
    return found


def _entry(group: str, name: str) -> EntryPoint:
    found = {entry.value: entry for entry in entry_points(group=group, name=name)}
    if not found:
        raise LookupError(name)
    if len(found) > 1:
        raise ValueError(f"{name!r} is declared by several packages; write one of {', '.join(sorted(found))}")
    return next(iter(found.values()))


def load(reference: str) -> Any:
    """Import `package.module:Name` and return what it names.

    Raises:
        ValueError: the module cannot be imported, or has no such name.
    """
    module, _, name = reference.partition(":")
    try:
        imported = import_module(module)
    except EmbedstepError:
        raise
    except Exception as error:  # the code is somebody else's, and may raise anything
        raise ValueError(f"{module} cannot be imported: {type(error).__name__}: {first_line(error)}") from error
    try:
        return getattr(imported, name)
    except AttributeError:
        raise ValueError(f"{module} has no {name!r}") from None


def missing_code(reference: str) -> str:
    """Say that the module of `package.module:Name` is not there, or nothing; only packages above it are imported.

    Args:
        reference: where a class is; a plain name is a class of sentence-transformers, and not looked for.
    """
    module = reference.partition(":")[0]
    try:
        is_there = not is_reference(reference) or find_spec(module) is not None
    except Exception as error:  # of a package above, which may raise anything
        return f"{module} cannot be imported: {type(error).__name__}: {first_line(error)}"
    return "" if is_there else f"{module} cannot be imported: there is no such module"


def code_digest(module: str) -> str:
    """Return a digest of a module's file and of its package's version; other code has another digest.

    Packages above the module are imported, the module itself is not.
    """
    spec = find_spec(module)
    file = Path(spec.origin) if spec is not None and spec.origin is not None else None
    digest = sha256(file.read_bytes() if file is not None and file.is_file() else b"")
    with suppress(PackageNotFoundError):  # a module on the path that belongs to no installed package
        digest.update(version(module.partition(".")[0]).encode())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class OrDeclared:
    """Lets a field with a choice of words take the name of an extension, too.

    Attributes:
        group: the entry point group that its name is looked up in.
    """

    group: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Check by the choice first, so that the usual words cost no look-up."""
        return core_schema.no_info_wrap_validator_function(self._checked, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Show the words, and that another text may stand there."""
        return {"anyOf": [handler(schema), {"type": "string"}]}

    def _checked(self, value: Any, choice: Callable[[Any], Any]) -> Any:
        try:
            return choice(value)
        except ValidationError as error:
            if not isinstance(value, str):
                raise
            names = entry_names(self.group)
            if is_reference(value) or value in names:
                return value
            (detail,) = error.errors(include_url=False)
            expected = " or ".join([detail["ctx"]["expected"], *map(repr, names)])
            raise PydanticKnownError("literal_error", {"expected": expected}) from None
