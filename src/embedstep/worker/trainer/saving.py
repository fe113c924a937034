"""What a saved model needs in addition to the files that the library writes."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError
from safetensors.torch import load_file

from embedstep.data.hub import local_sources
from embedstep.data.recorded_anchors import merge_anchors
from embedstep.errors import CannotStartError, InvalidRequestError
from embedstep.output.folder import OutputFolder
from embedstep.output.weights import listed_modules
from embedstep.planning.plan import Plan
from embedstep.request.schema import TrainRequest
from embedstep.runtime.text import redacted_first_line

_HUB_ERRORS = (ConnectionError, TimeoutError, HfHubHTTPError, LocalTokenNotFoundError)
_REFUSED_STATUS = (400, 401, 403, 404)
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


def finish_published_model(output: OutputFolder, request: TrainRequest, plan: Plan) -> None:
    """Complete the final model of a run, also with the hashes of the anchors that it was trained on.

    Args:
        output: the output folder, with the hashes among the prepared rows and with the saved model.
        request: the request.
        plan: its plan.
    """
    folder = output.verified_model
    finish_saved_model(folder, safetensors=request.arguments.save_safetensors)
    merge_anchors(folder, output.data, *local_sources(request.model, plan.fetched_model))


def _copy_code_to_root(model: Path) -> None:
    """Copy code that a model brings along (`trust_remote_code`) to the folder of the model.

    The library saves the file of a module's class in the module's folder, and loads it from the folder of the model.
    """
    for module in listed_modules(model):
        if not module["type"].startswith(_OF_LIBRARY):
            for file in (model / module["path"]).glob("*.py"):
                if not (model / file.name).exists():
                    shutil.copyfile(file, model / file.name)


@contextmanager
def translate_hub_errors() -> Iterator[None]:
    """Say whether a retry may help where the hub takes no files.

    Raises:
        CannotStartError: it did not answer, or not with what was asked.
        InvalidRequestError: it refuses the repository or the token.
    """
    try:
        yield
    except Exception as error:
        # By name, because the client that huggingface_hub uses differs between its releases.
        is_transport = any(base.__name__ == "TransportError" for base in type(error).__mro__)
        if not is_transport and not isinstance(error, _HUB_ERRORS):
            raise
        response = getattr(error, "response", None)
        message = f"the hub cannot be written to: {redacted_first_line(error)}"
        if response is not None and response.status_code in _REFUSED_STATUS:
            raise InvalidRequestError.at("arguments.push_to_hub", message) from error
        raise CannotStartError(f"arguments.push_to_hub: {message}") from error


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
