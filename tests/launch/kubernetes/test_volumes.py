"""What a pod mounts: the claims, and memory for the loader's processes."""

from embedstep.launch.kubernetes.volumes import mounted


def test_each_claim_is_a_volume_with_a_mount() -> None:
    volumes, mounts = mounted([("shared", "/shared", False), ("rows", "/rows", True)])
    assert volumes[1:] == [
        {"name": "volume-0", "persistentVolumeClaim": {"claimName": "shared"}},
        {"name": "volume-1", "persistentVolumeClaim": {"claimName": "rows", "readOnly": True}},
    ]
    assert mounts[1:] == [
        {"name": "volume-0", "mountPath": "/shared"},
        {"name": "volume-1", "mountPath": "/rows", "readOnly": True},
    ]


def test_shared_memory_has_a_limit_only_if_it_is_given_one() -> None:
    assert mounted([])[0] == [{"name": "shared-memory", "emptyDir": {"medium": "Memory"}}]
    assert mounted([], "16Gi")[0][0]["emptyDir"] == {"medium": "Memory", "sizeLimit": "16Gi"}
    assert mounted([])[1] == [{"name": "shared-memory", "mountPath": "/dev/shm"}]
