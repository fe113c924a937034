"""What a component's exit code and outcome are to Airflow: success, skipped, failed for good, or to be tried again."""

from collections.abc import Mapping
from typing import Any, NoReturn

from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

_OK = 0
_FOR_GOOD = {2: "the request or the data was refused", 4: "out of memory"}
"""Codes of the outcome contract after which another try of the same would end in the same way."""
_NOTHING_NEW = {
    "unchanged": "nothing was trained",
    "superseded": "nothing was trained",
    "hold": "the champion stays until somebody decides",
    "reject": "the champion stays",
}
"""Verdicts after which those that follow a model have nothing to do, so that an asset is not told to be new."""


def conclude(code: int, outcome: Mapping[str, Any]) -> dict[str, Any]:
    """Return what goes to the tasks that follow: names and small values, never what lies behind them.

    Args:
        code: exit code of the component.
        outcome: what the component has written of its end.

    Raises:
        AirflowSkipException: there is no new model, so that there is nothing for the tasks that follow.
        AirflowFailException: another try would end in the same way.
        AirflowException: another try may end well.
    """
    if code != _OK:
        _failed(code)
    values = dict(outcome.get("parameterValues") or {})
    if told := _NOTHING_NEW.get(values.get("verdict", "")):
        raise AirflowSkipException(f"{values['verdict']}: {told}; the log says why")
    return values


def _failed(code: int) -> NoReturn:
    if code in _FOR_GOOD:
        raise AirflowFailException(f"{_FOR_GOOD[code]} (exit code {code}); the log says why, and no retry helps")
    raise AirflowException(f"the component ended with exit code {code}; the log says why")
