"""Batch samplers of other packages: a function from numbers about the rows to the rows of each global batch.

It is called for one epoch at a time, by the plan and by every rank, and must give the same batches each time: the ranks
take their shares of one batch without asking each other. What it gives is checked here wherever it is called.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from embedstep.errors import InvalidRequestError, Problem, first_line
from embedstep.request import extensions
from embedstep.request.arguments.types import BATCH_SAMPLERS
from embedstep.runtime.text import count

if TYPE_CHECKING:
    from embedstep.sampling.batches import Batches

_PLACE = "arguments.batch_sampler"


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchSamplerKind:
    """One batch sampler.

    Attributes:
        name: its name in a request.
        function: returns the global batches of an epoch in their order, each as the numbers of its rows. It gets as
            keyword arguments: `rows`, how many there are; `batch_size`, rows of a global batch (of all ranks);
            `world_size`; `drop_last`; `seed`; `epoch`, from 0; and what `reads` names.
        reads: `labels` (integers of shape (rows,)), `texts` (integers of shape (columns, rows), the same for equal
            texts, -1 for none).
    """

    name: str
    function: Callable[..., Iterable[Any]]
    reads: tuple[Literal["labels", "texts"], ...] = ()


def declared_sampler(name: str) -> BatchSamplerKind | None:
    """Return a batch sampler of another package, or None for one of ours.

    Raises:
        LookupError: there is none.
        ValueError: its declaration cannot be imported.
    """
    if name in BATCH_SAMPLERS:
        return None
    found: BatchSamplerKind = extensions.declared(extensions.BATCH_SAMPLERS, name, BatchSamplerKind)
    return found


def declared_reads(name: str) -> tuple[Literal["labels", "texts"], ...]:
    """Return what a batch sampler of another package reads: nothing for one of ours."""
    kind = declared_sampler(name)
    return kind.reads if kind else ()


def declared_code(name: str) -> str:
    """Return a digest of the code of another package's batch sampler, on which the order of rows depends; else `""`."""
    kind = declared_sampler(name)
    return extensions.code_digest(kind.function.__module__) if kind else ""


def reads_labels(name: str) -> bool:
    """Return whether a batch sampler needs labels; nothing is known of one in doubt."""
    return name == "group_by_label" or (not check_batch_sampler(name) and "labels" in declared_reads(name))


def check_batch_sampler(name: str) -> list[Problem]:
    """Return what is wrong with a batch sampler by itself; a name that is unknown was refused with the request."""
    try:
        declared_sampler(name)
    except (LookupError, ValueError) as error:
        return [Problem(_PLACE, str(error))]
    return []


@dataclass(frozen=True, kw_only=True)
class DeclaredBatches:
    """The batches of a dataset in each epoch, as a declared function forms them.

    Attributes:
        kind: the batch sampler.
        rows: rows of the dataset.
        size: rows of a global batch.
        world_size: ranks.
        drop_last: whether all batches are full.
        seed: seed of the order.
        arrays: what the function reads, by name.
    """

    kind: BatchSamplerKind
    rows: int
    size: int
    world_size: int
    drop_last: bool
    seed: int
    arrays: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, epoch: int) -> "Batches":
        """Return the batches of one epoch.

        Raises:
            InvalidRequestError: the function fails, or gives what the ranks cannot train on.
        """
        if epoch == 0:
            return self._first
        found = self._formed(epoch)
        if len(found) != len(self._first):
            raise self._refused(
                f"gives {count(len(found), 'batch')} in epoch {epoch} and {len(self._first):,} in epoch 0; "
                "every epoch needs as many"
            )
        return found

    def require_repeatable(self) -> None:
        """Form the batches of the first epoch once more, and those of the second, as the ranks will.

        Raises:
            InvalidRequestError: the batches are not the same each time, or not as many in each epoch.
        """
        import numpy as np

        again = self._formed(0)
        if not (np.array_equal(again.rows, self._first.rows) and np.array_equal(again.starts, self._first.starts)):
            raise self._refused("gives other batches for the same epoch; draw with the seed and the epoch that it gets")
        self(1)  # which refuses another number of batches than in the first epoch

    @cached_property
    def _first(self) -> "Batches":
        return self._formed(0)

    def _formed(self, epoch: int) -> "Batches":
        import numpy as np

        from embedstep.sampling.batches import Batches

        try:
            batches = self.kind.function(
                rows=self.rows,
                batch_size=self.size,
                world_size=self.world_size,
                drop_last=self.drop_last,
                seed=self.seed,
                epoch=epoch,
                **self.arrays,
            )
            found = [np.asarray(batch) for batch in batches]
        except Exception as error:  # the function is somebody else's, and may raise anything
            raise self._refused(f"fails in epoch {epoch}: {type(error).__name__}: {first_line(error)}") from error
        if not found:
            raise self._refused(f"gives no batch of {self.rows:,} rows, with {self.size:,} in a global batch")
        for number, batch in enumerate(found):
            if fault := self._fault(batch):
                raise self._refused(f"gives batch {number} of epoch {epoch} with {fault}")
        starts = np.cumsum([0, *map(len, found)])
        return Batches(rows=np.concatenate(found).astype(np.int32), starts=starts)

    def _fault(self, batch: Any) -> str:
        """Say why the ranks could not share a batch, or return nothing where they can."""
        if not batch.size:
            return "no rows"
        if batch.ndim != 1 or batch.dtype.kind not in "iu":
            return f"shape {batch.shape} and type {batch.dtype}; a batch is a list of row numbers"
        if batch.min() < 0 or batch.max() >= self.rows:
            return f"row numbers outside 0 to {self.rows - 1}"
        if len(batch) > self.size or (self.drop_last and len(batch) < self.size):
            return f"{len(batch)} rows; {self.size} are a global batch"
        if len(batch) % self.world_size:
            return f"{len(batch)} rows, which {self.world_size} processes cannot share evenly"
        return ""

    def _refused(self, message: str) -> InvalidRequestError:
        return InvalidRequestError([Problem(_PLACE, f"{self.kind.name} {message}")])
