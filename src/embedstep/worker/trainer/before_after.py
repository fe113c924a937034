"""The scores of the base model and of the published one, by the same evaluators on the same rows.

A training that made its model worse looks like any other until it serves, so each run evaluates its base, too: once,
because the scores are kept for the next run on the same model and rows.
"""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from accelerate.utils import broadcast_object_list
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.evaluation import BaseEvaluator, SequentialEvaluator
from transformers import TrainerCallback

from embedstep.data.hub import local_sources
from embedstep.output.gains import QueryScores, bootstrap_gain
from embedstep.output.result import Change
from embedstep.planning.evaluators import evaluator_kind
from embedstep.planning.plan import Plan
from embedstep.request.extensions import is_reference
from embedstep.request.schema import Evaluator, TrainRequest
from embedstep.runtime.cache import find_cache
from embedstep.runtime.digests import sha256_files, sha256_json
from embedstep.worker.models import has_adapter
from embedstep.worker.trainer.interruptible import InterruptibleTrainer
from embedstep.worker.trainer.ranking import RankingEvaluator

_CONFIDENCE = 0.95
_MIN_QUERIES = 2
_SETTINGS = (".json", ".txt", ".model", ".jinja")
_LIBRARIES = ("sentence-transformers", "transformers", "torch")


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """What the evaluators have found for one state of the model.

    Attributes:
        metrics: metrics by their names in a log, such as `eval_docs_cosine_ndcg@10`.
        of_queries: main metric of each retrieval evaluator for each query by the same name, shape (queries,).
    """

    metrics: Mapping[str, float] = field(default_factory=dict)
    of_queries: Mapping[str, QueryScores] = field(default_factory=dict)


class _Remembering(BaseEvaluator):  # type: ignore[misc]
    """An evaluator that keeps the metrics of its last call."""

    def __init__(self, evaluator: BaseEvaluator) -> None:
        super().__init__()
        self.evaluator = evaluator
        self.found: dict[str, float] = {}

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        found = self.evaluator(*arguments, **options)
        self.primary_metric = getattr(self.evaluator, "primary_metric", None)
        # A user's evaluator may return a single number, which has no name to compare by.
        self.found = {_logged(name): float(value) for name, value in found.items()} if isinstance(found, dict) else {}
        return found

    @property
    def main(self) -> str | None:
        """The main metric by its name in a log."""
        return None if self.primary_metric is None else _logged(self.primary_metric)

    @property
    def of_queries(self) -> dict[str, QueryScores]:
        """The main metric of each query, where there are queries."""
        if not isinstance(self.evaluator, RankingEvaluator) or self.main is None:
            return {}
        return {self.main: self.evaluator.scores()[str(self.primary_metric)]}


class RunEvaluator(BaseEvaluator):  # type: ignore[misc]
    """The evaluators of a request as one, which keeps their scores before the training and at its last call.

    Attributes:
        before: scores of the base model; None until they are known.
        on_before: called with them once the base was evaluated.
        is_current: whether the last call has evaluated the weights that the model has now.
    """

    def __init__(self, evaluators: Sequence[tuple[Evaluator, BaseEvaluator]]) -> None:
        """Combine evaluators.

        Args:
            evaluators: sections of the request, at least one, and what is built of each.
        """
        super().__init__()
        built = [(section, _Remembering(one)) for section, one in evaluators]
        all_of_them = [one for _, one in built]
        self._run = SequentialEvaluator(all_of_them) if len(built) > 1 else all_of_them[0]
        # A classifier is a part of the training, which the base does not have.
        self._compared = [one for section, one in built if evaluator_kind(section.kind).classifier is None]
        self.before: Scores | None = None
        self.on_before: Callable[[Scores], None] = lambda scores: None
        self.is_current = False

    def __call__(
        self, model: SentenceTransformer, output_path: str | None = None, epoch: float = -1, steps: int = -1
    ) -> Any:
        """Evaluate a model; at step 0 that is the base."""
        found = self._run(model, output_path, epoch, steps)
        self.is_current = True
        if steps == 0 and self.before is None:
            self.before = self.scores()
            self.on_before(self.before)
        return found

    def scores(self) -> Scores:
        """Return the scores of the last call, of the evaluators that can evaluate a base."""
        metrics = {name: value for one in self._compared for name, value in one.found.items()}
        of_queries = {name: scores for one in self._compared for name, scores in one.of_queries.items()}
        return Scores(metrics=metrics, of_queries=of_queries)

    def changes(self) -> dict[str, Change]:
        """Return each metric for the base and for the current weights; nothing unless both were evaluated."""
        if self.before is None or not self.is_current:
            return {}
        before, after = self.before, self.scores()
        greater = {one.main: bool(getattr(one.evaluator, "greater_is_better", True)) for one in self._compared}
        return {
            name: _compare(name, before, after, greater.get(name))
            for name, value in after.metrics.items()
            if name in before.metrics and math.isfinite(before.metrics[name]) and math.isfinite(value)
        }


class WeightsHaveChanged(TrainerCallback):  # type: ignore[misc]
    """Marks the scores of an evaluator as those of earlier weights."""

    def __init__(self, evaluator: RunEvaluator) -> None:
        self._evaluator = evaluator

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """A train step has changed them."""
        self._evaluator.is_current = False

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The best checkpoint was loaded, unless it is that of the last step."""
        if args.load_best_model_at_end and state.best_global_step != state.global_step:
            self._evaluator.is_current = False


def score_base(
    request: TrainRequest,
    plan: Plan,
    trainer: InterruptibleTrainer,
    record: Callable[[Mapping[str, float]], None],
    *,
    resumes: bool,
) -> None:
    """Evaluate the base model on all ranks, unless its scores are kept, or `eval_on_start` is about to do it.

    Args:
        request: the request.
        plan: its plan.
        trainer: the trainer, before its first step and before it loads a checkpoint.
        record: called on the first rank with the metrics of the base, now or after the evaluation at the start.
        resumes: whether it is going to load one.

    Raises:
        StepInterruptedError: on all ranks.
    """
    evaluator = trainer.evaluator
    if not isinstance(evaluator, RunEvaluator):
        return
    key = _key(request, plan, str(trainer.args.device.type))

    def keep(scores: Scores) -> None:
        record(scores.metrics)
        if key is not None:
            _write(key, scores)

    if trainer.is_world_process_zero():
        evaluator.on_before = keep
        evaluator.before = None if key is None else _read(key)
        if evaluator.before is not None:
            record(evaluator.before.metrics)
    # An adapter with new weights may already change what the model gives.
    is_due = trainer.args.eval_on_start and not resumes and not has_adapter(trainer.model)
    if _agreed(evaluator.before is None and not is_due):
        with _without_adapter(trainer.model):
            trainer.run_evaluator(steps=0)


def score_published(trainer: InterruptibleTrainer) -> None:
    """Evaluate the weights that are published on all ranks, unless the last evaluation was theirs.

    Args:
        trainer: the trainer after the training.

    Raises:
        StepInterruptedError: on all ranks.
    """
    evaluator = trainer.evaluator
    if isinstance(evaluator, RunEvaluator) and _agreed(evaluator.before is not None and not evaluator.is_current):
        trainer.run_evaluator(steps=trainer.state.global_step)


def _compare(name: str, before: Scores, after: Scores, greater: bool | None) -> Change:
    """Compare a metric; `greater` says for a main metric whether more of it is better, and is None for others."""
    change = Change(before=before.metrics[name], after=after.metrics[name])
    one, other = after.of_queries.get(name), before.of_queries.get(name)
    sign = 1 if greater or greater is None else -1
    if one is None or other is None or one.shape != other.shape or len(one) < _MIN_QUERIES:
        return replace(change, is_worse=greater is not None and sign * (change.after - change.before) < 0)
    gain = bootstrap_gain(one, other, _CONFIDENCE)
    is_worse = greater is not None and max(sign * gain.low, sign * gain.high) < 0
    return replace(change, low=gain.low, high=gain.high, is_worse=is_worse)


def _key(request: TrainRequest, plan: Plan, device: str) -> str | None:
    """Return the name under which the scores of the base are kept; None where other things may change them."""
    kinds = [evaluator_kind(section.kind) for section in request.evaluators]
    has_own_code = any(is_reference(kind.class_name) for kind in kinds) or any(
        is_reference(module.kind) for module in request.model.modules or ()
    )
    if plan.base is None or request.model.trust_remote_code or has_own_code:
        return None
    arguments = request.arguments
    data = {
        f"{item.split}.{item.name}": [item.fingerprint, item.rows] for item in plan.datasets if item.split == "eval"
    }
    about = {
        "base": [plan.base, *map(_settings_digest, local_sources(request.model, plan.fetched_model))],
        # New layers start with random weights.
        "seed": arguments.seed,
        "model": request.model.model_dump(mode="json", exclude={"path", "static", "peft", "freeze"}),
        "prompts": asdict(plan.prompts),
        "evaluators": [section.model_dump(mode="json") for section in request.evaluators],
        "data": data,
        "precision": [arguments.bf16_full_eval, arguments.fp16_full_eval, device],
        "libraries": [version(name) for name in _LIBRARIES],
    }
    return f"base-scores-{sha256_json(about)}"


def _settings_digest(source: Path) -> str:
    """Return the SHA-256 of a model's files without weights, such as its pooling and its longest text."""
    files = sorted(file for file in source.rglob("*") if file.suffix in _SETTINGS) if source.is_dir() else []
    return sha256_files(source, files)


def _read(key: str) -> Scores | None:
    found = find_cache(os.environ).read(key)
    if found is None:
        return None
    return Scores(
        metrics=found["metrics"], of_queries={name: np.array(values) for name, values in found["of_queries"].items()}
    )


def _write(key: str, scores: Scores) -> None:
    of_queries = {name: values.tolist() for name, values in scores.of_queries.items()}
    find_cache(os.environ).write(key, {"metrics": dict(scores.metrics), "of_queries": of_queries})


def _agreed(value: bool) -> bool:
    """Return what the first rank says."""
    return bool(broadcast_object_list([value])[0])


def _without_adapter(model: SentenceTransformer) -> AbstractContextManager[None]:
    disabled: AbstractContextManager[None] = model[0].model.disable_adapter() if has_adapter(model) else nullcontext()
    return disabled


def _logged(name: str) -> str:
    """Return the name of a metric of an evaluator in a log."""
    return name if name.startswith("eval_") else f"eval_{name}"
