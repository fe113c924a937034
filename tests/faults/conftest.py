"""The table of the faults, which `make faults` shows and writes to `build/faults.json`, and what their tests share."""

import json
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from tests.faults.looking import interrupt

FORMAT = "embedstep.faults/1"
_REPORTS = pytest.StashKey[Any]()
_FAILED = pytest.StashKey[bool]()


class Fault:
    """What came of the fault that a test injects.

    Attributes:
        outcome: how the attempt with the fault ended.
        lost: what the attempts after it did not have again.
    """

    def __init__(self, record: Callable[[str, object], None]) -> None:
        self._record = record

    def came_to(self, outcome: str, lost: list[str] | None) -> None:
        """Write down how the attempt has ended, and require that nothing is lost.

        Args:
            outcome: the exit code, and what else there is to say.
            lost: what was found to be lost; None where there was nothing yet that could be.
        """
        self._record("outcome", outcome)
        self._record("lost", "nothing was there yet" if lost is None else ", ".join(lost) or "nothing")
        assert not lost, "\n".join(lost)


@pytest.fixture
def fault(record_property: Callable[[str, object], None], request: pytest.FixtureRequest) -> Iterator[Fault]:
    """Take what came of the fault; a test that says nothing of it has not shown anything."""
    found = Fault(record_property)
    yield found
    has_failed = request.node.stash.get(_FAILED, True)
    assert has_failed or "lost" in dict(request.node.user_properties), "the test did not say what was lost"


@pytest.fixture
def at_look(monkeypatch: pytest.MonkeyPatch) -> Callable[[int | None], list[str]]:
    """Return a function that has SIGTERM come at the n-th place where the ranks look, and gives the places passed."""
    from embedstep.worker.trainer.stopping import StopController

    places: list[str] = []
    at: list[int | None] = [None]
    step_end, check, check_locally = StopController.on_step_end, StopController.check, StopController.check_locally

    def passed(place: str) -> None:
        places.append(place)
        if len(places) == at[0]:
            interrupt()

    def on_step_end(self: StopController, *arguments: Any, **options: Any) -> None:
        passed("step")
        step_end(self, *arguments, **options)

    def checking(self: StopController) -> None:
        passed("evaluation")
        check(self)

    def encoding(self: StopController) -> None:
        passed("evaluator")
        check_locally(self)

    monkeypatch.setattr(StopController, "on_step_end", on_step_end)
    monkeypatch.setattr(StopController, "check", checking)
    monkeypatch.setattr(StopController, "check_locally", encoding)

    def arm(number: int | None) -> list[str]:
        at[0] = number
        places.clear()
        return places

    return arm


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let the fixture know whether the test has failed anyway."""
    report = yield
    if report.when == "call":
        item.stash[_FAILED] = report.failed
    return report


def pytest_configure(config: pytest.Config) -> None:
    """Begin a table."""
    config.stash[_REPORTS] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test here names its fault; the names travel with the reports, from whichever process."""
    for item in items:
        marker = item.get_closest_marker("fault")
        if marker is not None:
            what, where = marker.args
            values = item.callspec.params if hasattr(item, "callspec") else {}
            item.user_properties += [("fault", what.format(**values)), ("where", where.format(**values))]


class _Table:
    def __init__(self, config: pytest.Config) -> None:
        self._reports = config.stash[_REPORTS]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        record = dict(report.user_properties)
        if "fault" not in record or (report.when != "call" and report.passed):
            return
        outcome = record.get("outcome", "test failed") if report.passed else "test failed"
        self._reports.append(
            {
                "fault": record["fault"],
                "where": record["where"],
                "outcome": outcome,
                "seconds": round(report.duration, 1),
                "lost": record.get("lost", "unknown") if report.passed else "unknown",
                "test": report.nodeid,
            }
        )


def pytest_sessionstart(session: pytest.Session) -> None:
    """Collect reports in the process that has them all."""
    if not hasattr(session.config, "workerinput"):
        session.config.pluginmanager.register(_Table(session.config))


def pytest_terminal_summary(config: pytest.Config) -> None:
    """Show the table and write it."""
    rows = sorted(config.stash[_REPORTS], key=lambda row: (row["where"], row["fault"]))
    if not rows:
        return
    table = Table("fault", "where", "outcome", "seconds", "lost")
    for row in rows:
        table.add_row(row["fault"], row["where"], row["outcome"], f"{row['seconds']:.1f}", row["lost"])
    Console(width=150).print(table)
    file = Path(config.rootpath) / "build/faults.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps({"format": FORMAT, "faults": rows}, indent=2) + "\n", encoding="utf-8")
