"""What a plan says of rows. Notes on lists and held-out rows are asserted with what makes them."""

from dataclasses import replace

from embedstep.planning.build import build_plan
from tests.planning.plans import facts, request


def test_how_files_were_read_that_are_no_plain_csv_is_reported() -> None:
    semicolon, spark = 'csv: {delimiter: ";"}', r'csv: {escape: "\\"}'
    found = replace(facts(100), unsaid_formats={"a.csv": semicolon, "b.csv": spark, "c.csv": semicolon})
    notes = build_plan(request(), [found], gpus=0, processes=1).notes
    assert notes == (
        f"data.train.docs: a.csv and 1 more file are read with {semicolon}, by their first rows; write that to keep it",
        f"data.train.docs: b.csv is read with {spark}, by its first rows; write that to keep it",
    )


def test_rows_that_repeat_are_reported() -> None:
    found = replace(facts(100), duplicate_rows=3, overlapping_rows=2, first_overlapping=(4, 9))
    assert build_plan(request(), [found], gpus=0, processes=1).notes == (
        "data.train.docs: 3 of 100 rows repeat an earlier one",
        "data.train.docs: 2 of 100 anchors are in the training data too (row 4, 9), and flatter the model; "
        "data.max_overlap refuses that",
    )


def test_words_for_nothing_are_reported() -> None:
    found = replace(facts(100), placeholders={"anchor": 1, "positive": 1_200})
    assert build_plan(request(), [found], gpus=0, processes=1).notes == (
        "data.train.docs: as anchor, 1 cell holds NaN, null or a like word, which is trained on; leave such a cell "
        "empty, if it has no text",
        "data.train.docs: as positive, 1,200 cells hold NaN, null or a like word, which is trained on; leave such a "
        "cell empty, if it has no text",
    )
