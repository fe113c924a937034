"""What a cluster costs: compiling a pipeline, starting in a container, and following a log of a gigabyte.

The pipeline is compared with importing kfp alone, the container with the same run on this machine, and the log
what the Kubernetes client does by itself, which keeps all of it.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median

import docker
import yaml
from docker.errors import DockerException

from embedstep import __version__
from tests.benchmarks.command_line import write_request
from tests.benchmarks.commands import environment, timed
from tests.benchmarks.harness import BenchmarkError, Record, measure, seconds_of
from tests.benchmarks.material import SamplerInputs, material

_ROOT = Path(__file__).parents[2]
_REQUEST = _ROOT / "pipelines" / "requests" / "docstrings_minilm.yaml"
_REPEATS = 7
_CONTAINER_REPEATS = 5
_COMPILE_BOUND, _CONTAINER_BOUND = 1.5, 1.1
_MOST_MEGABYTES = 150.0
_FIRST_STEP = re.compile(r"^step +1/")
_CLIENT = """
import sys
from pathlib import Path
from kubernetes import client
core = client.CoreV1Api(client.ApiClient(client.Configuration(host=sys.argv[1])))
"""
# The peak of getrusage starts at that of the process that has started the program.
_PEAK = """
(peak,) = [line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
print(int(peak) / 1024, file=sys.stderr)
"""
_OURS = """
from embedstep.launch.kubernetes.logs import Logs
from embedstep.launch.kubernetes.pods import Pod
logs = Logs(core, "ml")
logs.follow([Pod(name="job-node-0-0", rank=0, phase="Running")])
logs.finish()
"""
_OTHER = "text = core.read_namespaced_pod_log('job-node-0-0', 'ml', container='node', follow=True)"


def compiling(quick: bool) -> Record:
    """Compile the retraining pipeline, imports included, and import kfp."""
    env = environment(PYTHONPATH=str(_ROOT))
    with tempfile.TemporaryDirectory(prefix="embedstep-bench-") as name:
        folder = Path(name)
        command = [sys.executable, "-m", "pipelines.kubeflow_retrain.pipeline", str(_REQUEST), "retrain.yaml"]

        def ours() -> float:
            return timed(command, env=env, folder=folder)

        def other() -> float:
            return timed([sys.executable, "-c", "import kfp"], env=env, folder=folder)

        if not quick:
            seconds_of(ours), seconds_of(other)
        compares = "compile the retraining pipeline / import kfp"
        return measure("compile", compares, ours, other, _COMPILE_BOUND, 1 if quick else _REPEATS)


def container(quick: bool) -> Record:
    """Run a request to its first train step in a container, and on this machine."""
    with tempfile.TemporaryDirectory(prefix="embedstep-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        given = material(quick)
        request = short(write_request(folder / "request.yaml", given))

        def ours() -> float:
            return _in_a_container(request, given)

        def other() -> float:
            command = [sys.executable, "-m", "embedstep", "run", str(request), "--output", str(folder / "out")]
            return _on_this_machine([*command, "--overwrite"], folder)

        if not quick:
            seconds_of(ours), seconds_of(other)
        compares = "first train step in a container / on this machine"
        return measure("container", compares, ours, other, _CONTAINER_BOUND, 1 if quick else _CONTAINER_REPEATS)


def short(file: Path) -> Path:
    """Leave two train steps of a request, and nothing else."""
    document = yaml.safe_load(file.read_text())
    document["arguments"] |= {"max_steps": 2, "logging_steps": 1, "eval_strategy": "no", "eval_on_start": False}
    document["arguments"].pop("load_best_model_at_end", None)
    del document["data"]["eval"], document["evaluators"]
    document["tracking"] = {"kind": "none"}
    document["launch"] = {"processes_per_node": 1}
    file.write_text(yaml.safe_dump(document))
    return file


def _on_this_machine(command: list[str], folder: Path) -> float:
    started = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    seconds = _until_the_first_step(process.stdout, started)
    process.communicate()
    return seconds


def _in_a_container(request: Path, given: SamplerInputs) -> float:
    folders = {
        str(path): {"bind": str(path), "mode": "ro"} for path in (request.parent, given.model, given.train.parent)
    }
    started = time.perf_counter()
    try:
        running = docker.from_env().containers.run(
            f"embedstep:{__version__}", ["run", str(request), "--output", "/tmp/out"], detach=True, read_only=True,
            tmpfs={"/tmp": "mode=1777"}, volumes=folders, user="10001:10001", network_mode="none", shm_size="1g",
        )  # fmt: skip
    except DockerException as error:
        raise BenchmarkError(f"the image does not run ({error}); build it with make image") from error
    try:
        return _until_the_first_step(_lines(running.logs(stream=True, follow=True)), started)
    finally:
        running.wait()
        running.remove()


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    rest = ""
    for chunk in chunks:
        *whole, rest = (rest + chunk.decode()).split("\n")
        yield from whole


def _until_the_first_step(lines: Iterable[str], started: float) -> float:
    read = []
    for line in lines:
        read.append(line)
        if _FIRST_STEP.search(line):
            return time.perf_counter() - started
    raise BenchmarkError("there was no first step:\n" + "\n".join(read)[-2000:])


def log(quick: bool) -> Record:
    """Follow a log of 1 GB, ours and by the client's own call; the figures are megabytes at the peak."""
    megabytes, repeats = (20, 1) if quick else (1000, 3)
    with _pod_with_a_log(megabytes) as address:
        ours = median(_peak(_OURS, address) for _ in range(repeats))
        other = median(_peak(_OTHER, address) for _ in range(repeats))
    return Record(
        name="log",
        compares=f"MB at the peak for a log of {megabytes} MB / the client's own",
        ours=ours,
        other=other,
        ratio=ours / other,
        bound=_MOST_MEGABYTES / other,
        repeats=repeats,
        parts={"megabytes": ours, "megabytes allowed": _MOST_MEGABYTES},
    )


def _peak(code: str, address: str) -> float:
    ended = subprocess.run(
        [sys.executable, "-c", _CLIENT + code + _PEAK, address], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        text=True, env={**os.environ, "NO_PROXY": "127.0.0.1"},
    )  # fmt: skip
    if ended.returncode != 0:
        raise BenchmarkError(ended.stderr[-2000:])
    return float(ended.stderr.splitlines()[-1])


@contextmanager
def _pod_with_a_log(megabytes: int) -> Iterator[str]:
    """Yield the address of a server that answers as the API does for the log of a pod."""
    lines = b"".join(
        json.dumps({"step": step, "loss": 1 / (step + 1)}).ljust(99).encode() + b"\n" for step in range(10**4)
    )

    class Api(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            assert self.path.startswith("/api/v1/namespaces/ml/pods/job-node-0-0/log?"), self.path
            self.send_response(200)
            self.send_header("Content-Type", "text/plain")
            self.send_header("Content-Length", str(len(lines) * megabytes))
            self.end_headers()
            for _ in range(megabytes):
                self.wfile.write(lines)

        def log_message(self, format: str, *args: object) -> None:
            """Leave the requests out of the table."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
