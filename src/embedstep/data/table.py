"""What a reader of one format tells about a file before its rows: the columns there are, and their types."""

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from embedstep.errors import EmbedstepError


@dataclass(frozen=True, kw_only=True, slots=True)
class TableSchema:
    """The columns of one file.

    Attributes:
        names: every column, in the file's order; a name may stand there twice.
        types: Arrow type by column name, at least for those of the asked columns that are there.
    """

    names: tuple[str, ...]
    types: Mapping[str, pa.DataType]


class NotIntegersError(EmbedstepError):
    """Labels of a text file began as integers and may go on as other numbers, so reading starts again with numbers.

    It never leaves this package.
    """
