"""What a launcher and its processes say to each other."""

from embedstep import errors
from embedstep.launch.instructions import RESTART, TRAIN


def test_no_other_exit_code_means_a_restart_and_no_exit_code_means_the_training() -> None:
    codes = {value for value in vars(errors).values() if isinstance(value, int)}
    assert RESTART not in codes
    assert not TRAIN.isdecimal()  # the other instruction is an exit code
