"""Values for the installed release: its class, given them, holds what the ledger says."""

from typing import Any

import pytest

from embedstep.request.arguments.ledger import differences, ledger, trainer_arguments
from tests.request.arguments.test_schema import load


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"learning_rate": "2e-5", "warmup_steps": 0.1, "max_steps": 7, "seed": 3},
        {"eval_strategy": "steps", "eval_steps": 0.25, "save_strategy": "steps", "save_steps": 0.5},
        {"load_best_model_at_end": True, "metric_for_best_model": "loss", "eval_strategy": "epoch",
         "save_strategy": "epoch", "greater_is_better": False, "save_total_limit": 2},
        {"optim": "adafactor", "lr_scheduler_type": "cosine_with_restarts", "lr_scheduler_kwargs": {"num_cycles": 2}},
        {"batch_sampler": "no_duplicates", "multi_dataset_batch_sampler": "round_robin",
         "prompts": {"anchor": "query: "}},
        {"bf16": True, "use_cpu": True, "gradient_accumulation_steps": 4, "max_grad_norm": 0},
        {"dataloader_num_workers": 2, "dataloader_persistent_workers": True, "dataloader_prefetch_factor": 4},
        {"logging_strategy": "epoch", "run_name": "no", "report_to": "none", "disable_tqdm": False},
        {"evaluation_strategy": "epoch", "no_cuda": True, "adafactor": True, "per_gpu_train_batch_size": 4},
        {"split_batches": True, "debug": "underflow_overflow", "torchdynamo": "eager", "max_steps": 0},
    ],
    ids=lambda given: ",".join(given),
)  # fmt: skip
def test_the_installed_class_has_the_values_of_the_ledger(given: dict[str, Any]) -> None:
    from sentence_transformers import SentenceTransformerTrainingArguments

    entries = ledger(load(given), gpus=0, world_size=1, has_evaluation=False)
    built = SentenceTransformerTrainingArguments(output_dir="x", **trainer_arguments(entries, warmup_steps=0)).to_dict()
    assert list(differences(entries, built)) == []
    built["learning_rate"] = 7
    assert [line.partition(" ")[0] for line in differences(entries, built)] == ["learning_rate"]
