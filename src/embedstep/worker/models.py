"""The model that a run starts from."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, StaticEmbedding, Transformer
from tokenizers import Tokenizer
from transformers import AutoModel, AutoTokenizer

from embedstep.data.model_facts import read_model_facts
from embedstep.errors import CannotStartError, InvalidRequestError, Problem, first_line
from embedstep.output.adapters import saved_adapter
from embedstep.planning.adapter_kinds import CANNOT_MERGE
from embedstep.planning.adapters import quantization
from embedstep.planning.model_checks import AUTO, asked_precision
from embedstep.request.model import Model
from embedstep.worker.layers import freeze, keep_layers
from embedstep.worker.modules import ModuleBuilder


def build_model(model: Model, *, fetched: str | None, device: str | None = None) -> SentenceTransformer:
    """Load or create the model, without the hub: what is there was fetched before.

    Args:
        model: section of the request.
        fetched: folder of a model that was fetched from the hub, in place of the section's path.
        device: torch device, such as `cpu` or `cuda:1`; None for the first GPU, or the CPU if there is none.

    Raises:
        InvalidRequestError: the model does not exist or cannot be read.
    """
    source = fetched or str(Path(model.source).expanduser())
    try:
        if model.modules:
            built = _of_modules(model, source, device)
        else:
            built = _static(model, source, device) if model.static else _saved(model, source, device)
    except (OSError, ValueError, KeyError) as error:
        field = "model.path" if model.path else "model.static"
        raise InvalidRequestError([Problem(field, f"{source} cannot be loaded: {first_line(error)}")]) from error
    built = merged(built)
    if model.max_seq_length is not None:
        _limit(built, model.max_seq_length)
    freeze(built, model.freeze)
    return built


def has_adapter(model: SentenceTransformer) -> bool:
    """Whether an adapter was added to a model, and not merged into it."""
    # Only a model with an adapter has it.
    return hasattr(getattr(model[0], "model", None), "peft_config")


def merged(model: SentenceTransformer) -> SentenceTransformer:
    """Return the model, with its adapter merged into its weights if it has one whose type can be merged."""
    if has_adapter(model) and model[0].model.active_peft_config.peft_type not in CANNOT_MERGE:
        # PEFT has frozen the base.
        model[0].model = model[0].model.merge_and_unload(safe_merge=True).requires_grad_(True)
    return model


def load_saved(source: str, **options: Any) -> SentenceTransformer:
    """Load a saved model, without the hub; one that was saved as an adapter alone has it added to its base.

    Args:
        source: its folder, or its id in the hub's cache.
        options: further arguments of `SentenceTransformer`.

    Raises:
        CannotStartError: the base of an adapter is not on this machine.
        InvalidRequestError: the base of an adapter has changed since it was trained.
    """
    load = partial(SentenceTransformer, local_files_only=True, **options)
    adapter = saved_adapter(Path(source))
    if adapter is None:
        return load(source)
    if find_spec("peft") is None:
        raise CannotStartError(f"{source} is an adapter, and peft is not installed; pip install 'embedstep[peft]'")
    # PEFT takes half a second to import, and few models need it.
    from embedstep.worker.adapters import load_adapted

    return load_adapted(adapter, Path(source), load)


def _limit(built: SentenceTransformer, tokens: int) -> None:
    try:
        built.max_seq_length = tokens
    except AttributeError as error:  # a saved static embedding, which reads texts of any length
        problem = f"a {type(built[0]).__name__} has no token limit; remove it"
        raise InvalidRequestError([Problem("model.max_seq_length", problem)]) from error


def _saved(model: Model, source: str, device: str | None) -> SentenceTransformer:
    precision = asked_precision(model)
    loading = {name: value for name, value in model.model_kwargs.items() if name != "torch_dtype"}
    built = load_saved(
        source,
        device=device,
        trust_remote_code=model.trust_remote_code,
        model_kwargs={**loading, "dtype": precision},
        processor_kwargs=model.processor_kwargs,
        config_kwargs=model.config_kwargs,
        **_settings(model),
    )
    if model.pooling and not (Path(source) / "modules.json").is_file():
        built[1] = Pooling(built[0].get_embedding_dimension(), model.pooling)
    if model.layers is not None and isinstance(built[0], Transformer):
        keep_layers(built[0], model.layers.keep)
    # A static embedding keeps the precision of its file, whatever is asked of a transformer.
    return built if precision == AUTO or quantization(model) else built.to(getattr(torch, precision))


def _settings(model: Model) -> dict[str, Any]:
    """Return what any kind of model can be given. Prompts are added to its own."""
    return {
        "prompts": dict(model.prompts) or None,
        "default_prompt_name": model.default_prompt_name,
        "similarity_fn_name": model.similarity_fn_name,
        "truncate_dim": model.truncate_dim,
    }


def _of_modules(model: Model, source: str, device: str | None) -> SentenceTransformer:
    def load(folder: str, config: Mapping[str, Any]) -> torch.nn.Module:
        section = model.model_copy(update={"config_kwargs": {**model.config_kwargs, **config}})
        return _saved(section, folder, device)[0]

    builder = ModuleBuilder(
        base=source,
        load=load,
        tokenizer=partial(_tokenizer, model),
        word_embeddings=partial(_word_embeddings, model),
    )
    built = SentenceTransformer(
        modules=builder.build(model.modules or ()),
        device=device,
        trust_remote_code=model.trust_remote_code,
        **_settings(model) | (_saved_settings(model, Path(source)) if model.path else {}),
    )
    precision = asked_precision(model)
    # New modules are made in float32, and follow a transformer that keeps the precision of its files.
    return built.to(built.dtype if precision == AUTO else getattr(torch, precision))


def _saved_settings(model: Model, source: Path) -> dict[str, Any]:
    """Return what a model that is built of another's modules keeps of that: its prompts and similarity."""
    saved = read_model_facts(source)
    return {
        "prompts": {**saved.prompts, **model.prompts} or None,
        "default_prompt_name": model.default_prompt_name or saved.default_prompt_name,
        "similarity_fn_name": model.similarity_fn_name or saved.similarity,
    }


def _static(model: Model, source: str, device: str | None) -> SentenceTransformer:
    tokenizer = _tokenizer(model, source)
    if model.initial_vectors == "random":
        embedding = StaticEmbedding(tokenizer, embedding_dim=model.dimension)
    else:
        embedding = StaticEmbedding(tokenizer, embedding_weights=_word_embeddings(model, source))
    return SentenceTransformer(modules=[embedding], device=device, **_settings(model))


def _tokenizer(model: Model, source: str) -> Tokenizer:
    """Return the fast tokenizer without padding and truncation, which a bag of words does not need."""
    file = _tokenizer_file(Path(source))
    if file is not None:
        tokenizer = Tokenizer.from_file(str(file))
    else:
        tokenizer = _from_pretrained(AutoTokenizer, model, source).backend_tokenizer
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _tokenizer_file(source: Path) -> Path | None:
    """Return `source` if it is a file, or `tokenizer.json` in a folder without a configuration to read."""
    if source.is_file():
        return source
    inside = source / "tokenizer.json"
    is_alone = not any((source / name).exists() for name in ("config.json", "tokenizer_config.json"))
    return inside if inside.exists() and is_alone else None


def _word_embeddings(model: Model, source: str) -> Any:
    """Return the input embeddings of the transformer, shape (vocabulary, dimension), as a numpy array."""
    transformer = _from_pretrained(AutoModel, model, source)
    return transformer.get_input_embeddings().weight.detach().float().cpu().numpy()


def _from_pretrained(kind: Any, model: Model, source: str) -> Any:
    return kind.from_pretrained(source, trust_remote_code=model.trust_remote_code, local_files_only=True)


def evaluation_precision(*, bf16: bool, fp16: bool) -> torch.dtype | None:
    """Return the precision of the weights in evaluations: `bf16_full_eval`, `fp16_full_eval`; None for their own."""
    return torch.bfloat16 if bf16 else torch.float16 if fp16 else None


@contextmanager
def cast_to(model: torch.nn.Module, dtype: torch.dtype) -> Iterator[None]:
    """Hold the model's floating-point weights in another precision, and restore the original ones exactly.

    The library casts in place and does not undo it, so that a model saved afterwards has lost precision.
    """
    before = [(tensor, tensor.data) for tensor in (*model.parameters(), *model.buffers()) if tensor.is_floating_point()]
    for tensor, data in before:
        tensor.data = data.to(dtype)
    try:
        yield
    finally:
        for tensor, data in before:
            tensor.data = data
