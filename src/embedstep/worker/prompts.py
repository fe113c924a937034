"""The prompts of a run in its model: set before the training, used by evaluators, and saved with the model."""

from sentence_transformers import SentenceTransformer

from embedstep.planning.prompts import DOCUMENT, QUERY, PlannedPrompts, side_prompts


def set_prompts(model: SentenceTransformer, prompts: PlannedPrompts) -> None:
    """Give a model the prompts of a run; those with other names stay."""
    model.prompts = {**model.prompts, QUERY: prompts.query, DOCUMENT: prompts.document}
    model.default_prompt_name = prompts.default


def prompts_of(model: SentenceTransformer) -> tuple[str, str] | None:
    """Return the prompts that `encode_query` and `encode_document` of a model use; None if it has none.

    Without them, `encode` may use a default prompt.
    """
    query, document = side_prompts(model.prompts)
    return (query, document) if query or document else None
