"""The states of the random generators of this process, read and restored."""

import random
from typing import Any

import numpy as np
import torch


def get_rng_states() -> tuple[Any, ...]:
    """Return the states of Python's, numpy's and torch's generators, of all GPUs too."""
    gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return random.getstate(), np.random.get_state(), torch.get_rng_state(), gpus


def set_rng_states(states: tuple[Any, ...]) -> None:
    """Restore what `get_rng_states` has returned."""
    of_python, of_numpy, of_torch, gpus = states
    random.setstate(of_python)
    np.random.set_state(of_numpy)
    torch.set_rng_state(of_torch)
    if gpus:
        torch.cuda.set_rng_state_all(gpus)
