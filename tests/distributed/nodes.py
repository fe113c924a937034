"""One rank of a node: train two steps, saving on each node; run by torchrun, a folder for each node."""

import os
import sys
from pathlib import Path

from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

from embedstep.runtime.exit import exit_now
from embedstep.worker.trainer.numerics import NumericsMonitor
from embedstep.worker.trainer.stopping import StopController
from embedstep.worker.trainer.trainer import StepTrainer

model_folder, folder = sys.argv[1:]
node = Path(folder) / f"node-{os.environ['GROUP_RANK']}"
arguments = SentenceTransformerTrainingArguments(
    output_dir=str(node), max_steps=2, save_steps=2, save_on_each_node=True, use_cpu=True, ddp_backend="gloo",
    report_to="none", disable_tqdm=True,
)  # fmt: skip
model = SentenceTransformer(model_folder, device="cpu")
rows = Dataset.from_dict({"anchor": [f"one {i}" for i in range(32)], "positive": [f"two {i}" for i in range(32)]})
loss = MultipleNegativesRankingLoss(model)
StepTrainer(
    save_safetensors=True, stopping=StopController(), monitor=NumericsMonitor(lambda alarm, step: None),
    model=model, args=arguments, train_dataset=rows, loss=loss,
).train()  # fmt: skip
exit_now(0)
