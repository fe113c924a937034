"""From a launch command, which is a value, to running processes: one attempt, on one node or several."""
