"""A node that hands its files to the second one, or is that one."""

import sys
from pathlib import Path

from embedstep.errors import EmbedstepError
from embedstep.launch.nodes import NodeInfo
from embedstep.output.folder import OutputFolder
from embedstep.worker.torchrun import broadcast, rendezvous

broadcast.CHUNK_BYTES = 5
rank, port, output = int(sys.argv[1]), int(sys.argv[2]), OutputFolder(Path(sys.argv[3]))
group = NodeInfo(nodes=2, rank=rank, address="127.0.0.1", port=port)
try:
    peers = rendezvous.Rendezvous(group, lambda lost: None)
    if rank == 0:
        peers.serve()
        peers.start_all(60)
    else:
        peers.join(60)
    broadcast.broadcast_files(output, group, peers.connect())
    peers.end(0)
except EmbedstepError as error:
    sys.stdout.write(f"{error}\n")
    sys.exit(error.exit_code)
