"""Promotion: compare a new model with the one in production on the same queries, and decide which one serves."""
