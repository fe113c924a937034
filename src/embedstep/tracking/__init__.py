"""Tracking: everything is first written to a spool on disk, and a background process sends it."""
