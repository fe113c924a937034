"""Problems that are reported together with those that were found first, so that an author sees all at once."""

from collections.abc import Iterator

from embedstep.data.fetching import without_fetched_data
from embedstep.data.scanning import scan_all
from embedstep.errors import InvalidRequestError, Problem
from embedstep.planning.checks import check_request, check_with_data
from embedstep.planning.placeholders import without_placeholders
from embedstep.planning.row_needs import row_needs
from embedstep.request.schema import TrainRequest


def further_problems(refused: InvalidRequestError) -> list[Problem]:
    """Return the further problems of a request that is only partly readable, so that its author sees all at once.

    Args:
        refused: the error from reading the request.
    """
    if refused.remainder is None:
        return []
    # In the remainder an invalid field has its default, whose problems would mislead.
    known = {problem.path for problem in refused.problems}
    found = [*check_request(refused.remainder), *data_problems(refused.remainder)]
    return [problem for problem in dict.fromkeys(found) if problem.path not in known]


def data_problems(request: TrainRequest) -> Iterator[Problem]:
    """Return the problems of the data on this machine; what has to be fetched is left out."""
    on_disk = without_fetched_data(request)
    facts, problems = scan_all(on_disk, None, row_needs(on_disk))
    found = [*problems, *check_with_data(on_disk, facts)]
    yield from without_placeholders(request, found)
