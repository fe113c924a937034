"""What a saved model needs in addition to the files that the library writes."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import load_file

from embedstep.output.result import read_json

_OF_LIBRARY = "sentence_transformers."


def finish_saved_model(model: Path, *, safetensors: bool) -> None:
    """Complete what the library has saved, so that it loads again, and convert the weights if requested.

    Args:
        model: folder of a saved model.
        safetensors: keep the weights as safetensors; False converts them to torch's own files
            (`save_safetensors: false`), which the installed transformers reads but no longer writes.
    """
    _copy_code_to_root(model)
    if not safetensors:
        for file in sorted(model.rglob("model.safetensors")):
            torch.save(load_file(file), file.with_name("pytorch_model.bin"))
            file.unlink()


def _copy_code_to_root(model: Path) -> None:
    """Copy code that a model brings along (`trust_remote_code`) to the folder of the model.

    The library saves the file of a module's class in the module's folder, and loads it from the folder of the model.
    """
    listed = model / "modules.json"
    for module in read_json(listed) if listed.exists() else ():
        if not module["type"].startswith(_OF_LIBRARY):
            for file in (model / module["path"]).glob("*.py"):
                if not (model / file.name).exists():
                    shutil.copyfile(file, model / file.name)


@contextmanager
def saving_on_this_rank(model: torch.nn.Module) -> Iterator[None]:
    """Make this rank write the weights of transformers' models, which otherwise only rank 0 of all nodes does."""
    models = [module for module in model.modules() if hasattr(module, "should_save_on_this_rank")]
    for module in models:
        module.should_save_on_this_rank = lambda is_main_process: is_main_process
    try:
        yield
    finally:
        for module in models:
            del module.should_save_on_this_rank
