"""What a launcher and the processes of its node say to each other; imports nothing, because ranks wait for it."""

TRAIN = "train"
"""What the first node's launcher writes to its processes once the plan is made."""
START_FILE = "EMBEDSTEP_START_FILE"
"""Variable with the path of a file for which ranks wait once their libraries are imported."""
RESTART = 76
"""Exit code of the processes of a later node that are to start again; the first node decides whether they train."""
