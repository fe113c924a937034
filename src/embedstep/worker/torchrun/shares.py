"""Each node reads its share of the rows (`data.read: per_node`) before any rank runs."""

import json
import time

import torch.distributed as dist

from embedstep.errors import OK, REFUSED, CannotStartError, EmbedstepError, InvalidRequestError, PeerLostError
from embedstep.launch.nodes import NodeInfo
from embedstep.output.folder import OutputFolder
from embedstep.output.result import read_json
from embedstep.planning.node_reading import write_shares
from embedstep.planning.plan import plan_from_json
from embedstep.request.stored import request_from_json
from embedstep.worker.torchrun.rendezvous import Rendezvous

_POLL_SECONDS = 0.2


def read_shares(output: OutputFolder, group: NodeInfo, peers: Rendezvous) -> None:
    """Read the rows of this node, and wait for the other nodes; every node calls this at the same time.

    A collective of the ranks would not wait as long as reading may take.

    Args:
        output: the output folder with request and plan.
        group: the place of this node.
        peers: the nodes, which have joined.

    Raises:
        InvalidRequestError, CannotStartError: on all nodes, what one of them has met first.
        PeerLostError: a node was lost meanwhile.
    """
    plan = plan_from_json(read_json(output.plan))
    if not any(item.node_rows for item in plan.datasets):
        return
    code, message = OK, ""
    try:
        write_shares(request_from_json(read_json(output.request)), plan, group.rank)
    except (InvalidRequestError, CannotStartError) as error:
        code, message = error.exit_code, str(error)
    try:
        ends = _exchange(peers.connect(), group, code, message)
    except RuntimeError as error:  # of a store whose node is gone
        raise PeerLostError("the first node was lost while the nodes read their rows") from error
    if failed := [_error(*end) for end in ends if end[0] != OK]:
        peers.stop_watching()  # all end with this error, and none is lost
        raise failed[0]


def _exchange(store: dist.Store, group: NodeInfo, code: int, message: str) -> list[tuple[int, str]]:
    """Return how each node has ended to read, with exit code and message."""
    store.set(f"shares/{group.rank}", json.dumps([code, message]))
    keys = [f"shares/{rank}" for rank in range(group.nodes)]
    _wait(store, keys)
    ends = [tuple(json.loads(store.get(key))) for key in keys]
    store.set(f"shares/{group.rank}/read", "")
    if group.is_first:  # the store and all answers end with this process
        _wait(store, [f"{key}/read" for key in keys])
    return ends


def _wait(store: dist.Store, keys: list[str]) -> None:
    """Wait for keys as long as all nodes are well: a signal ends this, also where another node is lost."""
    while not store.check(keys):
        time.sleep(_POLL_SECONDS)


def _error(code: int, message: str) -> EmbedstepError:
    return InvalidRequestError.from_lines(message.splitlines()) if code == REFUSED else CannotStartError(message)
