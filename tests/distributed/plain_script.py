"""The plain sentence-transformers script that a person would write: the oracle of the bit-identity test.

    torchrun --nproc-per-node N tests/distributed/plain_script.py MODEL TRAIN OUTPUT ARGUMENTS

It knows nothing of embedstep. ARGUMENTS is a JSON mapping for SentenceTransformerTrainingArguments.
"""

import json
import sys

from datasets import load_dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss


def main(model_path: str, train_path: str, output: str, arguments: str) -> None:
    """Train and save."""
    model = SentenceTransformer(model_path, device="cpu")
    rows = load_dataset("json", data_files=train_path, split="train").select_columns(["anchor", "positive"])
    trainer = SentenceTransformerTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(
            output_dir=f"{output}/trainer", use_cpu=True, **json.loads(arguments)
        ),
        train_dataset=rows,
        loss=MultipleNegativesRankingLoss(model),
    )
    trainer.train()
    if trainer.is_world_process_zero():
        model.save_pretrained(f"{output}/model")


if __name__ == "__main__":
    main(*sys.argv[1:])
