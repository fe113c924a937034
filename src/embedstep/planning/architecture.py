"""What a request changes in a model before the training: modules, pooling, layers, and what is frozen.

Names of parameters are those of `learning_rate_mapping`: of the loss, which holds the model as `model`, such as
`model.0.model.encoder.layer.0.output.dense.weight`.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from embedstep.data.hub import local_model
from embedstep.data.model_facts import TWO_TOWERS, ModelFacts
from embedstep.data.parameters import keep_layers, layer_names, saved_parameters, with_prefix
from embedstep.errors import Problem
from embedstep.planning.adapters import adapted_shapes, adapter_size
from embedstep.planning.module_checks import Built, built_facts, follow_modules
from embedstep.planning.modules import MODULES, Sizes, find_module
from embedstep.request.model import Model

_LOSS_PREFIX = "model."
_TRANSFORMER = f"{_LOSS_PREFIX}0."
_KEEP = "model.layers.keep"
ROUTER = MODULES["router"].class_name


def with_changes(model: Model, saved: ModelFacts | None, fetched: str | None, built: Built | None) -> ModelFacts | None:
    """Return the facts of the model that is trained; None where its files are not on this machine.

    Args:
        model: section of the request.
        saved: what the files of `path` say.
        fetched: folder of a model that was fetched from the hub.
        built: what its modules make; None without `model.modules`.
    """
    facts = built_facts(model, saved, built) if built else _pooled(model, saved)
    sizes = trained_sizes(model, fetched, built)
    if facts is None or not sizes:
        return facts
    frozen = _frozen(model, sizes, built)
    trained = {name: count for name, count in sizes.items() if name not in frozen}
    return replace(
        facts,
        layers=len(model.layers.keep) if model.layers else facts.layers,
        parameters=_total(sizes),
        trainable=_with_adapter(model, saved, fetched, trained) if model.peft else _total(trained),
    )


def _with_adapter(model: Model, saved: ModelFacts | None, fetched: str | None, trained: Sizes) -> int | None:
    """Return how many values train with an adapter: its own, and those of the modules after the transformer."""
    own = adapter_size(model, saved, adapted_shapes(model, fetched))
    others = _total({name: count for name, count in trained.items() if not name.startswith(_TRANSFORMER)})
    return None if own is None or others is None else own + others


def _total(sizes: Sizes) -> int | None:
    known = [count for count in sizes.values() if count is not None]
    return sum(known) if len(known) == len(sizes) else None


def _pooled(model: Model, saved: ModelFacts | None) -> ModelFacts | None:
    if saved is None or not model.pooling or not saved.is_bare:
        return saved
    width = saved.token_dimension
    return replace(
        saved,
        modules=(*saved.modules, "Pooling"),
        pooling="+".join(model.pooling),
        is_bare=False,
        dimension=width and width * len(model.pooling),
    )


def trained_sizes(model: Model, fetched: str | None, built: Built | None) -> Sizes | None:
    """Return the number of values of each parameter by its name in the loss; None where the names are not known."""
    sizes = _all_sizes(model, fetched, built)
    return keep_layers(sizes, model.layers.keep) if sizes and model.layers else sizes


def _all_sizes(model: Model, fetched: str | None, built: Built | None) -> Sizes | None:
    """Return the sizes of all parameters, those of layers that are not kept included."""
    if model.static:
        return {f"{_LOSS_PREFIX}0.embedding.weight": None}
    sizes: Sizes | None
    if built is not None:
        sizes = built.sizes
    else:
        folder = local_model(model, fetched)
        try:
            sizes = saved_parameters(folder) if folder is not None else None
        except (ValueError, KeyError, TypeError, AttributeError):
            sizes = None  # the problems of the files are reported elsewhere
    return with_prefix(_LOSS_PREFIX, sizes) if sizes else None


def _frozen(model: Model, sizes: Sizes, built: Built | None) -> set[str]:
    always = {f"{_LOSS_PREFIX}{name}" for name in built.frozen} if built else set()
    return always.union(*(matching(pattern, sizes) or () for pattern in model.freeze))


def first_without_transformer(model: Model) -> str:
    """Say what a model begins with in place of a transformer; empty for one that has it, and where only files say."""
    if model.static:
        return "model.static is a static embedding"
    kind = find_module(model.modules[0].kind) if model.modules else ""
    return (
        ""
        if isinstance(kind, str) or kind.name in ("transformer", "clip")
        else f"model.modules begins with {kind.name}"
    )


def unreached_parameter(model: Model, fetched: str | None) -> str:
    """Return the first parameter that trains and that no text reaches: of a pooler, which only a head would read."""
    built = follow_modules(model, fetched) if model.modules else None
    sizes = trained_sizes(model, fetched, built) or {}
    frozen = _frozen(model, sizes, built)
    return next((name for name in sizes if ".pooler." in name and name not in frozen), "")


def matching(pattern: str, names: Mapping[str, object]) -> list[str] | None:
    """Return the names of parameters that a pattern matches, as the trainer matches those of `learning_rate_mapping`.

    None for a pattern that is no regular expression, which is reported as such.
    """
    try:
        return [name for name in names if re.search(pattern, name)]
    except re.error:
        return None


def check_architecture(
    model: Model, saved: ModelFacts | None, fetched: str | None, built: Built | None
) -> Iterator[Problem]:
    """Yield every problem of what a request changes in its model.

    Args:
        model: section of the request.
        saved: what the files of `path` say.
        fetched: folder of a model that was fetched from the hub.
        built: what its modules make; None without `model.modules`.
    """
    if built is not None:
        yield from built.problems
        yield from _module_settings_fit(model, built)
    else:
        yield from _pooling_fits(model, saved)
    if model.layers is not None:
        keep = model.layers.keep
        misfits = list(_layers_fit(keep, built.facts if built else saved, built))
        yield from misfits or _layers_are_alike(keep, _all_sizes(model, fetched, built) or {})
    if built is None or not built.problems:
        yield from _something_trains(model, trained_sizes(model, fetched, built), built)


def _module_settings_fit(model: Model, built: Built) -> Iterator[Problem]:
    if model.max_seq_length is not None and not built.has_limit:
        yield Problem("model.max_seq_length", f"is not read by {built.classes[0]}, which cuts no text; remove it")
    for name in ("model_kwargs", "processor_kwargs", "config_kwargs"):
        # New modules have the precision that is asked for, too.
        given = getattr(model, name).keys() - {"dtype", "torch_dtype"}
        if given and not {"Transformer", "CLIPModel"} & set(built.classes):
            yield Problem(f"model.{name}", "is for a transformer, and model.modules has none")
    own = [name for name in built.classes if ":" in name]
    if own and not model.trust_remote_code:
        message = f"is false, and sentence-transformers loads a saved model with {', '.join(own)} only if it is true"
        yield Problem("model.trust_remote_code", message)


def _pooling_fits(model: Model, saved: ModelFacts | None) -> Iterator[Problem]:
    if saved is None:
        return
    if not model.pooling:
        if saved.is_bare and saved.is_causal:
            # The library's choice for a decoder has changed, and no file says what this one was made for.
            added = "lasttoken" if saved.is_decoder else "mean"
            message = f"is missing: {saved.architecture} is a decoder, and its files name no pooling"
            yield Problem("model.pooling", f"{message}; write lasttoken (sentence-transformers alone adds {added})")
    elif saved.model_type in TWO_TOWERS:
        yield Problem(
            "model.pooling", f"is for token embeddings, and {saved.model_type} gives one embedding; remove it"
        )
    elif not saved.is_bare and not saved.pooling:
        message = f"is for a transformer without modules, and the model was saved with {', '.join(saved.modules)}"
        yield Problem("model.pooling", f"{message}; list model.modules instead")
    elif not saved.is_bare and saved.pooling != "+".join(model.pooling):
        message = f"is {' + '.join(model.pooling)}, and the model was saved with {saved.pooling}"
        yield Problem("model.pooling", f"{message}; remove it, or list model.modules to build another model")


def _layers_fit(keep: list[int], facts: ModelFacts | None, built: Built | None) -> Iterator[Problem]:
    if sorted(set(keep)) != keep:
        yield Problem(_KEEP, f"is {keep}; name each layer once, in their order")
    if built is not None and built.transformers != 1:
        yield Problem("model.layers", f"is for one transformer, and model.modules has {built.transformers}")
    if built is None and facts is not None and "Transformer" not in facts.modules:
        yield Problem("model.layers", f"is for a transformer, and the model was saved with {', '.join(facts.modules)}")
    elif facts is not None and facts.layers is not None:
        if beyond := [layer for layer in keep if layer >= facts.layers]:
            known = f"the model has the layers 0 to {facts.layers - 1}"
            yield Problem(_KEEP, f"has {', '.join(map(str, beyond))}, and {known}")
        elif keep == list(range(facts.layers)):
            yield Problem("model.layers", f"keeps all {facts.layers} layers; remove it")


def _layers_are_alike(keep: list[int], sizes: Sizes) -> Iterator[Problem]:
    """Yield layers that cannot take the place of another, as where the first one has parameters of its own."""
    names = layer_names(sizes)
    if sizes and not names:
        yield Problem(
            "model.layers", "is for a transformer whose layers have parameters of their own, and this has none"
        )
    for place, layer in enumerate(keep):
        if names.get(layer, names.get(place)) != names.get(place):
            message = f"layer {layer} cannot become layer {place}, which has other parameters; keep layer {place}"
            yield Problem(_KEEP, message)


def _something_trains(model: Model, sizes: Sizes | None, built: Built | None) -> Iterator[Problem]:
    for place, pattern in enumerate(model.freeze):
        try:
            re.compile(pattern)
        except re.error as error:
            yield Problem(f"model.freeze.{place}", f"{pattern!r} is not a regular expression: {error}")
            continue
        if sizes is not None and not matching(pattern, sizes):
            examples = ", ".join(list(sizes)[:1] + list(sizes)[-1:])
            message = f"{pattern!r} matches no parameter of the model; they are named as {examples}"
            yield Problem(f"model.freeze.{place}", message)
    if sizes is not None and not sizes.keys() - _frozen(model, sizes, built):
        path = "model.freeze" if model.freeze else "model.modules"
        yield Problem(path, "leaves no parameter to train")
    elif built is not None and built.sizes == {}:
        yield Problem("model.modules", "has no parameter to train; add dense")
