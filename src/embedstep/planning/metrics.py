"""The names of the metrics that a run will log, known before it starts: `metric_for_best_model` is checked by them."""

from collections.abc import Sequence

from embedstep.errors import suggest
from embedstep.output.result import is_score
from embedstep.planning.evaluators import metric_names
from embedstep.request.schema import TrainRequest

_SHOWN = 6
"""Metrics that a message suggests at most."""
_SPEED = ("runtime", "samples_per_second", "steps_per_second")
"""What the library's trainer logs with every evaluation."""


def planned_metrics(request: TrainRequest, similarity: str, *, evaluates: bool = True) -> tuple[str, ...]:
    """Return the names of the evaluation metrics, in the order in which they are first logged.

    Args:
        request: the request.
        similarity: the model's own similarity function, which names metrics where no option does.
        evaluates: whether the run evaluates at all; without it there are only the metrics of test data.
    """
    names = _evaluation_metrics(request, similarity) if evaluates else []
    for name in request.data.test:
        names += [f"{test_prefix(request, name)}_{metric}" for metric in ("loss", *_SPEED)]
    return tuple(names)


def _evaluation_metrics(request: TrainRequest, similarity: str) -> list[str]:
    with_loss = [name for name in request.data.eval if evaluates_loss(request, name)]
    names = []
    for name in with_loss:
        prefix = f"eval_{name}" if len(request.data.train) > 1 else "eval"
        names += [f"{prefix}_{metric}" for metric in ("loss", *_SPEED)]
    if request.evaluators and not with_loss:
        names += [f"eval_{metric}" for metric in _SPEED]
    names += [name for evaluator in request.evaluators for name in metric_names(evaluator, similarity)]
    names += ["eval_sequential_score"] if len(request.evaluators) > 1 else []
    return names


def test_prefix(request: TrainRequest, name: str) -> str:
    """Return what the names of a test dataset's metrics begin with."""
    return f"test_{name}" if len(request.data.train) > 1 else "test"


def evaluates_loss(request: TrainRequest, name: str) -> bool:
    """Whether the eval dataset `name` gets an evaluation loss: its name is that of a train dataset."""
    return name in request.data.train


def suggest_metrics(name: str, metrics: Sequence[str]) -> str:
    """Return `; did you mean A or B?` with all metrics that contain the name, or with the most similar one."""
    scores = [metric for metric in metrics if is_score(metric)]
    words = name.removeprefix("eval_")
    fitting = [metric for metric in scores if metric.endswith(f"_{words}")]
    fitting = fitting or [metric for metric in scores if words in metric]
    if not fitting:
        return suggest(f"eval_{words}", metrics, cutoff=0.3) or (f"; it has {', '.join(scores)}" if scores else "")
    *others, last = fitting[:_SHOWN]
    return f"; did you mean {', '.join(others)} or {last}?" if others else f"; did you mean {last}?"
