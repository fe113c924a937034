import pytest

from embedstep.errors import InvalidRequestError, Problem
from embedstep.request.loading import load_request
from embedstep.request.renamed import RENAMED_FIELDS

MINIMAL = """
model: folder
data: {train: {docs: {path: pairs.parquet, columns: {anchor: q, positive: p}}}}
loss: multiple_negatives_ranking
"""
CASES = [
    ("launch.meeting_minutes", "15", "launch.join_timeout_minutes"),
    ("promotion.slice_loss", "0.01", "promotion.max_slice_loss"),
    ("promotion.documents", "1000", "promotion.index_size"),
]


@pytest.mark.parametrize(("former", "value", "current"), CASES)
def test_a_former_name_is_refused_with_the_current_one(former: str, value: str, current: str) -> None:
    section, _, name = former.partition(".")
    with pytest.raises(InvalidRequestError) as caught:
        load_request(f"{MINIMAL}\n{section}: {{{name}: {value}}}")
    assert caught.value.problems == (Problem(former, f"is now {current} (line 6)"),)
    assert load_request(MINIMAL, [f"{current}={value}"])


@pytest.mark.parametrize(("former", "value", "current"), CASES)
def test_a_former_name_is_refused_in_an_override(former: str, value: str, current: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        load_request(MINIMAL, [f"{former}={value}"])
    assert caught.value.problems == (Problem(former, f"is now {current} (--set)"),)


def test_each_renamed_field_has_a_case() -> None:
    assert {former: current.partition(".")[2] for former, _, current in CASES} == {
        ".".join(path): name for path, name in RENAMED_FIELDS.items()
    }
