"""How negatives are mined: options of the library's `mine_hard_negatives`, and where the candidates come from."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import Field, ValidationError

from embedstep.errors import InvalidRequestError, Problem, suggest
from embedstep.request.loading import problems_of_section
from embedstep.request.scalars import Boolean, Integer, Number, PositiveInteger, Text
from embedstep.request.section import Section, Source, described

RELATIVE_MARGIN = 0.05
"""The margin that the library recommends (its `TopK-PercPos (95%)`)."""
_OF_THE_LIBRARY = (
    "range_min", "max_score", "min_score", "absolute_margin", "sampling_strategy", "batch_size", "use_faiss",
    "use_multi_process",
)  # fmt: skip


class Mining(Section):
    """Options of mining. Those that the library has, too, have its names and meanings."""

    corpus: Source | None = described(
        None, "Documents to mine among besides the positives of the rows: file, folder, glob or fsspec URL."
    )
    corpus_column: Source | None = described(
        None, "Column of the corpus with the documents. Default: the column of the positive."
    )
    cross_encoder: Source | None = described(
        None, "Cross-encoder that scores the candidates again for margins and scores: folder or hub id."
    )
    range_min: Integer = Field(0, ge=0, description="Number of closest matches to skip.")
    range_max: PositiveInteger | None = described(None, "Number of closest matches to consider.")
    max_score: Number | None = described(None, "Highest similarity of a negative to the anchor.")
    min_score: Number | None = described(None, "Lowest similarity of a negative to the anchor.")
    absolute_margin: Number | None = described(
        None, "Minimum difference between the positive's similarity and a negative's."
    )
    relative_margin: Number | None = described(
        None, "The same, as a fraction of the positive's similarity. Default: 0.05 without absolute_margin; 0 for none."
    )
    sampling_strategy: Literal["top", "random"] = described(
        "top", "`top` takes the closest, `random` samples among them by arguments.seed."
    )
    query_prompt: Text | None = described(
        None, "Prompt of the anchors, in place of the one that they are trained with."
    )
    query_prompt_name: Source | None = described(None, "The same, by its name in the model.")
    corpus_prompt: Text | None = described(
        None, "Prompt of the documents, in place of the one that the positives are trained with."
    )
    corpus_prompt_name: Source | None = described(None, "The same, by its name in the model.")
    batch_size: PositiveInteger = described(32, "Texts that are embedded at once.")
    faiss_batch_size: PositiveInteger | None = described(
        None, "Queries that are scored against all documents at once. Default: 1,024, or fewer with many documents."
    )
    use_faiss: Boolean = described(False, "Search with FAISS, which has to be installed.")
    use_multi_process: Boolean = described(False, "Embed on all GPUs, or by four processes without one.")

    @property
    def margin(self) -> float | None:
        """The relative margin with its default; None for none."""
        if "relative_margin" in self.model_fields_set or self.absolute_margin is not None:
            return self.relative_margin or None
        return RELATIVE_MARGIN

    @property
    def _filters(self) -> bool:
        return any(one is not None for one in (self.margin, self.absolute_margin, self.max_score, self.min_score))

    def problems(self, negatives: int) -> Iterator[Problem]:
        """Yield which options do not fit together.

        Args:
            negatives: number of negatives of each row.
        """
        for side in ("query_prompt", "corpus_prompt"):
            if getattr(self, side) is not None and getattr(self, f"{side}_name") is not None:
                yield Problem(f"{side}_name", f"cannot be used with {side}; give one of them")
        if self.corpus_column is not None and self.corpus is None:
            yield Problem("corpus_column", "names a column of the corpus, and there is none; give corpus")
        if self.cross_encoder is not None and not self._filters:
            message = "scores candidates for margins, max_score and min_score only, and none is set; set one"
            yield Problem("cross_encoder", message)
        if self.range_max is not None and self.range_max - self.range_min < negatives:
            least = self.range_min + negatives
            yield Problem(
                "range_max", f"is {self.range_max}; {negatives} negatives after range_min need {least} or more"
            )

    def of_the_library(self) -> dict[str, Any]:
        """Return the options that `mine_hard_negatives` gets under their own names."""
        given = {name: getattr(self, name) for name in _OF_THE_LIBRARY}
        return {**given, "range_max": self.range_max, "relative_margin": self.margin}


def read_mining(options: Mapping[str, Any]) -> Mining:
    """Return the options of mining.

    Args:
        options: each by its name.

    Raises:
        InvalidRequestError: with every option that is unknown or has an invalid value.
    """
    known = tuple(Mining.model_fields)
    unknown = [name for name in options if name not in known]
    problems = [Problem(name, f"is not an option of mining{suggest(name, known)}") for name in unknown]
    found = None
    try:
        found = Mining.model_validate({name: value for name, value in options.items() if name in known})
    except ValidationError as error:
        problems += problems_of_section(error, options)
    if problems or found is None:
        raise InvalidRequestError(problems)
    return found
