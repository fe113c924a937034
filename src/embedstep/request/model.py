"""The section `model` of a request: what is trained."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from embedstep.request.scalars import Boolean, Integer, PositiveInteger, Text
from embedstep.request.section import Options, Section, ShortSection, Source, described


class Module(ShortSection):
    """A module of a model that is built from parts. A plain string is short for `{kind: ...}`."""

    kind: Text = described(..., "Name of the module, such as transformer, pooling or dense (docs/models.md).")
    options: Options = described({}, "Arguments of the module's constructor, by name.")
    routes: "dict[str, list[Module]] | None" = described(
        None, "Modules of a router: a list for `query`, and one for `document`."
    )


class Layers(Section):
    """The layers of a transformer that a smaller model keeps."""

    keep: Annotated[list[Annotated[Integer, Field(ge=0)]], Field(min_length=1)] = described(
        ..., "Layers to keep, counted from 0, in their order."
    )


POOLING_MODES = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
FILE_OPTIONS = ("path", "vocab", "word_weights")
"""Options of modules that may name a folder or a file."""

if TYPE_CHECKING:
    PoolingMode = str
else:
    PoolingMode = Literal[POOLING_MODES]


def _paths(modules: Iterable[Module]) -> Iterator[str]:
    """Yield the folders and files that modules are built from; options that are no text are refused elsewhere."""
    for module in modules:
        yield from (each for name in FILE_OPTIONS if isinstance(each := module.options.get(name), str))
        for route in (module.routes or {}).values():
            yield from _paths(route)


class Model(ShortSection):
    """The model to train. A plain string is short for `{path: ...}`."""

    path: Source | None = described(None, "Folder of a saved model, or id of a model on the Hugging Face hub.")
    static: Source | None = described(
        None,
        "Build a static embedding model instead, with the tokenizer of this folder, `tokenizer.json` or hub id.",
    )
    initial_vectors: Literal["random", "word_embeddings"] = described(
        "random",
        "Initial vectors of a static embedding: random, or the word embeddings of the transformer that `static` names.",
    )
    dimension: PositiveInteger | None = described(None, "Dimension of a static embedding with random vectors.")
    revision: Text | None = described(
        None, "Branch, tag or commit of a model on the hub. Name a commit for a repeatable run."
    )
    trust_remote_code: Boolean = described(
        False, "Run Python code that comes with the model. That code can do anything on the machine."
    )
    max_seq_length: PositiveInteger | None = described(
        None, "Maximum input length in tokens; longer texts are truncated. Null: the model's own limit."
    )

    model_kwargs: Options = described(
        {},
        "How transformers loads the model, such as `dtype`, `attn_implementation`. `dtype` is float32 unless given; "
        "`auto` trains in the precision that the files have.",
    )
    processor_kwargs: Options = described({}, "How transformers loads the tokenizer or processor.")
    config_kwargs: Options = described({}, "How transformers loads the configuration of the model.")
    prompts: dict[Text, str] = described(
        {},
        "Prompts by name; `query` is for anchors, `document` for positives and negatives. They are added to the "
        "model's own, used by training and evaluation, and saved with the model (docs/models.md).",
    )
    default_prompt_name: Text | None = described(None, "Name of the prompt that is used where none is named.")
    use_prompts: Boolean = described(
        True,
        "Use the prompts for queries and documents in training and evaluation, and save them with the model. When "
        "false, those of the model's files are left out of all three.",
    )
    similarity_fn_name: Literal["cosine", "dot", "euclidean", "manhattan"] | None = described(
        None, "Similarity function of the model. Null: its own, else cosine."
    )
    truncate_dim: PositiveInteger | None = described(
        None, "Dimensions of an embedding that evaluations keep. It is not saved with the model."
    )
    modules: Annotated[list[Module], Field(min_length=1)] | None = described(
        None,
        "Build the model from these modules. A transformer without a path of its own is that of `path`. Null: the "
        "modules that the model was saved with.",
    )
    pooling: (
        Annotated[
            list[PoolingMode],
            Field(min_length=1),
            BeforeValidator(lambda raw: [raw] if isinstance(raw, str) else raw, json_schema_input_type=str | list[str]),
        ]
        | None
    ) = described(
        None,
        "How token embeddings become one, for a transformer that was saved without pooling: a mode, or several whose "
        "results are concatenated.",
    )
    layers: Layers | None = described(None, "Build a smaller model from some of the transformer's layers.")
    freeze: list[Text] = described(
        [], "Regular expressions of the names of parameters that do not train, as in `learning_rate_mapping`."
    )
    peft: Options = described(
        {},
        "Train an adapter instead of the transformer's own weights: PEFT's configuration by its own names, such as "
        "`peft_type`, `r`, `target_modules`. `merge` (default true) publishes the whole model, with the adapter merged "
        "into it; false publishes the adapter alone.",
    )

    @property
    def source(self) -> str:
        """Folder, file or hub id that the model is loaded or built from; empty if its modules read none."""
        return next(iter(self.sources), "")

    @property
    def sources(self) -> tuple[str, ...]:
        """All folders, files and hub ids that the model is built from, the base model first."""
        return tuple(filter(None, (self.path, self.static, *_paths(self.modules or ()))))

    @model_validator(mode="after")
    def _one_kind(self) -> "Model":
        if self.modules is None and (self.path is None) == (self.static is None):
            raise ValueError("give exactly one of path and static")
        if self.modules is not None and self.static is not None:
            raise ValueError("static builds the whole model; give modules, with static_embedding as the first")
        if self.modules is not None and self.pooling is not None:
            raise ValueError("pooling is for a model without modules; give the module pooling its pooling_mode")
        if self.static is not None and (self.pooling or self.layers):
            raise ValueError("pooling and layers belong to a transformer; a static model has neither")
        if self.static is None and (self.dimension is not None or self.initial_vectors != "random"):
            raise ValueError("dimension and initial_vectors belong to a static model")
        if self.static is not None and (self.dimension is None) == (self.initial_vectors == "random"):
            raise ValueError("a static model needs either dimension or initial_vectors: word_embeddings")
        if self.static is not None and self.max_seq_length is not None:
            raise ValueError("max_seq_length belongs to a transformer; a static model reads texts of any length")
        return self
