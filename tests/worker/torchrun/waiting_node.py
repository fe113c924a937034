"""A node that joins the others, works for some seconds and ends with a code; AHEAD is by how much its clock is ahead.

The first node plans for PLANS seconds before it trains, or ends with the code REFUSES.
"""

import os
import sys
import time
from functools import partial

from embedstep.errors import EmbedstepError
from embedstep.launch.nodes import NodeInfo
from embedstep.worker.torchrun import rendezvous

say = partial(print, flush=True)
rendezvous._LOST_SECONDS = 4.0
rendezvous._REFUSED_SECONDS = 10.0
shown = time.time
time.time = lambda: shown() + float(os.environ.get("AHEAD", 0))
address = sys.argv[1]
rank, nodes, port = map(int, sys.argv[2:5])
seconds, work, code = map(float, sys.argv[5:])
refuses = os.environ.get("REFUSES", "")
reasons: list[str] = []
group = NodeInfo(nodes=nodes, rank=rank, address=address, port=port, job=os.environ.get("JOB", "job"))
try:
    peers = rendezvous.Rendezvous(group, reasons.append)
    if rank == 0:
        peers.serve()
        say("serves")
        time.sleep(float(os.environ.get("PLANS", 0)))
        if refuses:
            peers.end_all(int(refuses))
            sys.exit(int(refuses))
        peers.start_all(seconds)
    elif (ended := peers.join(seconds)) is not None:
        say("ended:", ended)
        peers.end(ended)
        sys.exit(ended)
    say("together")
    end = time.monotonic() + work
    while time.monotonic() < end and not reasons:
        time.sleep(0.1)
    if reasons:
        time.sleep(3)  # ranks need a moment to end
    peers.end(int(code))
    say("lost:", peers.lost_peer)
    sys.exit(75 if peers.lost_peer else int(code))
except EmbedstepError as error:
    say(error)
    sys.exit(error.exit_code)
