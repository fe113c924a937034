"""Read plain text: one text on each line, as the column `text`."""

import io
from collections.abc import Iterator
from itertools import islice

import pyarrow as pa

from embedstep.data.encodings import UTF8, to_utf8
from embedstep.data.sources import DataFile
from embedstep.data.streams import open_blocks, read_blocks

_BATCH_ROWS = 8_192


def text_schema() -> pa.Schema:
    """Return the one column of a plain text file."""
    return pa.schema([("text", pa.string())])


def text_batches(file: DataFile) -> Iterator[pa.RecordBatch]:
    """Yield the lines of a file; blank ones are left out, as in the other text formats.

    Raises:
        UnicodeDecodeError: a line is not of the file's encoding.
    """
    encoding = file.csv.encoding if file.csv else UTF8
    with (
        file.open_bytes() as source,
        open_blocks(to_utf8(read_blocks(source), encoding)) as utf8,
        io.TextIOWrapper(utf8, encoding=UTF8, newline=None) as text,
    ):
        lines = (line.removesuffix("\n") for line in text if not line.isspace())
        while batch := list(islice(lines, _BATCH_ROWS)):
            yield pa.record_batch([pa.array(batch, pa.string())], schema=text_schema())
