"""Write a report in a process of its own: `python -m embedstep.report OUTPUT`."""

import sys
from pathlib import Path

from embedstep.report.page import write_report

if __name__ == "__main__":
    write_report(Path(sys.argv[1]))
