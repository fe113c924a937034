"""The first node sends what it has prepared to nodes that do not share its disk, before any rank runs.

Request, plan, rows and the checkpoint to resume from are sent over gloo in chunks, so that no node holds a whole file
in memory.
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

from embedstep.data.facts import OF_NODE
from embedstep.data.token_files import IDS, INDEX
from embedstep.errors import CannotStartError, PeerLostError
from embedstep.launch.nodes import NodeInfo
from embedstep.output.checkpoints import MANIFEST, latest_checkpoint
from embedstep.output.folder import OutputFolder
from embedstep.output.result import read_json

CHUNK_BYTES = 64 * 2**20
_TIMEOUT = timedelta(minutes=5)
"""How long a node waits for a chunk."""


def broadcast_files(output: OutputFolder, group: NodeInfo, store: dist.Store) -> None:
    """Copy what the first node has prepared to all other nodes; every node calls this at the same time.

    If another node has a later checkpoint than the first one, its checkpoints are moved to a folder next to theirs.

    Args:
        output: the output folder, by the same path on each node.
        group: the place of this node.
        store: store that all nodes have joined.

    Raises:
        CannotStartError: on all nodes, if one has another path or cannot write.
        PeerLostError: a node was lost meanwhile.
    """
    try:
        if group.is_first:
            store.set("broadcast", json.dumps(_contents(output)))
        contents = json.loads(store.get("broadcast"))
        folder = contents["folder"]
        paths = f"node 0 writes to {folder}, and node {group.rank} to {output.path}; use the same path on all nodes"
        _raise_on_all(store, group, "path", "" if folder == str(output.path) else paths)
        dist.init_process_group("gloo", store=store, rank=group.rank, world_size=group.nodes, timeout=_TIMEOUT)
        try:
            if not group.is_first:
                _remove_checkpoints(output, contents["step"], group.rank)
            problems = [_transfer(output.path / name, size, group) for name, size in contents["files"]]
            checkpoint = contents["checkpoint"]
            if checkpoint and not Path(checkpoint).exists():
                problems.append(f"node {group.rank} has no {checkpoint}; a named checkpoint must exist on every node")
            _raise_on_all(store, group, "files", next(filter(None, problems), ""))
        finally:
            dist.destroy_process_group()
    except RuntimeError as error:
        raise PeerLostError("a node was lost while the prepared files were sent") from error


def _contents(output: OutputFolder) -> dict[str, object]:
    """Describe what is sent. The manifest of a checkpoint comes last, because it marks the checkpoint as complete."""
    start = read_json(output.start)
    folders = [output.data]
    if start["is_here"]:
        folders.append(Path(start["checkpoint"]))
    inside = sorted(
        (path.name == MANIFEST, path)
        for folder in folders
        for path in _files(folder)
        if path.suffix not in (INDEX, IDS) and OF_NODE not in path.name  # of this machine
    )
    files = [output.request, output.plan, output.start, *(path for _, path in inside)]
    return {
        "folder": str(output.path),
        "files": [(str(path.relative_to(output.path)), path.stat().st_size) for path in files],
        "checkpoint": start["checkpoint"],
        "step": start["step"] if start["is_here"] else 0,
    }


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def _raise_on_all(store: dist.Store, group: NodeInfo, topic: str, problem: str) -> None:
    """Raise CannotStartError on all nodes with the problem of the first node that has one."""
    store.set(f"broadcast/{topic}/{group.rank}", problem)
    problems = [store.get(f"broadcast/{topic}/{rank}").decode() for rank in range(group.nodes)]
    store.set(f"broadcast/{topic}/{group.rank}/read", "")
    if group.is_first:  # the store and all answers end with this process
        store.wait([f"broadcast/{topic}/{rank}/read" for rank in range(group.nodes)])
    if found := next(filter(None, problems), ""):
        raise CannotStartError(found)


def _remove_checkpoints(output: OutputFolder, step: int, rank: int) -> None:
    """Remove this node's checkpoints, or move them if they are later than the one that the first node resumes from."""
    found = latest_checkpoint(output.checkpoints)
    if found.step > step:
        kept = output.archive_checkpoints(0)
        name = found.checkpoint.name if found.checkpoint else ""
        sys.stderr.write(f"node {rank} has {name}, and node 0 has none as late; it is kept in {kept}\n")
    shutil.rmtree(output.checkpoints, ignore_errors=True)


def _transfer(file: Path, size: int, group: NodeInfo) -> str:
    """Send or receive a file of `size` bytes; return why it could not be written here, or an empty text."""
    chunks = (torch.empty(min(CHUNK_BYTES, size - begin), dtype=torch.uint8) for begin in range(0, size, CHUNK_BYTES))
    if group.is_first:
        _send(file, chunks)
        return ""
    problem = _receive(file, chunks)
    return f"node {group.rank}: {problem}" if problem else ""


def _send(file: Path, chunks: Iterable[torch.Tensor]) -> None:
    with file.open("rb") as opened:
        for chunk in chunks:
            opened.readinto(chunk.numpy())
            dist.broadcast(chunk, src=0)


def _receive(file: Path, chunks: Iterable[torch.Tensor]) -> str:
    """Write a file; if that fails, keep receiving, because the other nodes still take part in each broadcast."""
    problem = ""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("wb") as opened:
            for chunk in chunks:
                dist.broadcast(chunk, src=0)
                opened.write(chunk.numpy())
    except OSError as error:
        problem = f"{file} cannot be written: {os.strerror(error.errno or 0).lower()}"
        for chunk in chunks:
            dist.broadcast(chunk, src=0)
    return problem
