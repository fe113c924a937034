"""Where a run is recorded: everything goes to a spool on disk first, and a process beside the training sends it."""
