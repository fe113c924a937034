"""Adapters: added before the training, saved alone in checkpoints, merged for the published model.

Only this file imports peft. Its own functions are used instead of those that transformers has for adapters: these want
a release of PEFT that goes with each of their own, and a `PeftModel` is saved by sentence-transformers as it is.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError
from peft import PeftModel, get_peft_config, load_peft_weights, set_peft_model_state_dict
from sentence_transformers import SentenceTransformer

from embedstep.errors import CannotStartError, InvalidRequestError, first_line
from embedstep.output.adapters import ADAPTER_CONFIG, SavedAdapter, transformer_folder
from embedstep.output.weights import BASE_DIGEST, listed_modules
from embedstep.planning.adapter_kinds import adapter_options
from embedstep.request.model import Model


def add_adapter(model: SentenceTransformer, section: Model, *, recomputes: bool) -> None:
    """Add an adapter with new weights to the transformer of a model, whose own weights no longer train.

    Args:
        model: the model; its transformer is replaced.
        section: section of the request, with `peft`.
        recomputes: whether activations are computed again in the backward pass (gradient checkpointing).

    Raises:
        InvalidRequestError: PEFT refuses the options, or finds no module to adapt.
    """
    base = model[0].model
    try:
        config = get_peft_config({"peft_type": section.peft["peft_type"], **adapter_options(section.peft)})
        config.base_model_name_or_path = base.name_or_path
        with _older_names():
            model[0].model = PeftModel(base, config)
    except (ValueError, TypeError, KeyError, RuntimeError) as error:
        raise InvalidRequestError.at("model.peft", f"is refused by PEFT: {first_line(error)}") from error
    if recomputes:
        # A layer that is computed again without any input that needs a gradient would give its adapter none.
        base.enable_input_require_grads()


def load_checkpoint(model: SentenceTransformer, checkpoint: Path) -> None:
    """Load the adapter of a checkpoint and its other modules, which the library cannot load by themselves.

    Args:
        model: a model with an adapter.
        checkpoint: a folder that such a model was saved to.
    """
    weights = load_peft_weights(str(transformer_folder(checkpoint)), device=str(model.device))
    set_peft_model_state_dict(model[0].model, weights)
    for module, listed in list(zip(model, listed_modules(checkpoint), strict=True))[1:]:
        if module.state_dict():
            saved = type(module).load(str(checkpoint / str(listed["path"])))
            module.load_state_dict(saved.state_dict())


def merge_adapter(model: SentenceTransformer, build_base: Callable[[], SentenceTransformer]) -> None:
    """Merge the adapter into the weights of the transformer.

    Args:
        model: a model with an adapter; its transformer is replaced.
        build_base: builds the model that the adapter was added to, without quantization. It is called for a quantized
            base only, whose weights are too coarse to add to.
    """
    adapted = model[0].model
    if getattr(adapted.get_base_model(), "is_quantized", False):
        with TemporaryDirectory() as folder:
            adapted.save_pretrained(folder)
            adapted = _with_saved(build_base()[0].model, Path(folder))
    model[0].model = adapted.merge_and_unload(safe_merge=True)


def load_adapted(adapter: SavedAdapter, model: Path, load: Callable[[str], SentenceTransformer]) -> SentenceTransformer:
    """Load a model that was saved as an adapter alone.

    Args:
        adapter: the adapter.
        model: folder of the model.
        load: loads a model with its own weights from a folder.

    Raises:
        CannotStartError: the base is not on this machine.
        InvalidRequestError: the base has changed since the adapter was trained.
    """
    base = adapter.local_base or _cached(adapter)
    if message := adapter.mismatch(base):
        raise InvalidRequestError.at("model.path", message)
    with _joined(adapter, model, base) as folder:
        loaded = load(folder)
    loaded[0].model = _with_saved(loaded[0].model, adapter.folder)
    return loaded


def _with_saved(transformer: torch.nn.Module, adapter: Path) -> PeftModel:
    with _older_names():
        return PeftModel.from_pretrained(transformer, str(adapter))


@contextmanager
def _older_names() -> Iterator[None]:
    """Silence what transformers says of a name that PEFT still reads."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        yield


@contextmanager
def _joined(adapter: SavedAdapter, model: Path, base: Path) -> Iterator[str]:
    """Make a folder with the files of a model, and the weights of the base in place of the adapter's."""
    with TemporaryDirectory() as name:
        joined = Path(name)
        own = [file for file in model.rglob("*") if file.is_file() and file.name not in (ADAPTER_CONFIG, BASE_DIGEST)]
        links = {file.relative_to(model): file for file in own if not file.name.startswith("adapter_model.")}
        inside = adapter.folder.relative_to(model)
        for file in transformer_folder(base).iterdir():
            if file.is_file():
                links.setdefault(inside / file.name, file)
        for place, file in links.items():
            (joined / place).parent.mkdir(parents=True, exist_ok=True)
            (joined / place).symlink_to(file.resolve())
        yield name


def _cached(adapter: SavedAdapter) -> Path:
    """Return the folder of a base in the hub's cache, to which a run has fetched it."""
    try:
        return Path(snapshot_download(adapter.base, revision=adapter.revision, local_files_only=True))
    except (OSError, ValueError, LocalEntryNotFoundError) as error:
        message = f"{adapter.folder} is an adapter of {adapter.base}, which is neither a folder here nor in the cache"
        raise CannotStartError(f"{message} of the hub: hf download {adapter.base}") from error
