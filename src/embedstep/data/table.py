"""The columns of a file and their types, known before its rows are read."""

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from embedstep.errors import EmbedstepError


@dataclass(frozen=True, kw_only=True, slots=True)
class TableSchema:
    """The columns of one file.

    Attributes:
        names: all columns, in the file's order; a name may be repeated.
        types: Arrow type by column name, at least of the requested columns that exist.
    """

    names: tuple[str, ...]
    types: Mapping[str, pa.DataType]


class NotIntegersError(EmbedstepError):
    """A column of a text file began with integers and may have other numbers; it has to be read as numbers.

    Never raised outside this package.
    """
