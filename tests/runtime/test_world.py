import pytest

from embedstep.runtime.world import World

TORCHRUN = {"RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "1"}


def test_torchrun_s_variables_give_the_place() -> None:
    world = World.from_env(TORCHRUN)
    assert world == World(rank=3, local_rank=1, world_size=4, local_world_size=2, node_rank=1)
    assert not world.is_first


def test_without_torchrun_this_is_a_world_of_one() -> None:
    assert World.from_env({"PATH": "/bin"}) == World()
    assert World().is_first


def test_half_of_the_variables_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="LOCAL_RANK, WORLD_SIZE, LOCAL_WORLD_SIZE, GROUP_RANK not set"):
        World.from_env({"RANK": "0"})


@pytest.mark.parametrize(
    "wrong", [{"RANK": "4"}, {"RANK": "-1"}, {"LOCAL_RANK": "2"}, {"LOCAL_WORLD_SIZE": "5"}, {"RANK": "x"}]
)
def test_numbers_that_contradict_each_other_are_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"rank|invalid"):
        World.from_env({**TORCHRUN, **wrong})
