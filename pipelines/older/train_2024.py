"""A training script as people wrote them in 2024, for `embedstep migrate`, which reads it and never runs it."""

from datasets import load_dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.losses import MultipleNegativesRankingLoss
from sentence_transformers.training_args import BatchSamplers

model = SentenceTransformer("microsoft/mpnet-base")
data = load_dataset("sentence-transformers/all-nli", "pair")

args = SentenceTransformerTrainingArguments(
    output_dir="models/mpnet-base-all-nli",
    num_train_epochs=1,
    per_device_train_batch_size=16,
    warmup_ratio=0.1,
    group_by_length=False,
    batch_sampler=BatchSamplers.NO_DUPLICATES,
    evaluation_strategy="steps",
    eval_steps=100,
    save_strategy="steps",
    save_steps=100,
    save_total_limit=2,
    logging_steps=100,
    run_name="mpnet-base-all-nli",
)
trainer = SentenceTransformerTrainer(
    model=model,
    args=args,
    train_dataset=data["train"],
    eval_dataset=data["dev"],
    loss=MultipleNegativesRankingLoss(model),
)
trainer.train()
