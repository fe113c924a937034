"""Where a run is recorded. A tracker is as wide as its caller needs: `Run` in `run`, one module for each kind."""
