"""The random generators of a process continue from a state that was read before."""

import random

import numpy as np
import torch

from embedstep.worker.trainer.rng_state import get_rng_states, set_rng_states


def drawn() -> tuple[float, float, float]:
    return random.random(), float(np.random.random()), float(torch.rand(1))


def test_the_same_numbers_are_drawn_again() -> None:
    before = get_rng_states()
    first, second = drawn(), drawn()
    assert first != second
    set_rng_states(before)
    assert (drawn(), drawn()) == (first, second)
