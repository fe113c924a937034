"""The rank of a worker and the size of its world, from torchrun's environment variables."""

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass

_VARIABLES = {
    "rank": "RANK",
    "local_rank": "LOCAL_RANK",
    "world_size": "WORLD_SIZE",
    "local_world_size": "LOCAL_WORLD_SIZE",
    "node_rank": "GROUP_RANK",
}
# Others that torchrun sets, for the libraries of a rank.
_UNREAD_VARIABLES = ("MASTER_ADDR", "MASTER_PORT", "GROUP_WORLD_SIZE", "ROLE_RANK", "ROLE_WORLD_SIZE")


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """The rank of a process and the number of processes.

    Attributes:
        rank: rank among all processes, from 0.
        local_rank: rank among the processes of this node, from 0.
        world_size: number of processes on all nodes.
        local_world_size: number of processes on this node.
        node_rank: rank of this node, from 0.

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
        """Whether this process has rank 0, which writes the files and records the run."""
        return self.rank == 0

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "World":
        """Read torchrun's variables; without them the world has one process.

        Raises:
            ValueError: a variable is not an integer, or only some of them are set.
        """
        present = {field: environ[name] for field, name in _VARIABLES.items() if name in environ}
        if present and len(present) < len(_VARIABLES):
            missing = ", ".join(name for field, name in _VARIABLES.items() if field not in present)
            raise ValueError(f"torchrun's variables are incomplete: {missing} not set")
        return cls(**{field: int(value) for field, value in present.items()})


def clear_torchrun_env(environ: MutableMapping[str, str]) -> None:
    """Remove torchrun's variables from the environment of a single process.

    With them the libraries would create a process group of one: they would wrap the model and drop the last incomplete
    batch, and the run would differ from `python script.py`.
    """
    for name in (*_VARIABLES.values(), *_UNREAD_VARIABLES):
        environ.pop(name, None)
