"""Where a request may name a corpus."""

from collections.abc import Iterator

from embedstep.data.hub import named_datasets
from embedstep.planning.evaluators import RETRIEVAL, known_evaluator
from embedstep.request.schema import TrainRequest


def corpora_are_searched(request: TrainRequest) -> Iterator[tuple[str, str]]:
    """A corpus belongs to an eval dataset that an evaluator for retrieval reads."""
    kinds = [(item.dataset, known_evaluator(item)) for item in request.evaluators]
    searched = {name for name, kind in kinds if kind is not None and kind.name == RETRIEVAL}
    for split, name, dataset in named_datasets(request):
        where = f"data.{split}.{name}.corpus"
        if dataset.corpus is None:
            continue
        if split != "eval":
            yield where, "is for data.eval, whose evaluators search it; remove it"
        elif dataset.beir is not None:
            yield where, "cannot be given with beir, whose own corpus is searched; remove it"
        elif name not in searched:
            section = f"{{kind: {RETRIEVAL}, name: {name}, dataset: {name}}}"
            yield where, f"is searched by no evaluator; add {section} to evaluators, or remove it"
