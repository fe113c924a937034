"""Documents that a retrieval evaluator searches, and that are in no row of its dataset."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from embedstep.data.facts import DatasetFacts
from embedstep.data.reading import Part, scan_parts
from embedstep.errors import InvalidRequestError, Problem
from embedstep.request.columns import Columns, ListOfPositives
from embedstep.request.datasets import Dataset
from embedstep.runtime.digests import sha256_json

if TYPE_CHECKING:
    from embedstep.request.sources import Corpus


def with_corpus(facts: DatasetFacts, dataset: Dataset, write_to: Path | None) -> DatasetFacts:
    """Read the corpus of an eval dataset and return the facts with it; those of a dataset without one as they are.

    Documents without text are left out.

    Args:
        facts: what was read of the rows.
        dataset: its section.
        write_to: folder for the documents, as `<split>-<name>.corpus.arrow`; None to write none.

    Raises:
        InvalidRequestError: the corpus cannot be read.
        CannotStartError: a server with files could not be reached, or the disk is full.
    """
    if dataset.corpus is None or facts.split != "eval":
        return facts
    to = write_to / f"{facts.split}-{facts.name}.corpus.arrow" if write_to is not None else None
    documents = Dataset(path=dataset.corpus.path, columns=Columns(positive=_column(dataset.corpus, dataset)))
    try:
        part = Part(split=facts.split, name=facts.name, write_to=to)
        (found,) = scan_parts([part], documents, drop_incomplete_rows=True, compares=False)
    except InvalidRequestError as error:
        place = facts.place
        raise InvalidRequestError(_of_the_corpus(place, problem) for problem in error.problems) from None
    return replace(
        facts,
        corpus=found.path,
        corpus_documents=found.rows,
        fingerprint=sha256_json([facts.fingerprint, found.fingerprint]),
    )


def _column(corpus: "Corpus", dataset: Dataset) -> str | None:
    positive = dataset.columns.positive
    return corpus.column or (positive.list if isinstance(positive, ListOfPositives) else positive)


def _of_the_corpus(place: str, problem: Problem) -> Problem:
    """Return the problem with the field that names the corpus in place of that of the rows."""
    is_column = problem.path.startswith(f"{place}.columns")
    return Problem(f"{place}.corpus.column" if is_column else f"{place}.corpus", problem.message)
