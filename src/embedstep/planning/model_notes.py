"""What a plan says of its model: notes on what may surprise, and the memory that the training needs for it."""

from collections.abc import Iterator, Mapping
from dataclasses import fields

from embedstep.data.hub import is_cached, is_on_hub, suggest_folder
from embedstep.data.model_facts import ModelFacts
from embedstep.planning.adapters import describe_adapter, quantization
from embedstep.planning.model_checks import PRECISIONS, trained_precision
from embedstep.planning.plan import PlannedModel
from embedstep.planning.prompts import PlannedPrompts, saved_prompts
from embedstep.request.model import Model

_BYTES = dict(zip(PRECISIONS, (4, 2, 2, 8), strict=True))
_STATES = {"sgd": 0.0, "adafactor": 0.0, "lion": 1.0, "rmsprop": 1.0, "adagrad": 1.0}
"""Numbers that an optimizer keeps for each parameter, by the begin of its name; two for all others, as in Adam."""
_QUANTIZED_BYTES = 1
"""Bytes of such a number in an optimizer of 8 bits."""
_KEPT_SHARE = {"bfloat16": 256, "float16": 2048}
"""The smallest part of a weight that a sum in the precision keeps: one in two to the power of its mantissa bits."""


def explain_model(model: Model, facts: ModelFacts | None) -> Iterator[str]:
    """Yield what is valid and may surprise, a sentence each.

    Args:
        model: section of the request.
        facts: what its files say.
    """
    precision = trained_precision(model, facts)
    if facts is not None and facts.dtype not in ("", precision):
        yield (
            f"the model's weights are stored in {facts.dtype} and trained in {precision}; "
            "model.model_kwargs: {dtype: auto} trains them as they are stored"
        )
    if precision in _KEPT_SHARE and not model.peft:  # adapters are float32
        yield (
            f"weights are trained in {precision}, where an update of less than 1/{_KEPT_SHARE[precision]} of a weight "
            "is lost, as most updates of a fine-tuning are; float32 with arguments.bf16: true computes in bfloat16 "
            "and keeps them"
        )
    if facts is not None and facts.adapter_of:
        yield f"the model is an adapter of {facts.adapter_of}, and is merged into it before the training"
    if facts is not None and facts.is_bare:
        added = "the last token" if facts.is_decoder else "the mean of its tokens"
        yield f"the model's files name no pooling, so that an embedding is {added}"


def explain_place(model: Model, environ: Mapping[str, str]) -> Iterator[str]:
    """Yield what a check cannot know of a model that a run fetches.

    Args:
        model: section of the request.
        environ: the environment, which says where the hub's library keeps what it has fetched.
    """
    if is_on_hub(model) and not is_cached(model.source, environ):
        near = suggest_folder(model.source)
        yield f"model: {model.source} is not here; a run fetches it from the hub, over the network{near}"


def training_memory(facts: ModelFacts, model: Model, optimizer: str) -> int | None:
    """Estimate the bytes of weights, gradients and optimizer in each process; None where the files have no sizes.

    Activations come on top: they depend on the batch size and the lengths of texts.

    Args:
        facts: what the model's files say.
        model: section of the request.
        optimizer: name of the optimizer (`optim`).
    """
    if facts.parameters is None:
        return None
    size = _BYTES[trained_precision(model, facts)]
    states = next((count for name, count in _STATES.items() if name in optimizer), 2.0)
    is_quantized = "8bit" in optimizer or "bnb" in optimizer
    if model.peft:  # whose values are float32
        return round(facts.parameters * _base_bytes(model, size) + (facts.trainable or 0) * (4 + 4 + 4 * states))
    trained = facts.parameters if facts.trainable is None else facts.trainable
    return round(facts.parameters * size + trained * (size + states * (_QUANTIZED_BYTES if is_quantized else size)))


def _base_bytes(model: Model, size: float) -> float:
    """Return the bytes of a weight of the base: of `size` unless it is quantized."""
    asked = quantization(model)
    return 0.5 if asked.get("load_in_4bit") else 1.0 if asked.get("load_in_8bit") else size


def plan_model(model: Model, facts: ModelFacts | None, optimizer: str, prompts: PlannedPrompts) -> PlannedModel | None:
    """Return what is trained of a saved model.

    Args:
        model: section of the request.
        facts: what its files say.
        optimizer: name of the optimizer (`optim`).
        prompts: the prompts of the run.
    """
    if facts is None:
        return None
    known = {each.name: getattr(facts, each.name) for each in fields(ModelFacts)}
    return PlannedModel(
        **{
            **known,
            "prompts": saved_prompts(facts, model, prompts),
            "default_prompt_name": prompts.default,
            "max_seq_length": model.max_seq_length or facts.max_seq_length,
        },
        precision=trained_precision(model, facts),
        attention=str(model.model_kwargs.get("attn_implementation", "")),
        memory_bytes=training_memory(facts, model, optimizer),
        adapter=describe_adapter(model),
    )
