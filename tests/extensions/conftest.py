"""The package of these tests, on the path."""

from tests.extensions.installed import birdsong, plan_request, problems_of, scored

__all__ = ["birdsong", "plan_request", "problems_of", "scored"]
