"""Two hosts with addresses and a link of their own (network namespaces), that share their output folder or do not."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from embedstep.output.checkpoints import latest_checkpoint
from tests.faults.compared import lost
from tests.faults.conftest import Fault
from tests.faults.processes import Attempt, faulty, trained

pytestmark = [pytest.mark.torchrun, pytest.mark.slow]
Build = Callable[..., dict[str, Any]]
STEPS = 60
ARGUMENTS = {
    "max_steps": STEPS, "save_strategy": "steps", "save_steps": 10, "logging_steps": 2, "save_total_limit": 2,
}  # fmt: skip
FIRST, SECOND = "10.77.0.1", "10.77.0.2"


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


@dataclass(frozen=True)
class Hosts:
    """Two hosts and the link between them."""

    first: str
    second: str

    def start(
        self,
        folder: Path,
        document: dict[str, Any],
        number: int,
        job: str,
        nodes: str = "2",
        disk: str = "",
        **environ: str,
    ) -> Attempt:
        """Start `embedstep run` on one of them, with an output folder of its own by the name of a `disk`."""
        return Attempt(
            folder, document, "cut", (self.first, self.second)[number], disk,
            PET_NNODES=nodes,
            PET_NODE_RANK=str(number), PET_MASTER_ADDR=FIRST, PET_MASTER_PORT="29400", PET_RDZV_ID=job,
            GLOO_SOCKET_IFNAME="wire", **environ,
        )  # fmt: skip

    def both(self, folder: Path, document: dict[str, Any], job: str) -> list[Attempt]:
        """Start it on both."""
        return [self.start(folder, document, number, job) for number in (0, 1)]

    def apart(self, folder: Path, document: dict[str, Any], job: str, *disks: str, **environ: str) -> list[Attempt]:
        """Start it on both, each with a disk of its own."""
        arguments = {**document["arguments"], "save_on_each_node": True}
        own = {**document, "arguments": arguments}
        return [self.start(folder, own, number, job, disk=disk, **environ) for number, disk in enumerate(disks)]

    def link(self, state: str) -> None:
        """Set the link `up` or `down`."""
        ip("-n", self.second, "link", "set", "wire", state)


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    found = Hosts(f"es{os.getpid()}a", f"es{os.getpid()}b")
    names = (found.first, found.second)
    for name in names:
        ip("netns", "add", name)
        ip("-n", name, "link", "set", "lo", "up")
    try:
        ip("-n", names[0], "link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns", names[1])
        for name, address in zip(names, (FIRST, SECOND), strict=True):
            ip("-n", name, "address", "add", f"{address}/24", "dev", "wire")
            ip("-n", name, "link", "set", "wire", "up")
        yield found
    finally:
        for name in names:
            ip("netns", "delete", name)


@pytest.fixture(scope="module")
def folder_of_whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the training on one host is."""
    return tmp_path_factory.mktemp("one-host")


@pytest.fixture
def whole(folder_of_whole: Path, request_of: Build) -> Path:
    """The same training by two processes of one host, made once."""
    if not (folder_of_whole / "whole" / "model").exists():
        trained(folder_of_whole, request_of(arguments=ARGUMENTS, launch={"processes_per_node": 2}), "whole")
    return folder_of_whole / "whole"


@pytest.fixture
def document(request_of: Build) -> dict[str, Any]:
    return request_of(arguments=ARGUMENTS, launch={"nodes": 2, "processes_per_node": 1, "join_timeout_minutes": 1})


def ended(attempts: list[Attempt], codes: list[int]) -> str:
    """Wait for the ends in these exit codes, and return what was shown."""
    shown = "\n".join(attempt.process.communicate(timeout=120)[0] for attempt in attempts)
    assert [attempt.process.returncode for attempt in attempts] == codes, shown
    return shown


def message_of(folder: Path) -> str:
    return str(json.loads((folder / "cut" / "error.json").read_text())["message"])


@pytest.mark.fault("the second host comes 8 s late", "start-up, two hosts")
def test_a_late_host(hosts: Hosts, document: dict[str, Any], whole: Path, fault: Fault, tmp_path: Path) -> None:
    """The weights are those of two processes of one host, to the bit."""
    first = hosts.start(tmp_path, document, 0, "one")
    time.sleep(8)
    ended([first, hosts.start(tmp_path, document, 1, "one")], [0, 0])
    fault.came_to("0", lost(whole, tmp_path / "cut"))


@pytest.mark.fault("SIGTERM to one of two hosts", "training")
def test_a_host_that_is_drained(
    hosts: Hosts, document: dict[str, Any], whole: Path, fault: Fault, tmp_path: Path
) -> None:
    attempts = hosts.both(tmp_path, document, "one")
    attempts[0].wait_for_logs(3)
    attempts[1].process.terminate()
    shown = ended(attempts, [75, 75])
    assert message_of(tmp_path).startswith("interrupted by SIGTERM after train step ")
    shown = ended(hosts.both(tmp_path, document, "two"), [0, 0])
    assert "resuming after train step" in shown
    fault.came_to("75 on both, one checkpoint", lost(whole, tmp_path / "cut", resumed=True))


@pytest.mark.fault("kill -9 of all processes of one of two hosts", "training")
def test_a_host_that_is_killed(
    hosts: Hosts, document: dict[str, Any], whole: Path, fault: Fault, tmp_path: Path
) -> None:
    attempts = hosts.both(tmp_path, document, "one")
    attempts[0].wait_for_checkpoint(10)
    for process in reversed(attempts[1].everything):
        process.kill()
    killed = time.monotonic()
    ended(attempts, [75, -9])
    seconds = time.monotonic() - killed
    assert seconds < 60
    ended(hosts.both(tmp_path, document, "two"), [0, 0])
    fault.came_to(f"75 after {seconds:.0f} s", lost(whole, tmp_path / "cut", resumed=True))


@pytest.mark.fault("a link that is cut for 4 s", "training, two hosts")
def test_a_link_that_comes_back(
    hosts: Hosts, document: dict[str, Any], whole: Path, fault: Fault, tmp_path: Path
) -> None:
    attempts = hosts.both(tmp_path, document, "one")
    attempts[0].wait_for_logs(3)
    hosts.link("down")
    time.sleep(4)
    hosts.link("up")
    ended(attempts, [0, 0])
    fault.came_to("0, trained to the end", lost(whole, tmp_path / "cut"))


@pytest.mark.fault("a link that is cut for good", "training, two hosts")
def test_a_link_that_stays_away(
    hosts: Hosts, document: dict[str, Any], whole: Path, fault: Fault, tmp_path: Path
) -> None:
    attempts = hosts.both(tmp_path, document, "one")
    attempts[0].wait_for_checkpoint(10)
    hosts.link("down")
    cut = time.monotonic()
    ended(attempts, [75, 75])
    seconds = time.monotonic() - cut
    assert seconds < 60
    assert "no heartbeat from node 1 for 30 s" in message_of(tmp_path)
    hosts.link("up")
    ended(hosts.both(tmp_path, document, "two"), [0, 0])
    fault.came_to(f"75 on both after {seconds:.0f} s", lost(whole, tmp_path / "cut", resumed=True))


@pytest.mark.fault("a host more is expected than there are", "start-up, two hosts")
def test_a_host_that_never_comes(hosts: Hosts, document: dict[str, Any], fault: Fault, tmp_path: Path) -> None:
    launch = {**document["launch"], "nodes": 3, "join_timeout_minutes": 0.2}
    attempts = [hosts.start(tmp_path, {**document, "launch": launch}, number, "one", nodes="3") for number in (0, 1)]
    shown = ended(attempts, [3, 3])
    assert "node 2 of 3 did not join at 10.77.0.1:29401 within 12 s" in shown
    fault.came_to("3, the missing one named", None)


@pytest.mark.fault("kill -9 of a rank of the second host, with launch.max_restarts", "training, two hosts")
def test_both_hosts_are_started_again(
    hosts: Hosts, document: dict[str, Any], whole: Path, fault: Fault, tmp_path: Path
) -> None:
    launch = {**document["launch"], "max_restarts": 1}
    attempts = hosts.both(tmp_path, {**document, "launch": launch}, "one")
    attempts[0].wait_for_checkpoint(10)
    attempts[1].ranks[0].kill()
    shown = ended(attempts, [0, 0])
    assert "restarting all processes (1 of 1)" in shown
    fault.came_to("0 after one restart", lost(whole, tmp_path / "cut"))


@pytest.mark.fault("a host that is killed, and sees nothing of the other's disk", "training, two hosts")
def test_hosts_that_share_no_folder(
    hosts: Hosts, document: dict[str, Any], whole: Path, fault: Fault, tmp_path: Path
) -> None:
    """Each has whole checkpoints, and one in its place is handed what it needs."""
    attempts = hosts.apart(tmp_path, document, "one", "first", "second")
    attempts[1].wait_for_checkpoint(10)
    for process in reversed(attempts[1].everything):
        process.kill()
    ended(attempts, [75, -9])
    kept = [latest_checkpoint(tmp_path / name / "checkpoints") for name in ("first", "second")]
    assert kept[0].step == kept[1].step > 0
    files = [sorted(path.name for path in item.checkpoint.iterdir()) for item in kept if item.checkpoint]
    assert files[0] == files[1]
    assert {"rng_state_0.pth", "rng_state_1.pth", "embedstep_loop_0.json", "embedstep_loop_1.json"} < set(files[0])
    shown = ended(hosts.apart(tmp_path, document, "two", "first", "another"), [0, 0])
    assert f"resuming after train step {kept[0].step}" in shown
    fault.came_to("75, then 0 with a new disk", lost(whole, tmp_path / "first", resumed=True))


@pytest.mark.fault("the disk of the first host is a new one", "start-up, no disk is shared")
def test_a_first_host_with_a_new_disk(
    hosts: Hosts, document: dict[str, Any], whole: Path, fault: Fault, tmp_path: Path
) -> None:
    """What only the other one has is kept, and shown."""
    attempts = hosts.apart(tmp_path, document, "one", "first", "second")
    attempts[1].wait_for_checkpoint(10)
    attempts[0].process.terminate()
    ended(attempts, [75, 75])
    step = latest_checkpoint(tmp_path / "second" / "checkpoints").step
    shown = ended(hosts.apart(tmp_path, document, "two", "another", "second"), [0, 0])
    assert f"node 1 has checkpoint-{step}, and node 0 has none as late; it is kept in" in shown
    assert latest_checkpoint(tmp_path / "second" / "checkpoints.before").step == step
    fault.came_to("0, the older checkpoint kept", lost(whole, tmp_path / "another"))


@pytest.mark.fault("a rank of the second of two hosts raises", "training, no disk is shared")
def test_the_cause_comes_from_a_host_whose_disk_is_not_seen(
    hosts: Hosts, document: dict[str, Any], fault: Fault, tmp_path: Path
) -> None:
    """Also where it fails again after the last restart: only the first host knows that there is none left."""
    again = {**document, "launch": {**document["launch"], "max_restarts": 1}}
    attempts = hosts.apart(tmp_path, again, "one", "first", "second", **faulty("raise", "step", rank=1))
    shown = ended(attempts, [1, 1])
    assert "node 0 ended with code 1" in shown
    failure = json.loads((tmp_path / "first" / "error.json").read_text())
    assert failure["rank"] == 1
    assert failure["message"] == "injected on this rank, with the token ***"
    fault.came_to("1, the rank named", None)
