"""What the arguments tell of a process, beside what the class of the seed era really told."""

import json
from datetime import timedelta
from typing import Any

import pytest

from embedstep.request.arguments.members import LOG_LEVELS, Process
from embedstep.request.arguments.schema import Arguments
from embedstep.runtime.world import World
from tests.places import SEED_ERA

WARMUPS: list[dict[str, Any]] = SEED_ERA["get_warmup_steps"]
LEVELS: list[dict[str, Any]] = SEED_ERA["get_process_log_level"]
SIZES = [case for case in SEED_ERA["constructor_single"] + SEED_ERA["constructor_combo"]
         if case.get("properties_changed")]  # fmt: skip
REPLICA = World(rank=3, local_rank=1, world_size=4, local_world_size=2, node_rank=1)
SECOND_NODE = World(rank=2, local_rank=0, world_size=4, local_world_size=2, node_rank=1)


def process(world: World = World(), gpus: int = 0, **arguments: Any) -> Process:  # noqa: B008
    return Process(arguments=Arguments.model_validate(arguments), world=world, gpus=gpus)


def test_alone_on_a_cpu_it_is_what_the_seed_was() -> None:
    alone = process()
    recorded = {name: row["value"] for name, row in SEED_ERA["defaults"]["properties"].items()}
    assert recorded.pop("ddp_timeout_delta") == {"__timedelta_seconds__": 1800.0}
    assert alone.ddp_timeout_delta == timedelta(minutes=30)
    assert recorded.pop("device") == {"__repr__": "device(type='cpu')"}
    assert alone.device == "cpu"
    assert recorded.pop("parallel_mode")["value"] == alone.parallel_mode == "not_parallel"
    assert {name: getattr(alone, name) for name in recorded} == recorded


@pytest.mark.parametrize("case", SIZES, ids=lambda case: json.dumps(case["kwargs"]))
def test_batch_sizes_are_the_seeds(case: dict[str, Any]) -> None:
    for name, row in case["properties_changed"].items():
        # A number that was given as text stayed text there.
        assert getattr(process(**case["kwargs"]), name) == int(row["value"])


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (process(gpus=1), ("cuda:0", 1, "not_parallel", 8)),
        (process(gpus=4), ("cuda:0", 4, "not_distributed", 32)),
        (process(gpus=4, use_cpu=True), ("cpu", 0, "not_parallel", 8)),
        (process(gpus=4, no_cuda=True), ("cpu", 0, "not_parallel", 8)),
        (process(REPLICA, gpus=2), ("cuda:1", 1, "distributed", 8)),
        (process(REPLICA), ("cpu", 0, "distributed", 8)),
    ],
)
def test_devices_are_shared_as_the_seed_shares_them(seen: Process, expected: tuple[Any, ...]) -> None:
    assert (seen.device, seen.n_gpu, seen.parallel_mode, seen.train_batch_size) == expected


def test_a_process_knows_its_place() -> None:
    seen = process(REPLICA)
    assert (seen.world_size, seen.process_index, seen.local_process_index) == (4, 3, 1)
    assert seen.place_model_on_device is True


@pytest.mark.parametrize(
    ("seen", "logs", "saves"),
    [
        (process(), True, True),
        (process(REPLICA, save_on_each_node=True), False, False),
        (process(SECOND_NODE), True, False),
        (process(SECOND_NODE, save_on_each_node=True, log_on_each_node=False), False, True),
    ],
)
def test_who_logs_and_who_saves(seen: Process, logs: bool, saves: bool) -> None:
    assert (seen.should_log, seen.should_save) == (logs, saves)


@pytest.mark.parametrize("case", LEVELS)
def test_log_levels_are_the_seeds(case: dict[str, Any]) -> None:
    found = process(log_level=case["log_level"]).get_process_log_level(case["library_verbosity"])
    assert found == case["result"]


def test_a_replica_has_a_log_level_of_its_own() -> None:
    assert dict(LOG_LEVELS) == SEED_ERA["trainer_log_levels"]
    assert process(REPLICA, log_level="debug", log_level_replica="error").get_process_log_level() == 40
    assert process(REPLICA, log_level="debug", log_level_replica="passive").get_process_log_level(20) == 20


@pytest.mark.parametrize("case", WARMUPS)
def test_warm_up_is_the_seeds(case: dict[str, Any]) -> None:
    found = process(**case["kwargs"]).get_warmup_steps(case["num_training_steps"])
    assert found == case["result"]
    assert type(found).__name__ == case["type"]


@pytest.mark.parametrize(
    ("seen", "local", "order"),
    [
        (process(), True, ["block"]),
        (process(World(world_size=2, local_world_size=2)), True, ["block", "wait"]),
        (process(REPLICA), True, ["wait", "block"]),
        (process(SECOND_NODE), True, ["block", "wait"]),
        (process(SECOND_NODE), False, ["wait", "block"]),
    ],
)
def test_the_main_process_goes_first(seen: Process, local: bool, order: list[str]) -> None:
    happened: list[str] = []
    with seen.main_process_first(lambda: happened.append("wait"), local=local):
        happened.append("block")
    assert happened == order


def test_a_main_process_that_fails_lets_the_others_go_on() -> None:
    waited: list[bool] = []
    seen = process(World(world_size=2, local_world_size=2))
    with pytest.raises(OSError, match="full"), seen.main_process_first(lambda: waited.append(True)):
        raise OSError("full")
    assert waited == [True]
