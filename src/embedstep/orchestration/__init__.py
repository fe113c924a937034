"""Doors to orchestrators: each file here is the one that imports its orchestrator."""
