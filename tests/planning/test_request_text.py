"""The text of a request: values that YAML reads as they were, and names for datasets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedstep.data.split_files import SplitFiles
from embedstep.planning.request_text import dataset_name, scalar
from embedstep.request.document import parse_document


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("pairs.csv", "pairs.csv"), ("../rows/a-1.parquet", "../rows/a-1.parquet"), ("null", '"null"'),
        ("question (en)", '"question (en)"'), ("12", '"12"'), ("a: b", '"a: b"'), ("rows/*.csv", '"rows/*.csv"'),
        ("s3://b/x", '"s3://b/x"'), ("", '""'),
    ],
)  # fmt: skip
def test_a_text_is_in_quotes_where_it_needs_them(text: str, written: str) -> None:
    assert scalar(text) == written


@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"))))
def test_a_text_is_read_as_it_was(text: str) -> None:
    assert parse_document(f"columns: {{anchor: {scalar(text)}}}").data == {"columns": {"anchor": text}}


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("pairs.csv", "pairs"), ("My Pairs-2024.csv", "my_pairs"), ("faq/train.csv", "faq"), ("train.jsonl", "docs"),
        ("data/train-00000-of-00003.parquet", "docs"), ("s3://bucket/faq.v2.csv?x=1", "faq"), ("12.csv", "docs"),
        ("rows/*.parquet", "docs"), ("/tmp/x/quora/", "quora"),
    ],
)  # fmt: skip
def test_a_dataset_is_named_for_its_files(path: str, name: str) -> None:
    assert dataset_name({"train": SplitFiles(paths=(path,), files=())}) == name
