"""What losses, batch samplers and evaluators ask of the rows of each dataset, known before any row is read."""

from collections.abc import Iterator, Mapping

from embedstep.data.facts import Split
from embedstep.data.hub import named_datasets
from embedstep.data.roles import RowNeeds, list_roles
from embedstep.data.transforms import given_columns
from embedstep.planning.batch_samplers import reads_labels
from embedstep.planning.evaluators import EvaluatorKind, known_evaluator
from embedstep.planning.kinds import Label
from embedstep.planning.losses import innermost
from embedstep.planning.metrics import evaluates_loss
from embedstep.request.datasets import Dataset
from embedstep.request.extensions import is_reference
from embedstep.request.schema import TrainRequest


def row_needs(request: TrainRequest) -> Mapping[tuple[Split, str], RowNeeds]:
    """Return what is asked of the rows of each dataset, by split and name."""
    return {(split, name): _needs(request, split, name, dataset) for split, name, dataset in named_datasets(request)}


def _needs(request: TrainRequest, split: Split, name: str, dataset: Dataset) -> RowNeeds:
    has_loss = split != "eval" or evaluates_loss(request, name)
    evaluators = [*_evaluators(request, name)] if split == "eval" else []
    labels = [item.label for item in evaluators if item.label is not None]
    if has_loss:
        labels += _labels_of_loss(request, name, dataset)
    return RowNeeds(
        optional_negatives=bool(evaluators) and not has_loss and not any(map(_reads_negatives, evaluators)),
        integer_labels=(has_loss and _sampler_reads_labels(request, split)) or any(map(_is_of_integers, labels)),
    )


def _evaluators(request: TrainRequest, dataset: str) -> Iterator[EvaluatorKind]:
    """Yield the known evaluators of a dataset."""
    for evaluator in request.evaluators:
        kind = known_evaluator(evaluator)
        if evaluator.dataset == dataset and kind is not None:
            yield kind


def _labels_of_loss(request: TrainRequest, name: str, dataset: Dataset) -> list[Label]:
    """Return the label that the loss of a dataset takes with as many texts, if it takes one."""
    loss = request.loss_of(name)
    kind = innermost(loss) if loss is not None else None
    roles = {role.name for role in list_roles(dataset.columns)} | given_columns(dataset.transform).keys()
    texts = len(roles - {"label"})
    fitting = [takes for takes in kind.takes if takes.fits(texts)] if kind is not None else []
    return [fitting[0].label] if fitting and fitting[0].label is not None else []


def _sampler_reads_labels(request: TrainRequest, split: Split) -> bool:
    sampler = request.arguments.batch_sampler
    return reads_labels(sampler) if split == "train" else sampler == "group_by_label"


def _reads_negatives(evaluator: EvaluatorKind) -> bool:
    """Whether an evaluator may need a negative in each row. For retrieval those are further documents."""
    return "negative" in evaluator.roles or is_reference(evaluator.class_name)


def _is_of_integers(label: Label) -> bool:
    return label.kinds == ("integer",)
