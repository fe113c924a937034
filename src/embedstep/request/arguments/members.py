"""What the arguments class of the seed era tells of one process, without torch.

The properties and methods that need a machine there get it here as values: the place of the process in its world, and
the GPUs that it sees. Their names and rules are those of transformers 4.37.2, training_args.py.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

from embedstep.request.arguments.schema import Arguments
from embedstep.runtime.world import World

ParallelMode = Literal["not_parallel", "not_distributed", "distributed"]
LOG_LEVELS: Mapping[str, int] = {
    "detail": 10,
    "debug": 10,
    "info": 20,
    "warning": 30,
    "error": 40,
    "critical": 50,
    "passive": -1,
}
"""Numbers of the log levels, as in Python's logging; passive leaves the library's own level as it is."""


def train_batch_size(arguments: Arguments, n_gpu: int) -> int:
    """Return how many rows one process trains on at a time: the size for one device, on each of its GPUs."""
    return (arguments.per_gpu_train_batch_size or arguments.per_device_train_batch_size) * max(1, n_gpu)


def eval_batch_size(arguments: Arguments, n_gpu: int) -> int:
    """Return how many rows one process evaluates at a time: the size for one device, on each of its GPUs."""
    return (arguments.per_gpu_eval_batch_size or arguments.per_device_eval_batch_size) * max(1, n_gpu)


@dataclass(frozen=True, kw_only=True, slots=True)
class Process:
    """The arguments as one process sees them.

    Attributes:
        arguments: as the request gave them.
        world: place of the process among all that train together.
        gpus: GPUs that the process can see.
    """

    arguments: Arguments
    world: World = field(default_factory=World)
    gpus: int = 0

    @property
    def ddp_timeout_delta(self) -> timedelta:
        """How long a collective operation may take."""
        return timedelta(seconds=self.arguments.ddp_timeout)

    @property
    def train_batch_size(self) -> int:
        """Rows that this process trains on at a time."""
        return train_batch_size(self.arguments, self.n_gpu)

    @property
    def eval_batch_size(self) -> int:
        """Rows that this process evaluates at a time."""
        return eval_batch_size(self.arguments, self.n_gpu)

    @property
    def device(self) -> str:
        """The device of this process as torch writes it: `cpu`, or `cuda:` and a number."""
        return f"cuda:{self.world.local_rank}" if self.n_gpu else "cpu"

    @property
    def n_gpu(self) -> int:
        """GPUs that this process trains on: 0 on a CPU, 1 among several processes, every visible one when alone."""
        if self.arguments.use_cpu or not self.gpus:
            return 0
        return self.gpus if self.world.world_size == 1 else 1

    @property
    def parallel_mode(self) -> ParallelMode:
        """How devices share the work: several processes, several GPUs in one process, or neither."""
        if self.world.world_size > 1:
            return "distributed"
        return "not_distributed" if self.n_gpu > 1 else "not_parallel"

    @property
    def world_size(self) -> int:
        """Processes that train together, on all nodes."""
        return self.world.world_size

    @property
    def process_index(self) -> int:
        """Number of this process among all, from 0."""
        return self.world.rank

    @property
    def local_process_index(self) -> int:
        """Number of this process among those of its node, from 0."""
        return self.world.local_rank

    @property
    def place_model_on_device(self) -> bool:
        """Whether the trainer moves the model to the device: always, outside SageMaker's model parallelism."""
        return True

    @property
    def should_log(self) -> bool:
        """Whether this process logs: the first of each node with `log_on_each_node`, else the first of all."""
        return self._is_main(local=self.arguments.log_on_each_node)

    @property
    def should_save(self) -> bool:
        """Whether this process writes files: the first of each node with `save_on_each_node`, else the first of all."""
        return self._is_main(local=self.arguments.save_on_each_node)

    def get_process_log_level(self, verbosity: int = 30) -> int:
        """Return the number of the log level of this process: `log_level` where it logs, else `log_level_replica`.

        Args:
            verbosity: the library's own level, which `passive` keeps; 30 is a warning.
        """
        level = self.arguments.log_level if self.should_log else self.arguments.log_level_replica
        return verbosity if level == "passive" else LOG_LEVELS[level]

    def get_warmup_steps(self, num_training_steps: int) -> int | float:
        """Return the steps of warm-up: `warmup_steps` as given when above 0, else the share of all steps, rounded up.

        Args:
            num_training_steps: all optimizer steps of the training.
        """
        if self.arguments.warmup_steps > 0:
            return self.arguments.warmup_steps
        return math.ceil(num_training_steps * (self.arguments.warmup_ratio or 0))

    @contextmanager
    def main_process_first(self, barrier: Callable[[], object], local: bool = True) -> Iterator[None]:
        """Run the block in the main process first, and in the others when it has ended there, by an error too.

        Args:
            barrier: waits until every process has called it, such as `torch.distributed.barrier`; not called in a
                world of one.
            local: whether each node has a main process of its own, as for files on its own disk.
        """
        is_alone, is_main = self.world_size == 1, self._is_main(local=local)
        try:
            if not is_alone and not is_main:
                barrier()
            yield
        finally:
            if not is_alone and is_main:
                barrier()

    def _is_main(self, *, local: bool) -> bool:
        return (self.local_process_index if local else self.process_index) == 0
