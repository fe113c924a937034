"""Kubeflow's local runner, in containers of the image, with its faults repaired."""

import json
from pathlib import Path
from typing import Any

import docker
import pytest
from kfp import local
from kfp.local import docker_task_handler, executor_input_utils
from kfp.local.orchestrator.enhanced_dag_orchestrator import ConditionEvaluator


def _run_to_its_end(client: Any, image: str, command: list[str], volumes: dict[str, Any], **given: Any) -> int:
    """Run a container and return its code.

    kfp's own lets docker remove a container that has ended, asks it for its code afterwards, and takes a container
    that is gone by then for one that went well.
    """
    container = client.containers.run(image=image, command=command, detach=True, volumes=volumes, **given)
    try:
        for line in container.logs(stream=True, follow=True):
            print(line.decode(errors="replace"), end="")  # noqa: T201 - as kfp's own does
        return int(container.wait()["StatusCode"])
    finally:
        container.remove(force=True)


def _without_what_was_not_set(executor_input: Any, component_spec: Any) -> dict[str, Any]:
    """Hand over only what was set: kfp's own makes int(None) of an integer that was left out."""
    parameters = executor_input.inputs.parameter_values
    for name in [name for name, value in parameters.items() if value.WhichOneof("kind") in (None, "null_value")]:
        del parameters[name]
    found: dict[str, Any] = _TO_DICT(executor_input, component_spec)
    return found


def _status_or_as_before(channel: str, io_store: Any) -> Any:
    """Resolve the output that a condition asks for: kfp's own knows none but those that are named `Output`."""
    task, _, output = channel.removeprefix("pipelinechannel--").rpartition("-")
    return io_store.get_task_output(task, output) if output == "status" else _RESOLVE(channel, io_store)


_RESOLVE = ConditionEvaluator._resolve_pipeline_channel
_TO_DICT = executor_input_utils.executor_input_to_dict


def run_in_containers(monkeypatch: pytest.MonkeyPatch, outputs: Path, *folders: Path) -> None:
    """Let pipelines run here.

    Args:
        monkeypatch: takes the repairs back.
        outputs: where their outputs go.
        folders: folders of this machine that each container sees, at their own paths.
    """
    monkeypatch.setattr(docker_task_handler, "run_docker_container", _run_to_its_end)
    monkeypatch.setattr(executor_input_utils, "executor_input_to_dict", _without_what_was_not_set)
    monkeypatch.setattr(ConditionEvaluator, "_resolve_pipeline_channel", staticmethod(_status_or_as_before))
    local.init(
        local.DockerRunner(
            network_mode="host", user="0", entrypoint="",
            mounts=[docker.types.Mount(str(folder), str(folder), type="bind") for folder in folders],
        ),
        pipeline_root=str(outputs),
        raise_on_error=True,
    )  # fmt: skip


def results(root: Path, name: str) -> list[dict[str, Any]]:
    """What tasks have left under a name, in the order of their runs."""
    files = sorted(root.rglob(name), key=lambda file: file.stat().st_mtime)
    return [json.loads(file.read_text()) for file in files if file.is_file()]
