"""What the arguments say about a process, and what the class of sentence-transformers 3.0 said."""

import json
import sys
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from embedstep.request.arguments import process
from embedstep.request.arguments.process import LOG_LEVELS, ProcessArguments
from embedstep.runtime.world import World
from tests.places import RECORDED_3_0

WARMUPS: list[dict[str, Any]] = RECORDED_3_0["get_warmup_steps"]
LEVELS: list[dict[str, Any]] = RECORDED_3_0["get_process_log_level"]
SIZES = [case for case in RECORDED_3_0["constructor_single"] + RECORDED_3_0["constructor_combo"]
         if case.get("properties_changed")]  # fmt: skip
REPLICA = World(rank=3, local_rank=1, world_size=4, local_world_size=2, node_rank=1)
SECOND_NODE = World(rank=2, local_rank=0, world_size=4, local_world_size=2, node_rank=1)
FIRST_OF_TWO = World(world_size=2, local_world_size=2)
Place = Callable[..., None]


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Place:
    """Return the function that puts this process into a world, with GPUs that it can see."""

    def put(world: World = World(), gpus: int = 0) -> None:  # noqa: B008
        variables = {
            "RANK": world.rank, "LOCAL_RANK": world.local_rank, "WORLD_SIZE": world.world_size,
            "LOCAL_WORLD_SIZE": world.local_world_size, "GROUP_RANK": world.node_rank,
        }  # fmt: skip
        for name, value in variables.items():
            monkeypatch.setenv(name, str(value))
        monkeypatch.setattr(process, "visible_gpus", lambda environ: gpus)

    return put


def arguments(**given: Any) -> ProcessArguments:
    return ProcessArguments.model_validate(given)


def test_alone_on_a_cpu_every_property_is_that_of_3_0(place: Place) -> None:
    place()
    alone = arguments()
    recorded = {name: row["value"] for name, row in RECORDED_3_0["defaults"]["properties"].items()}
    assert recorded.pop("ddp_timeout_delta") == {"__timedelta_seconds__": 1800.0}
    assert alone.ddp_timeout_delta == timedelta(minutes=30)
    assert recorded.pop("device") == {"__repr__": "device(type='cpu')"}
    assert alone.device == "cpu"
    assert recorded.pop("parallel_mode")["value"] == alone.parallel_mode == "not_parallel"
    assert {name: getattr(alone, name) for name in recorded} == recorded


@pytest.mark.parametrize("case", SIZES, ids=lambda case: json.dumps(case["kwargs"]))
def test_batch_sizes_are_those_of_3_0(place: Place, case: dict[str, Any]) -> None:
    place()
    for name, row in case["properties_changed"].items():
        # In 3.0, a number that was given as text stayed text.
        assert getattr(arguments(**case["kwargs"]), name) == int(row["value"])


@pytest.mark.parametrize(
    ("world", "gpus", "given", "expected"),
    [
        (World(), 1, {}, ("cuda:0", 1, "not_parallel", 8)),
        (World(), 4, {}, ("cuda:0", 4, "not_distributed", 32)),
        (World(), 4, {"use_cpu": True}, ("cpu", 0, "not_parallel", 8)),
        (World(), 4, {"no_cuda": True}, ("cpu", 0, "not_parallel", 8)),
        (REPLICA, 2, {}, ("cuda:1", 1, "distributed", 8)),
        (REPLICA, 0, {}, ("cpu", 0, "distributed", 8)),
    ],
)
def test_devices_are_shared_as_in_3_0(
    place: Place, world: World, gpus: int, given: dict[str, Any], expected: tuple[Any, ...]
) -> None:
    place(world, gpus)
    seen = arguments(**given)
    assert (seen.device, seen.n_gpu, seen.parallel_mode, seen.train_batch_size) == expected


def test_a_process_knows_its_rank(place: Place) -> None:
    place(REPLICA)
    seen = arguments()
    assert (seen.world_size, seen.process_index, seen.local_process_index) == (4, 3, 1)
    assert seen.place_model_on_device is True


@pytest.mark.parametrize(
    ("world", "given", "logs", "saves"),
    [
        (World(), {}, True, True),
        (REPLICA, {"save_on_each_node": True}, False, False),
        (SECOND_NODE, {}, True, False),
        (SECOND_NODE, {"save_on_each_node": True, "log_on_each_node": False}, False, True),
    ],
)
def test_main_processes_log_and_save(
    place: Place, world: World, given: dict[str, Any], logs: bool, saves: bool
) -> None:
    place(world)
    seen = arguments(**given)
    assert (seen.should_log, seen.should_save) == (logs, saves)


@pytest.mark.parametrize("case", LEVELS)
def test_log_levels_are_those_of_3_0(case: dict[str, Any]) -> None:
    found = arguments(log_level=case["log_level"]).get_process_log_level(case["library_verbosity"])
    assert found == case["result"]


def test_a_replica_has_its_own_log_level(place: Place) -> None:
    assert dict(LOG_LEVELS) == RECORDED_3_0["trainer_log_levels"]
    place(REPLICA)
    assert arguments(log_level="debug", log_level_replica="error").get_process_log_level() == 40
    assert arguments(log_level="debug", log_level_replica="passive").get_process_log_level(20) == 20


@pytest.mark.parametrize("case", WARMUPS)
def test_warmup_steps_are_those_of_3_0(case: dict[str, Any]) -> None:
    found = arguments(**case["kwargs"]).get_warmup_steps(case["num_training_steps"])
    assert found == case["result"]
    assert type(found).__name__ == case["type"]


@pytest.mark.parametrize(
    ("world", "local", "order"),
    [
        (World(), True, ["block"]),
        (FIRST_OF_TWO, True, ["block", "wait"]),
        (REPLICA, True, ["wait", "block"]),
        (SECOND_NODE, True, ["block", "wait"]),
        (SECOND_NODE, False, ["wait", "block"]),
    ],
)
def test_the_main_process_runs_first(
    place: Place, monkeypatch: pytest.MonkeyPatch, world: World, local: bool, order: list[str]
) -> None:
    happened: list[str] = []
    distributed = SimpleNamespace(barrier=lambda: happened.append("wait"))
    monkeypatch.setitem(sys.modules, "torch.distributed", distributed)
    place(world)
    with arguments().main_process_first(local=local, desc="tokenize"):
        happened.append("block")
    assert happened == order


def test_a_main_process_that_fails_does_not_block_the_others(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[bool] = []
    distributed = SimpleNamespace(barrier=lambda: waited.append(True))
    monkeypatch.setitem(sys.modules, "torch.distributed", distributed)
    place(FIRST_OF_TWO)
    with pytest.raises(OSError, match="full"), arguments().main_process_first():
        raise OSError("full")
    assert waited == [True]


def test_waiting_for_others_needs_the_torch_of_the_program(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch.distributed", raising=False)
    place(REPLICA)
    with (
        pytest.raises(RuntimeError, match=r"^tokenize: .* import torch first"),
        arguments().main_process_first(desc="tokenize"),
    ):
        pytest.fail("the block must not run")
