"""Who a worker is among all workers. `World.from_env` is the one place that reads what torchrun put there."""

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass

_VARIABLES = {
    "rank": "RANK",
    "local_rank": "LOCAL_RANK",
    "world_size": "WORLD_SIZE",
    "local_world_size": "LOCAL_WORLD_SIZE",
    "node_rank": "GROUP_RANK",
}
_OF_A_GROUP = (*_VARIABLES.values(), "MASTER_ADDR", "MASTER_PORT", "GROUP_WORLD_SIZE", "ROLE_RANK", "ROLE_WORLD_SIZE")


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """The place of one process among all that train together.

    Attributes:
        rank: number of this process among all, from 0.
        local_rank: number of this process among those of its node, from 0.
        world_size: processes on all nodes.
        local_world_size: processes on this node.
        node_rank: number of this node, from 0.

    Raises:
        ValueError: the numbers contradict each other.
    """

    rank: int = 0
    local_rank: int = 0
    world_size: int = 1
    local_world_size: int = 1
    node_rank: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world_size:
            raise ValueError(f"rank {self.rank} is outside a world of {self.world_size}")
        if not 0 <= self.local_rank < self.local_world_size <= self.world_size:
            raise ValueError(
                f"local rank {self.local_rank} of {self.local_world_size} does not fit a world of {self.world_size}"
            )

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and talks to the tracker for all."""
        return self.rank == 0

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "World":
        """Read the variables that torchrun gives to each worker; without them this is a world of one.

        Raises:
            ValueError: a variable is not a whole number, or only some of them are set.
        """
        present = {field: environ[name] for field, name in _VARIABLES.items() if name in environ}
        if present and len(present) < len(_VARIABLES):
            missing = ", ".join(name for field, name in _VARIABLES.items() if field not in present)
            raise ValueError(f"torchrun's variables are incomplete: {missing} not set")
        return cls(**{field: int(value) for field, value in present.items()})


def leave_group(environ: MutableMapping[str, str]) -> None:
    """Take torchrun's variables away from a process that trains alone.

    With them the libraries would build a process group of one: the model is wrapped, every last incomplete batch is
    dropped, and the run is no longer the one that `python script.py` gives.
    """
    for name in _OF_A_GROUP:
        environ.pop(name, None)
