"""The registry of MLflow: one of several promotions wins, and locks are given up."""

import threading

import pytest

from embedstep.tracking.mlflow_registry import Registry, Version
from tests.tracking.conftest import open_client

pytestmark = pytest.mark.slow


def versions(uri: str, name: str, count: int) -> list[Version]:
    client = open_client(uri)
    client.create_registered_model(name)
    made = [client.create_model_version(name, f"s3://models/{number}") for number in range(count)]
    return [Version(number=str(one.version), run_id=None) for one in made]


def test_of_two_gates_at_once_one_wins(server: str) -> None:
    """MLflow gives an alias to the last one that sets it; here the champion must still be the expected one."""
    some = versions(server, "race", 6)
    begin = threading.Barrier(len(some))
    won: dict[str, bool] = {}

    def gate(version: Version) -> None:
        registry = Registry(server, "race")
        begin.wait()
        won[version.number] = registry.promote(version, None)

    threads = [threading.Thread(target=gate, args=(version,)) for version in some]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won.values()) == [False] * 5 + [True]
    (winner,) = (number for number, has_won in won.items() if has_won)
    champion = Registry(server, "race").champion()
    assert champion is not None
    assert champion.number == winner
    assert [model.name for model in open_client(server).search_registered_models("name LIKE 'race%'")] == ["race"]


def test_a_gate_that_vanished_holds_nobody_up_for_long(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    one, _ = versions(uri, "held", 2)
    open_client(uri).create_registered_model("held.promoting")
    monkeypatch.setattr("embedstep.tracking.mlflow_registry._LOCK_EXPIRY", 0.5)
    assert Registry(uri, "held").promote(one, None)
    assert Registry(uri, "held").champion() == one
