"""Let the trainings of an interpreter that runs a pipeline be forks of one process that has imported torch.

The interpreter finds this file by PYTHONPATH. What it starts does not read it again: the variable is taken away.
"""

import os
import sys
from pathlib import Path

if os.environ.pop("EMBEDSTEP_TEST_FORKS_HERE", ""):
    sys.path.append(str(Path(__file__).parents[3]))
    from tests.forking import Forks

    Forks(os.environ, is_fork=False).install()
