"""What a launch section and the pods of a TrainJob accept."""

from typing import Any

import pytest
from pydantic import ValidationError

from embedstep.request.launch import Launch, TrainJob

JOB: dict[str, Any] = {
    "image": "embedstep:1", "output": "/shared/docs", "volumes": [{"claim": "shared", "path": "/shared"}],
}  # fmt: skip


def test_the_grace_leaves_time_to_record_after_the_time_to_save() -> None:
    launch = Launch.model_validate({"grace_seconds": 60})
    assert launch.seconds_to_save == 50
    assert launch.seconds_to_save < launch.seconds_to_record < launch.grace_seconds


@pytest.mark.parametrize("given", [{"kind": "trainjob"}, {"trainjob": JOB}, {"kind": "local", "trainjob": JOB}])
def test_the_kind_and_its_section_belong_together(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Launch.model_validate(given)
    assert Launch.model_validate({"kind": "trainjob", "trainjob": JOB}).trainjob


@pytest.mark.parametrize("given", [{"nodes": 0}, {"processes_per_node": 0}, {"grace_seconds": 1}, {"max_restarts": -1}])
def test_a_number_that_starts_nothing_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Launch.model_validate(given)


@pytest.mark.parametrize(
    "changed",
    [
        {"output": "/elsewhere/docs"},
        {"output": "shared/docs"},
        {"volumes": [{"claim": "shared", "path": "/shared", "read_only": True}]},
        {"volumes": [{"claim": "Shared", "path": "/shared"}]},
        {"resources": {"memory": "16 GB"}},
        {"environment": {"HF_TOKEN": "hf_abcdefghijklmnop"}},
    ],
    ids=str,
)
def test_a_pod_that_could_not_work_is_refused(changed: dict[str, Any]) -> None:
    assert TrainJob.model_validate(JOB).output == "/shared/docs"
    with pytest.raises(ValidationError):
        TrainJob.model_validate({**JOB, **changed})
