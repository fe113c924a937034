"""Adapters (`model.peft`): what they adapt in a model, how many values they train, and what is wrong with that."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from embedstep.data.hub import local_model
from embedstep.data.model_facts import ModelFacts
from embedstep.data.parameters import Shapes, keep_layers, transformer_shapes
from embedstep.errors import Problem, suggest
from embedstep.output.adapters import transformer_folder
from embedstep.planning.adapter_kinds import (
    CHANGES_BASE,
    adapter_options,
    check_kind,
    default_targets,
    installed_options,
)
from embedstep.request.model import Model

ALL_LINEAR = "all-linear"
_EMBEDDING = re.compile(r"(^|[._])(\w*embed\w*|wte|wpe|shared|relative_attention_bias)\b")
"""Names of tables of embeddings, which are matrices too, and no linear layers."""
_UNCOUNTED = ("modules_to_save", "trainable_token_indices", "target_parameters", "layers_to_transform", "use_qalora")
"""Options with which other values train than the matrices of each adapted module."""
QUANTIZATION = "model.model_kwargs.quantization_config"


def merges(model: Model) -> bool:
    """Whether the adapter is merged into the published model."""
    return bool(model.peft.get("merge", True))


def describe_adapter(model: Model) -> str:
    """Say which adapter trains and how it is published; empty without one."""
    if not model.peft:
        return ""
    return f"{model.peft.get('peft_type')}, published {'merged into the model' if merges(model) else 'alone'}"


def quantization(model: Model) -> Mapping[str, Any]:
    """Return how the base is quantized; empty where it is not."""
    found = model.model_kwargs.get("quantization_config")
    return found if isinstance(found, dict) else {}


def check_quantization(model: Model) -> Iterator[Problem]:
    """Yield the problems of a quantized base, whose weights cannot be trained themselves."""
    given = model.model_kwargs.get("quantization_config")
    if given is not None and not isinstance(given, dict):
        yield Problem(QUANTIZATION, f"must be options such as {{load_in_4bit: true}}, not {given!r}")
    elif given and not model.peft:
        yield Problem(QUANTIZATION, "makes weights that cannot be trained; train an adapter on them: model.peft")


def adapted_shapes(model: Model, fetched: str | None) -> Shapes:
    """Return the shapes of the transformer that gets the adapter; empty where they are not known.

    Args:
        model: section of the request.
        fetched: folder of a model that was fetched from the hub.
    """
    folder = local_model(model, fetched)
    if folder is None or model.modules:
        return {}
    shapes = transformer_shapes(transformer_folder(folder))
    return keep_layers(shapes, model.layers.keep) if model.layers else shapes


def check_adapter(model: Model, saved: ModelFacts | None, fetched: str | None, precision: str) -> Iterator[Problem]:
    """Yield every problem of an adapter.

    Args:
        model: section of the request, with `peft`.
        saved: what the files of its `path` say.
        fetched: folder of a model that was fetched from the hub.
        precision: precision that the base is trained in.
    """
    problems = list(check_kind(model.peft))
    yield from problems
    first = _first_module(model, saved)
    if first not in ("", "Transformer"):
        yield Problem("model.peft", f"adapts a transformer, and the model begins with a {first}")
    if model.peft.get("merge") is False:
        yield from _base_is_whole(model, saved, precision)
    if not problems and (shapes := adapted_shapes(model, fetched)):
        yield from _targets_match(model, saved, shapes)


def _first_module(model: Model, saved: ModelFacts | None) -> str:
    """Return what a text meets first; empty where only files that are not here would say."""
    if model.static:
        return "static embedding"
    if model.modules:
        kind = model.modules[0].kind
        return "Transformer" if kind.lower() == "transformer" else kind
    return saved.modules[0] if saved and saved.modules else ""


def _base_is_whole(model: Model, saved: ModelFacts | None, precision: str) -> Iterator[Problem]:
    """An adapter alone is loaded with the base that it names, which has to be the one that it was trained on."""
    message = "is false, and an adapter alone works only with the files of model.path as they are"
    changes = [name for name in ("modules", "layers") if getattr(model, name)]
    if quantization(model):
        changes.append("model_kwargs.quantization_config")
    if (initial := model.peft.get("init_lora_weights")) in CHANGES_BASE:
        changes.append(f"peft.init_lora_weights: {initial}")
    if saved is not None and saved.adapter_of:
        changes.append(f"path, which is an adapter of {saved.adapter_of}")
    if changes:
        yield Problem("model.peft.merge", f"{message}; write true, or remove model.{' and model.'.join(changes)}")
    elif saved is not None and saved.dtype not in ("", precision):
        yield Problem(
            "model.peft.merge",
            f"is false, and the base, which an adapter alone is loaded with, is stored in {saved.dtype} and trained in "
            f"{precision}; write model.model_kwargs: {{dtype: auto}}, or merge: true",
        )


def _targets_match(model: Model, saved: ModelFacts | None, shapes: Shapes) -> Iterator[Problem]:
    names = _modules(shapes)
    targets = _targets(model, saved)
    examples = ", ".join(dict.fromkeys(name.rpartition(".")[2] for name in names))
    if targets is None and _needs_targets(model):
        kind = saved.model_type if saved else ""
        message = f"is missing: PEFT names no modules for {kind}; write {ALL_LINEAR}, or some of {examples}"
        yield Problem("model.peft.target_modules", message)
    if isinstance(targets, str) and not _matching(targets, names):
        hint = f"write [{targets}]" if _matching([targets], names) else f"it has {examples}"
        yield Problem("model.peft.target_modules", f"{targets!r} matches no module as a whole; {hint}")
    for place, target in enumerate(targets if isinstance(targets, list) else ()):
        if not _matching([target], names):
            hint = suggest(str(target), examples.split(", "))
            message = f"{target!r} matches no module with weights; it has {examples}{hint}"
            yield Problem(f"model.peft.target_modules.{place}", message)


def _needs_targets(model: Model) -> bool:
    """Whether modules have to be named; where PEFT is not installed, its own choice is not known."""
    is_lora = model.peft["peft_type"] == "LORA" and installed_options("LORA") is not None
    return is_lora and not model.peft.get("target_parameters")


def _modules(shapes: Shapes) -> list[str]:
    """Return the modules that have weights."""
    return [name.removesuffix(".weight") for name in shapes if name.endswith(".weight")]


def _targets(model: Model, saved: ModelFacts | None) -> list[str] | str | None:
    """Return the modules that an adapter is for, as a regular expression or a list of the ends of their names."""
    given: list[str] | str | None = model.peft.get("target_modules")
    if given is None and model.peft["peft_type"] == "LORA" and saved is not None:
        return default_targets(saved.model_type)
    return given


def _matching(targets: Sequence[str] | str, names: Sequence[str]) -> list[str]:
    """Return the modules that PEFT would adapt."""
    if isinstance(targets, str) and targets.lower() == ALL_LINEAR:
        return [name for name in names if not _EMBEDDING.search(name)]
    if isinstance(targets, str):
        try:
            return [name for name in names if re.fullmatch(targets, name)]
        except re.error:
            return []
    return [name for name in names if any(name == target or name.endswith(f".{target}") for target in targets)]


def adapter_size(model: Model, saved: ModelFacts | None, shapes: Shapes) -> int | None:
    """Return the number of values that a LoRA adapter trains; None for other types, and where it is not known.

    A module of shape (outputs, inputs) gets the matrices (rank, inputs) and (outputs, rank), and with `use_dora` a
    magnitude for each output (LoRA, arXiv 2106.09685; DoRA, arXiv 2402.09353).

    Args:
        model: section of the request, with `peft`.
        saved: what the files of its `path` say.
        shapes: shapes of the transformer.
    """
    if list(check_kind(model.peft)):
        return None
    targets = _targets(model, saved)
    options = adapter_options(model.peft)
    is_uncounted = any(map(options.get, _UNCOUNTED)) or options.get("bias", "none") != "none"
    is_uncounted |= options.get("init_lora_weights") == "mica"  # of which one of the matrices is frozen
    if model.peft["peft_type"] != "LORA" or targets is None or not shapes or is_uncounted:
        return None
    names = [name for name in _modules(shapes) if len(shapes[f"{name}.weight"]) == 2]
    excluded = options.get("exclude_modules")
    left_out = set(_matching(excluded, names)) if excluded else set()
    found = 0
    for name in _matching(targets, names):
        if name not in left_out:
            outputs, inputs = shapes[f"{name}.weight"]
            further = outputs * (bool(options.get("use_dora")) + bool(options.get("lora_bias")))
            found += _rank(options, name) * (outputs + inputs) + further
    return found


def _rank(options: Mapping[str, Any], name: str) -> int:
    """Return the rank for a module: that of the first pattern that its name ends with, else the common one."""
    for pattern, rank in (options.get("rank_pattern") or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", name):
            return int(rank)
    return int(options.get("r", 8))
