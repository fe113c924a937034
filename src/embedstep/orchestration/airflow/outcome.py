"""From the exit code and outputs of a component to a state of Airflow: success, skipped, failed, or to be retried."""

from collections.abc import Mapping
from typing import Any, NoReturn

from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from embedstep.errors import OK
from embedstep.launch.termination import read_cause

_PERMANENT = {2: "the request or the data was refused", 4: "out of memory"}
"""Exit codes after which a retry would fail in the same way."""
_SKIPPED = {
    "unchanged": "nothing was trained",
    "superseded": "nothing was trained",
    "hold": "the champion stays until someone decides",
    "reject": "the champion stays",
}
"""Statuses of a training and verdicts of a gate after which later tasks have nothing to do."""


def conclude(code: int, outcome: Mapping[str, Any], message: str = "") -> dict[str, Any]:
    """Return the output parameters for later tasks: names and small values, never data.

    Args:
        code: exit code of the component.
        outcome: what the component wrote to its output file.
        message: its termination message, which names the first cause of a failure.

    Raises:
        AirflowSkipException: there is no new model, so later tasks have nothing to do.
        AirflowFailException: a retry would fail in the same way.
        AirflowException: a retry may succeed.
    """
    if code != OK:
        _failed(code, read_cause(message))
    values = dict(outcome.get("parameterValues") or {})
    ended = values.get("status") or values.get("verdict", "")
    if consequence := _SKIPPED.get(ended):
        raise AirflowSkipException(f"{ended}: {consequence}; see the log for the reason")
    return values


def _failed(code: int, cause: str) -> NoReturn:
    reason = f"{cause} (exit code {code})" if cause else f"exit code {code}; see the log for the reason"
    if code in _PERMANENT:
        raise AirflowFailException(f"{_PERMANENT[code]}, and a retry does not help: {reason}")
    raise AirflowException(f"the component failed: {reason}")
