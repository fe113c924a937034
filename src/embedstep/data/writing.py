"""Write rows: those for the training as an Arrow stream.

A file gets its name when it is complete, so a later run cannot use the partial file of a run that was killed.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow as pa

from embedstep.errors import CannotStartError


@contextmanager
def arrow_file(target: Path, schema: pa.Schema) -> Iterator[Callable[[pa.RecordBatch], None]]:
    """Write an Arrow IPC stream file, which replaces an earlier one if the block ends without an error.

    Args:
        target: the file; missing parent folders are created.
        schema: schema of each batch.

    Yields:
        the function that writes one batch.

    Raises:
        CannotStartError: the disk is full, or the folder may not be written.
    """
    partial = target.with_name(f"{target.name}.partial")
    with partial_file(partial, target):
        with pa.OSFile(str(partial), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
            yield writer.write_batch
        partial.replace(target)


@contextmanager
def partial_file(partial: Path, target: Path) -> Iterator[None]:
    """Remove a file that the block has not given another name, and say where rows cannot be written.

    Args:
        partial: the file; missing parent folders are created.
        target: what the rows are written to, for the message.

    Raises:
        CannotStartError: the disk is full, or the folder may not be written.
    """
    try:
        partial.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise CannotStartError(f"the rows cannot be written to {target}: {error}") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
