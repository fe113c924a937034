import pytest
from datasets import Dataset

from embedstep.errors import TrainingFailedError
from embedstep.worker.guarantees import require_guarantee


def pairs(*texts: tuple[str, str]) -> Dataset:
    return Dataset.from_list([{"anchor": anchor, "positive": positive} for anchor, positive in texts])


def test_a_text_in_two_rows_stops_the_run_and_the_batch_is_told() -> None:
    with pytest.raises(TrainingFailedError) as told:
        require_guarantee("no_duplicates_hashed", [3, 0, 2], pairs(("e", "a"), ("b", "b"), ("c", "d"), ("a", "b")))
    assert str(told.value) == (
        "a batch of no_duplicates holds a text in two rows, 3 and 0: 'a'; the batch has the rows [3, 0, 2]"
    )


def test_a_row_may_hold_a_text_twice() -> None:
    require_guarantee("no_duplicates", [1, 0], pairs(("a", "a"), ("c", "d")))


def test_texts_in_lists_count_too() -> None:
    rows = Dataset.from_list([{"anchor": "a", "negatives": ["b", "c"]}, {"anchor": "d", "negatives": ["c"]}])
    with pytest.raises(TrainingFailedError, match="two rows, 0 and 1: 'c'"):
        require_guarantee("no_duplicates", [0, 1], rows)


@pytest.mark.parametrize("labels", [[1, 1, 1, 1], [1, 1, 1, 2], [1, 1, 2, 3]])
def test_a_label_that_is_alone_stops_the_run(labels: list[int]) -> None:
    """Case 1.5: batches of one label have no gradient, and the job would succeed untrained."""
    rows = Dataset.from_list([{"anchor": f"t{number}", "label": label} for number, label in enumerate(labels)])
    with pytest.raises(TrainingFailedError, match=r"needs two labels, .* and their numbers \[0, 1, 2, 3\]"):
        require_guarantee("group_by_label", [0, 1, 2, 3], rows)


def test_the_default_sampler_promises_nothing() -> None:
    require_guarantee("batch_sampler", [0, 1], pairs(("a", "b"), ("a", "b")))
