"""Components, and the orchestrators that run them. Each orchestrator's library is imported in its folder only."""
