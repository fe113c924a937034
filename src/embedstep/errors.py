"""What can go wrong, and the exit code each kind ends in, side by side.

An orchestrator decides on the exit code alone whether to try again, so the code is part of the exception's type and
there is no second place that maps one to the other. The table is the outcome contract of the README.
"""

import signal
from collections.abc import Iterable
from dataclasses import dataclass
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
    """One thing wrong with a request or its data.

    Attributes:
        path: where, in the document's own words: `data.train.docs.columns.anchor`, or a file.
        message: what was given and what would be right, in one sentence.
    """

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class EmbedstepError(Exception):
    """Base of every error that embedstep raises on purpose."""

    exit_code: ClassVar[int] = FAILED


class InvalidRequestError(EmbedstepError):
    """The request or the data was refused: every problem at once, never retried.

    Attributes:
        problems: what is wrong.
        remainder: what of a request could be read all the same, in case somebody looks for further problems in it.
    """

    exit_code = REFUSED

    def __init__(self, problems: Iterable[Problem], remainder: Any = None) -> None:
        self.problems = tuple(problems)
        self.remainder = remainder
        super().__init__("\n".join(str(problem) for problem in self.problems))

    @classmethod
    def from_lines(cls, lines: Iterable[str]) -> "InvalidRequestError":
        """Rebuild the error from problems that another process wrote down as `path: message`."""
        parts = (line.partition(": ") for line in lines)
        return cls(Problem(path, message) if message else Problem("", path) for path, _, message in parts)


class CannotStartError(EmbedstepError):
    """Something outside the request is missing (a package, a server, a peer); trying again may help."""

    exit_code = CANNOT_START


class StepInterruptedError(EmbedstepError):
    """A signal asked the step to end; an orchestrator gives it another attempt."""

    exit_code = INTERRUPTED

    def __init__(self, number: int, where: str = "") -> None:
        self.number = number
        again = "the next attempt goes on from the last whole checkpoint, where there is one"
        super().__init__(f"interrupted by {signal_name(number)}{where}; {again}")

    def after(self, step: int, steps: int) -> "StepInterruptedError":
        """Return the same with the train step after which the ranks have stopped, and how many there were to be."""
        return StepInterruptedError(self.number, f" after train step {step} of {steps}")


class PeerLostError(EmbedstepError):
    """Another machine of the training is gone; all of them are to be started again."""

    exit_code = INTERRUPTED


class TrainingFailedError(EmbedstepError):
    """The training ran and did not end with a verified model."""

    exit_code = FAILED


class DivergedError(TrainingFailedError):
    """The training's numbers have gone bad, and the request says that this ends it."""


def signal_name(number: int) -> str:
    """Return the name of a signal; realtime signals have none but their number."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, or its kind where it says nothing."""
    return next(iter(str(error).splitlines()), type(error).__name__)
