"""A schedule in an orchestrator, for `embedstep schedule` to print."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Scheduled:
    """A schedule in an orchestrator.

    Attributes:
        facts: what was or would be created, as pairs of a name and a value.
        notes: where the orchestrator does not follow the request exactly, one sentence each.
    """

    facts: tuple[tuple[str, str], ...]
    notes: tuple[str, ...] = ()
