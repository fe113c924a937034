"""Every error of embedstep with its exit code, and the sentences that errors share.

An orchestrator retries by the exit code alone, so the code belongs to the exception's type and is mapped nowhere else.
The README documents the codes.
"""

import re
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, ClassVar

OK = 0
FAILED = 1
REFUSED = 2
CANNOT_START = 3
OUT_OF_MEMORY = 4
INTERRUPTED = 75

OUTCOMES = {
    OK: "succeeded",
    FAILED: "failed",
    REFUSED: "refused",
    CANNOT_START: "cannot_start",
    OUT_OF_MEMORY: "out_of_memory",
    INTERRUPTED: "interrupted",
}


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One mistake in a request or its data.

    Attributes:
        path: the field, such as `data.train.docs.columns.anchor`, or a file.
        message: the given value and what would be right, in one sentence.
    """

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class EmbedstepError(Exception):
    """Base of all errors that embedstep raises."""

    exit_code: ClassVar[int] = FAILED


class InvalidRequestError(EmbedstepError):
    """The request or its data is invalid. Carries all problems at once; a retry cannot help.

    Attributes:
        problems: every mistake that was found.
        remainder: the request without its invalid fields, for further checks; None if that is not a request.
    """

    exit_code = REFUSED

    def __init__(self, problems: Iterable[Problem], remainder: Any = None) -> None:
        self.problems = tuple(problems)
        self.remainder = remainder
        super().__init__("\n".join(str(problem) for problem in self.problems))

    @classmethod
    def at(cls, path: str, message: str) -> "InvalidRequestError":
        """Return the error of a single mistake."""
        return cls([Problem(path, message)])

    @classmethod
    def from_lines(cls, lines: Iterable[str]) -> "InvalidRequestError":
        """Rebuild the error from the `path: message` lines of another process."""
        parts = (line.partition(": ") for line in lines)
        return cls(Problem(path, message) if message else Problem("", path) for path, _, message in parts)


_OF_A_DATASET = re.compile(r"(data\.(?:train|eval|test)|loss)\.([^.:]+)([^:]*): (.*)", re.DOTALL)
_OF_A_FILE = re.compile(r"\S*[/.\d]\S*|'[^']*'")
_MOST_ALIKE, _SHOWN_ALIKE, _SHOWN_NAMES = 5, 2, 5


def group_alike(problems: Iterable[str]) -> list[str]:
    """Return problems without the repetitions of one that many datasets share.

    Args:
        problems: `path: message` of each. Those are alike that differ in dataset, files, numbers and quoted names only.
    """
    groups: dict[Any, list[tuple[str, str]]] = {}
    for line in problems:
        found = _OF_A_DATASET.fullmatch(line)
        if found is None:
            groups.setdefault(line, []).append((line, ""))
            continue
        split, name, field, message = found.groups()
        key = (split, field, _OF_A_FILE.sub("*", message.replace(name, "*")))
        groups.setdefault(key, []).append((line, f"{split}.{name}"))
    shown = []
    for alike in groups.values():
        if len(alike) <= _MOST_ALIKE:
            shown += [line for line, _ in alike]
            continue
        shown += [line for line, _ in alike[:_SHOWN_ALIKE]]
        others = [place for _, place in alike[_SHOWN_ALIKE:]]
        listed = ", ".join(others[:_SHOWN_NAMES]) + (", ..." if len(others) > _SHOWN_NAMES else "")
        shown.append(f"the same in {len(others):,} more datasets: {listed}")
    return shown


@contextmanager
def collect_problems(problems: list[Problem]) -> Iterator[None]:
    """Add the problems of an InvalidRequestError in the block to a list, so that the next part is still examined."""
    try:
        yield
    except InvalidRequestError as error:
        problems.extend(error.problems)


class CannotStartError(EmbedstepError):
    """A package, server, disk or peer is not available. A retry may help."""

    exit_code = CANNOT_START


class StepInterruptedError(EmbedstepError):
    """A signal stopped the step. A retry resumes it."""

    exit_code = INTERRUPTED

    def __init__(self, number: int, where: str = "") -> None:
        self.number = number
        resume = "the next attempt resumes from the last complete checkpoint, if there is one"
        super().__init__(f"interrupted by {signal_name(number)}{where}; {resume}")

    def after(self, step: int, steps: int) -> "StepInterruptedError":
        """Return the error with the train step after which the ranks stopped, and the number of planned steps."""
        return StepInterruptedError(self.number, f" after train step {step} of {steps}")


class PeerLostError(EmbedstepError):
    """The connection to another node was lost. All nodes have to be restarted."""

    exit_code = INTERRUPTED


class TrainingFailedError(EmbedstepError):
    """The training ended without a verified model."""

    exit_code = FAILED


class DivergedError(TrainingFailedError):
    """The training diverged, and `launch.stop_on` ends it for that."""


def signal_name(number: int) -> str:
    """Return `SIGTERM` for 15; a real-time signal has no name and gives `signal 35`."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message without its full stop, or its type if the message is empty."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(". ")


def suggest(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """Return `; did you mean X?` with the most similar known name, or nothing if none is similar.

    Args:
        name: the unknown name; its case and surrounding spaces are ignored.
        known: the valid names.
        cutoff: the least similarity, from 0 to 1 (`difflib.get_close_matches`).
    """
    by_folded = {other.strip().casefold(): other for other in reversed(list(known))}
    similar = get_close_matches(name.strip().casefold(), by_folded, n=1, cutoff=cutoff)
    return f"; did you mean {by_folded[similar[0]]}?" if similar else ""
