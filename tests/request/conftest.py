"""The package of another author whose names a request may use."""

from tests.extensions.installed import birdsong, plan_request, problems_of, scored

__all__ = ["birdsong", "plan_request", "problems_of", "scored"]
