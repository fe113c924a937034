"""The plain sentence-transformers script that a person would write: the oracle of the bit-identity test.

    torchrun --nproc-per-node N tests/distributed/plain_script.py MODEL TRAIN OUTPUT ARGUMENTS PEFT

It knows nothing of embedstep. ARGUMENTS is a JSON mapping for SentenceTransformerTrainingArguments, and PEFT one for
the configuration of an adapter, which may be empty.
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
from transformers import set_seed


def main(model_path: str, train_path: str, output: str, arguments: str, peft: str) -> None:
    """Train and save."""
    model = SentenceTransformer(model_path, device="cpu")
    if options := json.loads(peft):
        from peft import get_peft_config, get_peft_model

        set_seed(42)
        model[0].model = get_peft_model(model[0].model, get_peft_config(options))
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
        if options:
            model[0].model = model[0].model.merge_and_unload()
        model.save_pretrained(f"{output}/model")


if __name__ == "__main__":
    main(*sys.argv[1:])
