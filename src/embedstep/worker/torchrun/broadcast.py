"""What the first node has prepared, handed to nodes that see nothing of its disk, before any rank runs.

Request, plan, rows and the checkpoint to begin at go over gloo, in pieces, so that no node holds a file in memory.
"""

import json
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from embedstep.errors import CannotStartError, PeerLostError
from embedstep.launch.nodes import NodeInfo
from embedstep.output.checkpoints import MANIFEST, latest_checkpoint
from embedstep.output.folder import OutputFolder
from embedstep.output.result import read_json

CHUNK_BYTES = 64 * 2**20
"""Bytes that are sent at once."""
_PATIENCE = timedelta(minutes=5)
"""How long a node waits for a piece."""


def broadcast_files(output: OutputFolder, group: NodeInfo, store: dist.Store) -> None:
    """Give the other nodes what the first one has prepared; all of them take part at once.

    Checkpoints that another node has, and the first one has not, are kept beside.

    Args:
        output: the output folder, by the same path on each node.
        group: the place of this node.
        store: what all nodes write to and read from.

    Raises:
        CannotStartError: on all nodes, where one has another path or a disk that takes no more.
        PeerLostError: a node was lost meanwhile.
    """
    try:
        if group.is_first:
            store.set("handed", json.dumps(_told(output)))
        told = json.loads(store.get("handed"))
        names = f"node 0 writes to {told['folder']}, and node {group.rank} to {output.path}; give all of them one path"
        _agree(store, group, "path", "" if told["folder"] == str(output.path) else names)
        dist.init_process_group("gloo", store=store, rank=group.rank, world_size=group.nodes, timeout=_PATIENCE)
        try:
            if not group.is_first:
                _make_room(output, told["step"], group.rank)
            problems = [_handed(output.path / name, size, group) for name, size in told["files"]]
            given = told["checkpoint"]
            if given and not Path(given).exists():
                problems.append(f"node {group.rank} has no {given}; a checkpoint that is named lies on each node")
            _agree(store, group, "files", next(filter(None, problems), ""))
        finally:
            dist.destroy_process_group()
    except RuntimeError as error:
        raise PeerLostError("a node was lost while the rows were handed out") from error


def _told(output: OutputFolder) -> dict[str, object]:
    """Say what is handed out; the manifest of a checkpoint last, which makes it a whole one."""
    start = read_json(output.start)
    folders = [output.data]
    if start["is_here"]:
        folders.append(Path(start["checkpoint"]))
    inside = sorted((path.name == MANIFEST, path) for folder in folders for path in _files(folder))
    files = [output.request, output.plan, output.start, *(path for _, path in inside)]
    return {
        "folder": str(output.path),
        "files": [(str(path.relative_to(output.path)), path.stat().st_size) for path in files],
        "checkpoint": start["checkpoint"],
        "step": start["step"] if start["is_here"] else 0,
    }


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def _agree(store: dist.Store, group: NodeInfo, of: str, problem: str) -> None:
    """Raise CannotStartError on all nodes with the problem of the first that has one."""
    store.set(f"handed/{of}/{group.rank}", problem)
    told = [store.get(f"handed/{of}/{rank}").decode() for rank in range(group.nodes)]
    store.set(f"handed/{of}/{group.rank}/read", "")
    if group.is_first:  # with which the store goes, and the others' answers
        store.wait([f"handed/{of}/{rank}/read" for rank in range(group.nodes)])
    if found := next(filter(None, told), ""):
        raise CannotStartError(found)


def _make_room(output: OutputFolder, step: int, rank: int) -> None:
    """Take away the checkpoints of this node, or keep them beside where the first node knows of none as late."""
    found = latest_checkpoint(output.checkpoints)
    if found.step > step:
        kept = output.archive_checkpoints(0)
        told = f"node {rank} has {found.checkpoint.name if found.checkpoint else ''}, and node 0 has none as late"
        sys.stderr.write(f"{told}; it is kept in {kept}\n")
    shutil.rmtree(output.checkpoints, ignore_errors=True)


def _handed(file: Path, size: int, group: NodeInfo) -> str:
    """Send or receive a file of `size` bytes; return why it could not be written here."""
    pieces = (torch.empty(min(CHUNK_BYTES, size - begin), dtype=torch.uint8) for begin in range(0, size, CHUNK_BYTES))
    if group.is_first:
        _send(file, pieces)
        return ""
    problem = _receive(file, pieces)
    return f"node {group.rank}: {problem}" if problem else ""


def _send(file: Path, pieces: Iterable[torch.Tensor]) -> None:
    with file.open("rb") as opened:
        for piece in pieces:
            opened.readinto(piece.numpy())
            dist.broadcast(piece, src=0)


def _receive(file: Path, pieces: Iterable[torch.Tensor]) -> str:
    """Write a file; go on receiving where it cannot be written, since the others do."""
    problem = ""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("wb") as opened:
            for piece in pieces:
                dist.broadcast(piece, src=0)
                opened.write(piece.numpy())
    except OSError as error:
        problem = f"{file} cannot be written: {os.strerror(error.errno or 0).lower()}"
        for piece in pieces:
            dist.broadcast(piece, src=0)
    return problem
