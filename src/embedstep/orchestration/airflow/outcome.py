"""What a component's exit code and outcome are to Airflow: success, skipped, failed for good, or to be tried again."""

from collections.abc import Mapping
from typing import Any, NoReturn

from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from embedstep.launch.termination import read_cause

_OK = 0
_FOR_GOOD = {2: "the request or the data was refused", 4: "out of memory"}
"""Codes of the outcome contract after which another try of the same would end in the same way."""
_NOTHING_NEW = {
    "unchanged": "nothing was trained",
    "superseded": "nothing was trained",
    "hold": "the champion stays until somebody decides",
    "reject": "the champion stays",
}
"""Statuses of a training and verdicts of a gate after which the tasks that follow a model have nothing to do."""


def conclude(code: int, outcome: Mapping[str, Any], words: str = "") -> dict[str, Any]:
    """Return what goes to the tasks that follow: names and small values, never what lies behind them.

    Args:
        code: exit code of the component.
        outcome: what the component has written of its end.
        words: its last words, which have the first cause of a failure.

    Raises:
        AirflowSkipException: there is no new model, so that there is nothing for the tasks that follow.
        AirflowFailException: another try would end in the same way.
        AirflowException: another try may end well.
    """
    if code != _OK:
        _failed(code, read_cause(words))
    values = dict(outcome.get("parameterValues") or {})
    ended = values.get("status") or values.get("verdict", "")
    if told := _NOTHING_NEW.get(ended):
        raise AirflowSkipException(f"{ended}: {told}; the log says why")
    return values


def _failed(code: int, cause: str) -> NoReturn:
    told = f"{cause} (exit code {code})" if cause else f"exit code {code}; the log says why"
    if code in _FOR_GOOD:
        raise AirflowFailException(f"{_FOR_GOOD[code]}, and no retry helps: {told}")
    raise AirflowException(f"the component has failed: {told}")
