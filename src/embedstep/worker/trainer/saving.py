"""What a saved model needs beside the files that the library writes."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import load_file

from embedstep.output.result import read_json

_OF_LIBRARY = "sentence_transformers."


def complete_saved(model: Path, *, safetensors: bool) -> None:
    """Bring what the library has saved into the shape that was asked for and that loads again.

    Args:
        model: folder of a saved model.
        safetensors: leave the weights as they are; else as torch's own files (`save_safetensors: false`), which the
            installed transformers reads, and no longer writes.
    """
    _lay_code_where_it_is_looked_for(model)
    if not safetensors:
        for file in sorted(model.rglob("model.safetensors")):
            torch.save(load_file(file), file.with_name("pytorch_model.bin"))
            file.unlink()


def _lay_code_where_it_is_looked_for(model: Path) -> None:
    """Copy code that a model brings along (`trust_remote_code`) beside the list of its modules.

    The library saves the file of a module's class in the module's folder, and looks for it in the folder of the model.
    """
    listed = model / "modules.json"
    for module in read_json(listed) if listed.exists() else ():
        if not module["type"].startswith(_OF_LIBRARY):
            for file in (model / module["path"]).glob("*.py"):
                if not (model / file.name).exists():
                    shutil.copyfile(file, model / file.name)


@contextmanager
def writing_here(model: torch.nn.Module) -> Iterator[None]:
    """Let this rank write the weights of transformers' models: alone they do so on the first rank of all nodes only."""
    models = [module for module in model.modules() if hasattr(module, "should_save_on_this_rank")]
    for module in models:
        module.should_save_on_this_rank = lambda is_main_process: is_main_process
    try:
        yield
    finally:
        for module in models:
            del module.should_save_on_this_rank
