"""What a checkpoint keeps of the loop between two steps."""

import json
from dataclasses import replace
from math import inf
from pathlib import Path

import pytest

from embedstep.worker.trainer.loop_state import LoopState, read_loop_state

STATE = LoopState(
    loss=1.5, total_loss=20.25, summed_from=4, logged=8, grad_norm=0.75, learning_rate=2e-5, evaluate=True, save=False,
    end_epoch=False, without_gain=2, numbers={"alarms": {"collapse": 3}, "zeros": 1, "norms": [0.5]},
)  # fmt: skip


@pytest.mark.parametrize("norm", [0.75, None, inf])
def test_a_state_is_read_as_it_was_written(tmp_path: Path, norm: float | None) -> None:
    """The norm of a step that half precision has skipped is infinite, for which JSON has no number."""
    state = replace(STATE, grad_norm=norm)
    state.write(tmp_path, 1)
    json.loads((tmp_path / "embedstep_loop_1.json").read_text(), parse_constant=pytest.fail)
    assert read_loop_state(tmp_path, 1) == state


def test_a_rank_that_is_new_has_the_state_of_the_first_less_its_losses(tmp_path: Path) -> None:
    STATE.write(tmp_path, 0)
    assert read_loop_state(tmp_path, 3) == replace(STATE, loss=0.0)


def test_a_checkpoint_of_another_program_has_none(tmp_path: Path) -> None:
    assert read_loop_state(tmp_path, 0) is None
    (tmp_path / "embedstep_loop_0.json").write_text('{"format": "embedstep.loop/9"}')
    assert read_loop_state(tmp_path, 0) is None
