"""The one clean file that training reads: complete rows, columns by role, in Arrow's stream format.

It appears under its name only when it is whole, so a run that is killed while writing never leaves a file behind that
a later run takes for data.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow as pa

from embedstep.errors import CannotStartError


@contextmanager
def arrow_file(target: Path, schema: pa.Schema) -> Iterator[Callable[[pa.RecordBatch], None]]:
    """Write an Arrow IPC stream file at `target` that replaces an earlier one when the block ends without an error.

    Args:
        target: the file; missing folders above it are made.
        schema: of every batch.

    Yields:
        the function that writes one batch.

    Raises:
        CannotStartError: the disk is full, or the folder may not be written.
    """
    partial = target.with_name(f"{target.name}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with pa.OSFile(str(partial), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
            yield writer.write_batch
        partial.replace(target)
    except OSError as error:
        raise CannotStartError(f"the rows cannot be written to {target}: {error}") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
