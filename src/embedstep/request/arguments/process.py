"""What the arguments class of sentence-transformers 3.0 says about the process that it is in, without torch.

Rank and world size come from torchrun's environment variables, GPUs from those that the process can see. Names and
rules are those of transformers 4.37.2, training_args.py.
"""

import math
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Literal

from embedstep.request.arguments.schema import Arguments
from embedstep.runtime.devices import visible_gpus
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
"""Log levels of Python's logging by name; `passive` keeps the level of the library."""


class ProcessArguments(Arguments):
    """Arguments that also answer for their process."""

    @property
    def world(self) -> World:
        """Rank and world size, as torchrun's variables give them."""
        return World.from_env(os.environ)

    @property
    def ddp_timeout_delta(self) -> timedelta:
        """Timeout of collective operations."""
        return timedelta(seconds=self.ddp_timeout)

    @property
    def train_batch_size(self) -> int:
        """Rows of a training batch of this process: the size per device, times its GPUs."""
        return (self.per_gpu_train_batch_size or self.per_device_train_batch_size) * max(1, self.n_gpu)

    @property
    def eval_batch_size(self) -> int:
        """Rows of an evaluation batch of this process: the size per device, times its GPUs."""
        return (self.per_gpu_eval_batch_size or self.per_device_eval_batch_size) * max(1, self.n_gpu)

    @property
    def device(self) -> str:
        """Device of this process as torch writes it, `cpu` or `cuda:1`."""
        return f"cuda:{self.local_process_index}" if self.n_gpu else "cpu"

    @property
    def n_gpu(self) -> int:
        """GPUs of this process: 0 on a CPU, 1 if there are several processes, all visible ones otherwise."""
        gpus = 0 if self.use_cpu else visible_gpus(os.environ)
        return min(gpus, 1) if self.world_size > 1 else gpus

    @property
    def parallel_mode(self) -> ParallelMode:
        """Several processes, several GPUs in one process, or neither."""
        if self.world_size > 1:
            return "distributed"
        return "not_distributed" if self.n_gpu > 1 else "not_parallel"

    @property
    def world_size(self) -> int:
        """Number of processes on all nodes."""
        return self.world.world_size

    @property
    def process_index(self) -> int:
        """Rank of this process, from 0."""
        return self.world.rank

    @property
    def local_process_index(self) -> int:
        """Rank of this process on its node, from 0."""
        return self.world.local_rank

    @property
    def place_model_on_device(self) -> bool:
        """Whether the trainer moves the model to the device: always, except under SageMaker's model parallelism."""
        return True

    @property
    def should_log(self) -> bool:
        """Whether this process logs: the main process, of each node with `log_on_each_node`."""
        return self._is_main(local=self.log_on_each_node)

    @property
    def should_save(self) -> bool:
        """Whether this process writes files: the main process, of each node with `save_on_each_node`."""
        return self._is_main(local=self.save_on_each_node)

    def get_process_log_level(self, verbosity: int = 30) -> int:
        """Return the log level of this process: `log_level` if it logs, else `log_level_replica`.

        Args:
            verbosity: the level of the library, which `passive` keeps; 30 is a warning.
        """
        level = self.log_level if self.should_log else self.log_level_replica
        return verbosity if level == "passive" else LOG_LEVELS[level]

    def get_warmup_steps(self, num_training_steps: int) -> int | float:
        """Return `warmup_steps` if it is above 0, else the share `warmup_ratio` of all steps, rounded up.

        Args:
            num_training_steps: all optimizer steps of the training.
        """
        if self.warmup_steps > 0:
            return self.warmup_steps
        return math.ceil(num_training_steps * (self.warmup_ratio or 0))

    @contextmanager
    def main_process_first(self, local: bool = True, desc: str = "work") -> Iterator[None]:
        """Run the block in the main process first, then in the others, even if the main process fails.

        Args:
            local: whether each node has a main process, as for files on its own disk.
            desc: what the block does; the class of 3.0 logs it.

        Raises:
            RuntimeError: there are several processes, and the program has not imported torch.distributed.
        """
        is_alone, is_main = self.world_size == 1, self._is_main(local=local)
        try:
            if not is_alone and not is_main:
                _barrier(desc)
            yield
        finally:
            if not is_alone and is_main:
                _barrier(desc)

    def _is_main(self, *, local: bool) -> bool:
        return (self.local_process_index if local else self.process_index) == 0


def _barrier(desc: str) -> None:
    """Wait for the other processes with the program's own torch, which this package does not import."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is None:
        raise RuntimeError(f"{desc}: waiting for other processes needs torch.distributed; import torch first")
    distributed.barrier()
