"""What the libraries take from the environment in place of a request, and which ranks show messages."""

import json
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from embedstep.request.loading import load_request
from embedstep.runtime.world import World
from embedstep.worker.environment import export_environment, quiet_other_ranks

VARIABLES = ("HF_TOKEN", "TENSORBOARD_LOGGING_DIR")


@pytest.fixture
def level() -> Iterator[None]:
    """Restore the level of all loggers."""
    before = logging.getLogger().level
    yield
    logging.getLogger().setLevel(before)


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ({}, ["before", "before"]),
        ({"hub_token": {"from_env": "TOKEN_OF_A_TEAM"}}, ["planted", "before"]),
        ({"logging_dir": "~/events"}, ["before", str(Path("~/events").expanduser())]),
    ],
)
def test_a_token_and_a_folder_of_events_are_exported(
    request_of: Callable[..., dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    arguments: dict[str, Any],
    found: list[str],
) -> None:
    monkeypatch.setenv("TOKEN_OF_A_TEAM", "planted")
    for name in VARIABLES:
        monkeypatch.setenv(name, "before")
    export_environment(load_request(json.dumps(request_of(arguments=arguments))))
    assert [os.environ[name] for name in VARIABLES] == found


@pytest.mark.usefixtures("level")
@pytest.mark.parametrize(("rank", "shows"), [(0, True), (1, False)])
def test_messages_are_those_of_the_first_rank_and_warnings_of_all(rank: int, shows: bool) -> None:
    logging.getLogger().setLevel(logging.INFO)
    with warnings.catch_warnings():
        quiet_other_ranks(World(rank=rank, local_rank=rank, world_size=2, local_world_size=2))
    logger = logging.getLogger("embedstep.tests")
    assert (logger.isEnabledFor(logging.INFO), logger.isEnabledFor(logging.WARNING)) == (shows, True)
