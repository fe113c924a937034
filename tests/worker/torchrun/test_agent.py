"""The first module of a node's processes imports nothing that takes long."""

import subprocess
import sys


def test_neither_torch_nor_numpy_is_imported_before_the_ranks_are_started() -> None:
    code = (
        "import sys; import embedstep.worker.torchrun.agent; "
        "print(sorted({'torch', 'numpy', 'transformers', 'psutil'} & set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"
