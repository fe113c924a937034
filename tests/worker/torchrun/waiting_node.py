"""A node that waits for the others, works for some seconds and ends in a code; AHEAD is what its clock is ahead."""

import os
import sys
import time
from functools import partial

from embedstep.errors import CannotStartError
from embedstep.launch.nodes import NodeInfo
from embedstep.worker.torchrun import rendezvous

say = partial(print, flush=True)
rendezvous._LOST_SECONDS = 4.0
shown = time.time
time.time = lambda: shown() + float(os.environ.get("AHEAD", 0))
address = sys.argv[1]
rank, nodes, port = map(int, sys.argv[2:5])
seconds, work, code = map(float, sys.argv[5:])
reasons: list[str] = []
group = NodeInfo(nodes=nodes, rank=rank, address=address, port=port)
try:
    with rendezvous.rendezvous(group, seconds, reasons.append, lambda store: None) as met:
        assert met is not None
        say("together")
        end = time.monotonic() + work
        while time.monotonic() < end and not reasons:
            time.sleep(0.1)
        met.end(int(code))
        say("lost:", met.lost_peer)
        sys.exit(75 if met.lost_peer else int(code))
except CannotStartError as error:
    say(error)
    sys.exit(3)
