"""The evaluation of the final model, and the loss on test data."""

from collections.abc import Mapping
from typing import Any

import datasets

from embedstep.planning.metrics import test_prefix
from embedstep.planning.plan import Plan
from embedstep.request.schema import TrainRequest
from embedstep.worker.trainer.build import rows_of
from embedstep.worker.trainer.trainer import StepTrainer


def evaluate_at_end(request: TrainRequest, plan: Plan, trainer: StepTrainer) -> None:
    """Evaluate the final model, unless that was just done, and compute the loss on data.test."""
    last = next((log["step"] for log in reversed(trainer.state.log_history) if _is_evaluation(log)), None)
    if plan.train_steps in plan.evaluations and last != trainer.state.global_step:
        trainer.evaluate()
    # An evaluator's scores on its own rows would be logged under the name of the test data.
    evaluator, trainer.evaluator = trainer.evaluator, None
    for item in plan.datasets:
        if item.split == "test":
            prefix = test_prefix(request, item.name)
            if any(key.startswith(f"{prefix}_") for log in trainer.state.log_history for key in log):
                continue  # done by an earlier attempt
            rows = rows_of(item)
            if len(request.data.train) > 1:
                # With several datasets, the trainer finds the loss by a column with the name of the dataset.
                rows = trainer.preprocess_dataset(datasets.DatasetDict({item.name: rows}))[item.name]
            trainer.log(trainer.predict(rows, metric_key_prefix=prefix).metrics)
    trainer.evaluator = evaluator


def _is_evaluation(log: Mapping[str, Any]) -> bool:
    return any(key.startswith("eval_") for key in log)
