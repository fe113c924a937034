"""The record of how the first node has ended, for itself when it is started again and for late nodes."""

from dataclasses import replace
from pathlib import Path

import pytest

from embedstep.errors import CannotStartError
from embedstep.launch.first_node import AttemptEndedError, first_node, read_former_end, read_job_result
from embedstep.launch.nodes import SINGLE_NODE, NodeInfo
from embedstep.output.result import Failure, StepResult
from embedstep.runtime.process import LaunchCommand

FIRST = NodeInfo(nodes=2, rank=0, address="embedstep-1-node-0-0", port=29400, job="embedstep-1", pod="a")
NOTHING = LaunchCommand(argv=("/bin/true",), env={})


def record(output: Path, code: int) -> None:
    """Record that the first node has ended with a code; nobody is there to join it."""
    with first_node(NOTHING, output, replace(FIRST, nodes=1), may_restart=False) as first:
        first.result = ended(code)


def ended(code: int) -> StepResult:
    failure = Failure(kind="InvalidRequestError", message="no rows", exit_code=code) if code else None
    return StepResult(exit_code=code, output="out", failure=failure)


@pytest.mark.parametrize(("code", "again"), [(0, 0), (1, None), (2, 2), (3, None), (4, 4), (75, None)])
def test_a_container_that_is_started_again_ends_as_before_where_that_helps_nothing(
    output: Path, code: int, again: int | None
) -> None:
    record(output, code)
    before = read_former_end(output, FIRST)
    assert (before and before.exit_code) == again
    assert again is None or before == ended(code)


@pytest.mark.parametrize("code", [1, 2, 3, 4])
def test_an_attempt_that_has_failed_is_not_made_again_in_another_pod(output: Path, code: int) -> None:
    """The JobSet of a failed TrainJob was deleted, and its pods are created again."""
    record(output, code)
    with pytest.raises(AttemptEndedError, match=f"has ended with code {code}.*--attempt 2"):
        read_former_end(output, replace(FIRST, pod="c"))
    assert read_former_end(output, replace(FIRST, job="embedstep-2", pod="c")) is None


def test_an_attempt_whose_model_is_there_is_not_made_again_in_another_pod(output: Path) -> None:
    """Not even where the job says that a finished model may be replaced."""
    record(output, 0)
    (output / "model").mkdir(parents=True)
    assert read_former_end(output, replace(FIRST, pod="c")) == ended(0)


@pytest.mark.parametrize("code", [0, 75])
def test_an_attempt_that_has_nothing_to_show_may_be_made_again(output: Path, code: int) -> None:
    record(output, code)
    assert read_former_end(output, replace(FIRST, pod="c")) is None


def test_a_single_node_records_nothing(output: Path) -> None:
    with first_node(NOTHING, output, SINGLE_NODE, may_restart=False) as first:
        first.result = ended(0)
    assert not list(output.parent.iterdir())


def test_a_volume_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotStartError, match="file cannot be written: not a directory"):
        record(tmp_path / "file" / "out", 0)


def test_how_the_first_node_ended_is_recorded_whatever_happens(output: Path) -> None:
    record(output, 0)
    assert read_job_result(output, "embedstep-1") == ended(0)
    assert read_job_result(output, "embedstep-2") is None
    single = replace(FIRST, nodes=1)
    with first_node(NOTHING, output, single, may_restart=False):
        assert read_job_result(output, "embedstep-1") is None  # it has begun again
    with pytest.raises(CannotStartError), first_node(NOTHING, output, single, may_restart=False):
        raise CannotStartError("no disk")
    found = read_job_result(output, "embedstep-1")
    assert found is not None
    assert found.failure is not None
    assert (found.exit_code, found.failure.message) == (3, "no disk")
    with pytest.raises(ZeroDivisionError), first_node(NOTHING, output, single, may_restart=False):
        raise ZeroDivisionError
    found = read_job_result(output, "embedstep-1")
    assert found is not None
    assert found.exit_code == 1


@pytest.mark.parametrize("text", ["{", '{"job": "embedstep-1", "pod": "a", "state": "planning", "result": null}'])
def test_half_a_record_and_one_of_release_0_1_without_a_result_say_nothing(output: Path, text: str) -> None:
    output.with_name(".out.nodes.json").write_text(text)
    assert read_job_result(output, "embedstep-1") is None
