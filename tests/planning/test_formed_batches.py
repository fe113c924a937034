"""The batches of the first epoch, counted for the plan; `tests/distributed` compares them with those of real runs."""

from collections.abc import Callable
from typing import Any

import pytest

from embedstep.errors import InvalidRequestError
from embedstep.planning.formed_batches import form_batches
from embedstep.request.arguments.schema import Arguments


def rows_of(count: int, texts: int) -> list[dict[str, Any]]:
    return [{"q": f"question {number % texts}", "a": f"answer {number}"} for number in range(count)]


def test_what_the_library_draws_is_not_formed() -> None:
    formed = form_batches(Arguments(), [], 2)
    assert (formed.datasets, formed.train, formed.epochs, formed.seconds) == ([], (), None, None)


@pytest.mark.parametrize(("processes", "batches", "unreached"), [(1, 5, 0), (2, 4, 2)])
def test_batches_are_those_of_all_processes(
    plan_of: Callable[..., Any], processes: int, batches: int, unreached: int
) -> None:
    plan = plan_of(
        rows_of(18, 18), processes=processes, batch_sampler="no_duplicates", per_device_train_batch_size=4,
    )  # fmt: skip
    (item,) = plan.datasets
    assert (item.batches, item.rows_unreached, item.largest_batch) == (batches, unreached, None)


def test_the_largest_batch_is_found_where_the_size_gives_none(plan_of: Callable[..., Any]) -> None:
    with pytest.raises(InvalidRequestError, match="write per_device_train_batch_size: 3 or less"):
        plan_of(rows_of(12, 3), batch_sampler="no_duplicates", per_device_train_batch_size=8, dataloader_drop_last=True)
