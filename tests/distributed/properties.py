"""What the installed class says of each process: run by torchrun, it writes a file for each rank."""

import json
import os
import sys
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformerTrainingArguments

folder, given = Path(sys.argv[1]), json.loads(sys.argv[2])
arguments = SentenceTransformerTrainingArguments(output_dir="unused", use_cpu=True, **given)
names = (
    "n_gpu", "world_size", "process_index", "local_process_index", "train_batch_size", "eval_batch_size", "should_log",
    "should_save",
)  # fmt: skip
found = {name: getattr(arguments, name) for name in names}
found["device"] = arguments.device.type
found["parallel_mode"] = arguments.parallel_mode.value
found["timeout"] = arguments.ddp_timeout_delta.total_seconds()
found["log_level"] = arguments.get_process_log_level()
order = []
with arguments.main_process_first(local=False):
    marker = folder / "first"
    order.append(marker.exists())
    marker.touch()
found["came_second"] = order[0]
(folder / f"rank-{os.environ.get('RANK', 0)}.json").write_text(json.dumps(found))
if torch.distributed.is_initialized():
    torch.distributed.barrier()
sys.stdout.flush()
os._exit(0)
