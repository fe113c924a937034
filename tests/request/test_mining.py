"""Options of mining: their values, what does not fit together, and what the library gets."""

import inspect
from typing import Any

import pytest

from embedstep.errors import InvalidRequestError
from embedstep.request.mining import Mining, read_mining

OURS = {
    "dataset", "model", "anchor_column_name", "positive_column_name", "num_negatives", "output_format",
    "output_scores", "include_positives", "cache_folder", "verbose", "as_triplets", "margin",
}  # fmt: skip
"""Options of the library that docs/mining.md says are not offered, with the reason."""


def test_every_option_of_the_library_is_offered_or_said_to_be_ours() -> None:
    from sentence_transformers.util import mine_hard_negatives  # torch takes seconds to import

    assert set(inspect.signature(mine_hard_negatives).parameters) == OURS | set(Mining.model_fields) - {"corpus_column"}


@pytest.mark.parametrize(
    ("options", "margin"),
    [
        ({}, 0.05),
        ({"relative_margin": 0.1}, 0.1),
        ({"relative_margin": 0}, None),
        ({"relative_margin": None}, None),
        ({"absolute_margin": 0.2}, None),
        ({"absolute_margin": 0.2, "relative_margin": 0.1}, 0.1),
        ({"max_score": 0.8}, 0.05),
    ],
)
def test_a_margin_is_the_default_and_can_be_left_out(options: dict[str, Any], margin: float | None) -> None:
    assert read_mining(options).margin == margin
    assert read_mining(options).of_the_library()["relative_margin"] == margin


@pytest.mark.parametrize(
    ("options", "messages"),
    [
        ({"sampling_strategy": "best"}, ["sampling_strategy: must be top or random; 'best' was given"]),
        (
            {"rang_max": 5, "batch_size": 0},
            [
                "rang_max: is not an option of mining; did you mean range_max?",
                "batch_size: input should be greater than 0; 0 was given",
            ],
        ),
        ({"range_min": "3.5"}, ["range_min: needs an integer; '3.5' was given"]),
    ],
)
def test_every_wrong_option_is_reported(options: dict[str, Any], messages: list[str]) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        read_mining(options)
    assert [str(problem) for problem in caught.value.problems] == messages


@pytest.mark.parametrize(
    ("options", "messages"),
    [
        ({"range_min": 3, "range_max": 5}, []),
        (
            {"range_min": 4, "range_max": 5},
            ["range_max: is 5; 2 negatives after range_min need 6 or more"],
        ),
        (
            {"query_prompt": "query: ", "query_prompt_name": "query"},
            ["query_prompt_name: cannot be used with query_prompt; give one of them"],
        ),
        (
            {"corpus_column": "text"},
            ["corpus_column: names a column of the corpus, and there is none; give corpus"],
        ),
        ({"cross_encoder": "folder"}, []),
        (
            {"cross_encoder": "folder", "relative_margin": 0},
            ["cross_encoder: scores candidates for margins, max_score and min_score only, and none is set; set one"],
        ),
    ],
)
def test_options_that_do_not_fit_together_are_reported(options: dict[str, Any], messages: list[str]) -> None:
    assert [str(problem) for problem in read_mining(options).problems(negatives=2)] == messages
