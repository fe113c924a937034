"""What an orchestrator makes of a request's schedule, for `embedstep schedule` to show."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Scheduled:
    """A schedule in an orchestrator.

    Attributes:
        facts: what was made or would be, as pairs of a name and a value.
        notes: what the orchestrator does in another way than the request says, a sentence each.
    """

    facts: tuple[tuple[str, str], ...]
    notes: tuple[str, ...] = ()
