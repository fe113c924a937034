"""Settings of the libraries that are not trainer arguments: log levels and environment variables."""

import logging
import os
import warnings
from pathlib import Path

import datasets
import transformers

from embedstep.request.schema import TrainRequest
from embedstep.runtime.world import World


def quiet_other_ranks(world: World) -> None:
    """Show messages of rank 0 only, and warnings and errors of all ranks."""
    # The libraries call each other's deprecated names, which a user cannot change.
    for message in ("`broadcast_buffers` is deprecated", ".*`gradient_checkpointing_enable`"):
        warnings.filterwarnings("ignore", message=message, category=FutureWarning)
    datasets.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    if not world.is_first:
        logging.getLogger().setLevel(logging.WARNING)


def export_environment(request: TrainRequest) -> None:
    """Set the environment variables that the libraries read in place of the fields of a request."""
    token = request.arguments.hub_token
    if token is not None:
        os.environ["HF_TOKEN"] = os.environ[token.from_env]
    if request.arguments.logging_dir is not None:
        os.environ["TENSORBOARD_LOGGING_DIR"] = str(Path(request.arguments.logging_dir).expanduser())
