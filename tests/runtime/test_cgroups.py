"""The memory limit of a cgroup, by either version of the kernel's files."""

from pathlib import Path

import pytest

from embedstep.runtime.cgroups import CgroupMemory, cgroup_memory


@pytest.mark.parametrize(
    ("own", "files", "found"),
    [
        (
            "0::/pod\n",
            {"pod/memory.max": "max", "pod/memory.events": "low 0\noom 1\noom_kill 2\n"},
            CgroupMemory(limit=None, peak=None, kills=2),
        ),
        (
            "0::/host/pod\n",  # a container sees its own group as the root
            {"memory.max": "1000", "memory.peak": "900", "memory.events": "oom_kill 0"},
            CgroupMemory(limit=1000, peak=900, kills=0),
        ),
        (
            "0::/pods/pod/main\n",  # the limit is the pod's, or that of all pods
            {
                "pods/memory.max": "4000",
                "pods/memory.peak": "3500",
                "pods/pod/memory.max": "2000",
                "pods/pod/memory.peak": "1900",
                "pods/pod/main/memory.max": "max",
                "pods/pod/main/memory.peak": "1800",
                "pods/pod/main/memory.events": "oom_kill 1",
            },
            CgroupMemory(limit=2000, peak=1900, kills=1),
        ),
        (
            "9:cpu,cpuacct:/\n8:memory:/pod\n",
            {
                "memory/pod/memory.limit_in_bytes": "9223372036854771712",
                "memory/pod/memory.max_usage_in_bytes": "77",
                "memory/pod/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
            },
            CgroupMemory(limit=None, peak=77, kills=3),
        ),
        ("1:cpu:/\n", {}, None),
    ],
)
def test_both_versions_are_read(own: str, files: dict[str, str], found: CgroupMemory | None, tmp_path: Path) -> None:
    (tmp_path / "own").write_text(own)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cgroup_memory(tmp_path, tmp_path / "own") == found
