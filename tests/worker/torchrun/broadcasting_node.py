"""A node that hands its files to the second one, or is that one."""

import sys
from functools import partial
from pathlib import Path

from embedstep.errors import EmbedstepError
from embedstep.launch.nodes import NodeInfo
from embedstep.output.folder import OutputFolder
from embedstep.worker.torchrun import broadcast, rendezvous

broadcast.CHUNK_BYTES = 5
rank, port, output = int(sys.argv[1]), int(sys.argv[2]), OutputFolder(Path(sys.argv[3]))
group = NodeInfo(nodes=2, rank=rank, address="127.0.0.1", port=port)
try:
    prepare = partial(broadcast.broadcast_files, output, group)
    with rendezvous.rendezvous(group, 60, lambda lost: None, prepare) as met:
        assert met is not None
        met.end(0)
except EmbedstepError as error:
    sys.stdout.write(f"{error}\n")
    sys.exit(error.exit_code)
