"""What the libraries of one rank are told besides the arguments: how much to say, and what they read in variables."""

import logging
import os
import warnings
from pathlib import Path

import datasets
import transformers

from embedstep.request.schema import TrainRequest
from embedstep.runtime.world import World


def quiet_other_ranks(world: World) -> None:
    """Let only the first rank speak; from the others come warnings and errors."""
    # The libraries use each other's old names; nobody who reads these warnings can do anything about it.
    for message in ("`broadcast_buffers` is deprecated", ".*`gradient_checkpointing_enable`"):
        warnings.filterwarnings("ignore", message=message, category=FutureWarning)
    datasets.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    if not world.is_first:
        logging.getLogger().setLevel(logging.WARNING)


def export_environment(request: TrainRequest) -> None:
    """Put into this process's environment what the libraries read there and a request says elsewhere."""
    token = request.arguments.hub_token
    if token is not None:
        os.environ["HF_TOKEN"] = os.environ[token.from_env]
    if request.arguments.logging_dir is not None:
        os.environ["TENSORBOARD_LOGGING_DIR"] = str(Path(request.arguments.logging_dir).expanduser())
