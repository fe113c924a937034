"""What a plan says of the batches that are formed here."""

from tests.planning.plans import PlanOf, answers


def test_smaller_batches_are_reported(plan_of: PlanOf) -> None:
    plan = plan_of(answers(10, 3, 3, 3, 3), batch_sampler="no_duplicates")
    (docs,) = plan.datasets
    assert (docs.batches, docs.rows_unreached) == (10, 0)
    assert plan.notes[-1] == (
        "data.train.docs: 6 of 10 batches are smaller than 4; write dataloader_drop_last: true to leave them out"
    )


def test_labels_and_rows_that_are_never_used_are_reported(plan_of: PlanOf) -> None:
    plan = plan_of(answers(6, 6, 1), batch_sampler="group_by_label")
    (docs,) = plan.datasets
    assert (docs.batches, docs.rows_unreached) == (3, 1)
    assert plan.notes == (
        "data.train.docs: labels in the batches (in the data): 0 50.0% (46.2%), 1 50.0% (46.2%), 2 0.0% (7.7%)",
        "data.train.docs: 1 row is never trained on, because no other row has the same label",
    )


def test_the_padding_is_reported_with_and_without_grouping(plan_of: PlanOf) -> None:
    rows = [{"q": "word " * (1 + row % 16), "a": f"answer {row}"} for row in range(256)]
    plan = plan_of(rows, group_by_length=True)
    (note,) = plan.notes
    assert note.startswith("data.train.docs: padding is ")
    grouped, mixed = (int(part.partition("%")[0].rpartition(" ")[2]) for part in (note, note.partition(";")[2]))
    assert grouped < 10 < 20 < mixed


def test_a_column_of_lengths_is_taken_in_place_of_counting(plan_of: PlanOf) -> None:
    """All texts are equally long, and the column says otherwise: batches of four with 10 or 20 each pad nothing."""
    rows = [{"q": f"q{row:03}", "a": f"a{row:03}", "length": 10 + row % 2 * 10} for row in range(128)]
    plan = plan_of(rows, group_by_length=True, length_column_name="length")
    assert plan.notes == (
        "rows are grouped by the column length",
        "data.train.docs: padding is 0% of a batch; without group_by_length it would be 21%",
    )
    # The loss gets no lengths, and they are no column that was dropped.
    (docs,) = plan.datasets
    assert (docs.columns, docs.dropped_columns, docs.has_lengths) == (("anchor", "positive"), (), True)
    # A column that happens to have this name is not taken unasked.
    (docs,) = plan_of(rows, group_by_length=True).datasets
    assert (docs.dropped_columns, docs.has_lengths) == (("length",), False)
