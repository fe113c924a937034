"""The image in real containers: any user, no home, a root that cannot be written, no network."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from embedstep import __version__
from tests.orchestration.executor import executor_input

pytestmark = [pytest.mark.image, pytest.mark.timeout(600)]

DOCKER = os.environ.get("DOCKER", "docker")
IMAGE = f"embedstep:{__version__}"
STRICT = (
    "--read-only", "--tmpfs", "/tmp", "--network", "none", "--user", "1000680000:0", "--cap-drop", "ALL",
    "--security-opt", "no-new-privileges", "--env", "HOME=",
)  # fmt: skip

Build = Callable[..., dict[str, Any]]


def docker(*arguments: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    return subprocess.run([DOCKER, *arguments], capture_output=True, text=True, timeout=timeout, check=False)


def container(folder: Path, *arguments: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """What the image does with `arguments`, with `folder` at its own path inside."""
    return docker("run", "--rm", *STRICT, *options, "--volume", f"{folder}:{folder}", IMAGE, *arguments)


@pytest.fixture(scope="module", autouse=True)
def _built() -> None:
    found = docker("image", "inspect", IMAGE)
    assert found.returncode == 0, f"{IMAGE} is not there; `make image` builds it: {found.stderr}"


@pytest.fixture
def shared(data_folder: Path, tiny_model: Path) -> Iterator[Path]:
    """A folder that any user can read, with data and a model, and one in it that any user can write."""
    folder = Path(tempfile.mkdtemp(prefix="embedstep-image-"))
    shutil.copytree(data_folder, folder / "data")
    shutil.copytree(tiny_model, folder / "tiny")
    (folder / "out").mkdir()
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    (folder / "out").chmod(0o777)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def document(shared: Path, evaluated: Build) -> dict[str, Any]:
    """A request of data in `shared`."""
    found = evaluated(
        model=str(shared / "tiny"), arguments={"max_steps": 2, "use_cpu": True}, launch={"processes_per_node": 2}
    )
    for split in ("train", "eval"):
        for dataset in found["data"][split].values():
            dataset["path"] = str(shared / "data" / Path(dataset["path"]).name)
    return found


def test_the_image_says_what_it_is() -> None:
    (image,) = json.loads(docker("image", "inspect", IMAGE).stdout)
    labels = image["Config"]["Labels"]
    assert labels["org.opencontainers.image.title"] == "embedstep"
    assert labels["org.opencontainers.image.version"] == __version__
    assert image["Config"]["User"] == "65532:65532"
    assert image["Config"]["Entrypoint"] == ["embedstep"]


def test_a_container_without_rights_trains(shared: Path, document: dict[str, Any]) -> None:
    """A random user, no home, a root that cannot be written; and without a network."""
    (shared / "request.yaml").write_text(yaml.safe_dump(document))
    ended = container(shared, "run", str(shared / "request.yaml"), "--output", str(shared / "out" / "deep" / "er"))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    output = shared / "out" / "deep" / "er"
    result = json.loads((output / "result.json").read_text())
    assert (result["outcome"], result["train_steps"]) == ("succeeded", 2)
    assert (output / "model" / "modules.json").exists()


def test_the_request_is_the_same_in_and_outside_a_container(shared: Path, document: dict[str, Any]) -> None:
    (shared / "request.yaml").write_text(yaml.safe_dump(document))
    command = ["plan", str(shared / "request.yaml"), "--json"]
    inside = container(shared, *command)
    outside = subprocess.run([sys.executable, "-m", "embedstep", *command], capture_output=True, text=True, check=True)
    assert inside.returncode == 0, inside.stderr
    plans = [json.loads(one.stdout) for one in (inside, outside)]
    assert plans[0]["request_fingerprint"] == plans[1]["request_fingerprint"]


def test_a_task_leaves_its_outputs(shared: Path, document: dict[str, Any]) -> None:
    given = executor_input(shared / "out", {"request": yaml.safe_dump(document), "max_steps": 1, "seed": 3})
    ended = container(shared, "task", "train", "--executor-input", given)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert json.loads((shared / "out" / "outputs" / "result").read_text())["train_steps"] == 1
    written = json.loads((shared / "out" / "executor_output.json").read_text())
    assert written["parameterValues"] == {"run_id": "", "status": "trained"}


def test_an_output_that_cannot_be_written_is_reported(shared: Path, document: dict[str, Any]) -> None:
    (shared / "request.yaml").write_text(yaml.safe_dump(document))
    ended = container(shared, "run", str(shared / "request.yaml"), "--output", "/srv/out")
    assert ended.returncode == 3
    assert "/srv/out" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_gpus_that_were_asked_for_and_are_not_there_are_reported_at_once(
    shared: Path, document: dict[str, Any]
) -> None:
    (shared / "request.yaml").write_text(yaml.safe_dump(document))
    command = ("run", str(shared / "request.yaml"), "--output", str(shared / "out" / "gpus"))
    ended = container(shared, *command, options=("--env", "EMBEDSTEP_GPUS=2"))
    assert ended.returncode == 3
    assert "2 GPUs were asked for (EMBEDSTEP_GPUS), and 0 are visible" in ended.stderr


def test_shared_memory_that_is_short_is_no_bus_error(shared: Path, document: dict[str, Any]) -> None:
    """64 MB, which is what a container has, and loader workers."""
    document["arguments"] |= {"dataloader_num_workers": 2}
    (shared / "request.yaml").write_text(yaml.safe_dump(document))
    ended = container(
        shared, "run", str(shared / "request.yaml"), "--output", str(shared / "out" / "shm"),
        options=("--shm-size", "64m"),
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_no_secret_is_in_what_a_task_leaves_or_says(shared: Path, document: dict[str, Any]) -> None:
    planted = {"HF_TOKEN": "hf_PlantedSecretOfTheTest0123", "MLFLOW_TRACKING_PASSWORD": "PlantedPassword4567"}
    document["arguments"] |= {"hub_token": {"from_env": "HF_TOKEN"}}
    document["tracking"] = {"uri": f"sqlite:///{shared}/out/mlflow.db"}
    given = executor_input(shared / "out", {"request": yaml.safe_dump(document), "max_steps": 1})
    options = [part for name, value in planted.items() for part in ("--env", f"{name}={value}")]
    ended = container(shared, "task", "train", "--executor-input", given, options=tuple(options))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    files = [file for file in (shared / "out").rglob("*") if file.is_file()]
    assert {"request.json", "mlflow.db", "executor_output.json", "report.html"} <= {file.name for file in files}
    texts = [ended.stdout, ended.stderr, given, *(file.read_bytes().decode(errors="replace") for file in files)]
    assert not [value for value in planted.values() if any(value in text for text in texts)]


def test_a_task_needs_neither_docker_nor_kubeflow() -> None:
    """What a task needs comes as its input, and nothing of kfp is in the image."""
    ended = docker("run", "--rm", "--entrypoint", "python", IMAGE, "-c", "import kfp")
    assert "No module named 'kfp'" in ended.stderr
