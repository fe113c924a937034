"""The document as frozen values: what a person may write, each field with its description.

Every section forbids unknown keys and is strict about types; what YAML spoils is repaired by the field's own type
(`scalars`) before the check. `embedstep schema` prints these models as JSON Schema.
"""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from embedstep.request.arguments.schema import Arguments
from embedstep.request.datasets import Data
from embedstep.request.extensions import TRACKERS, OrDeclared
from embedstep.request.launch import Launch
from embedstep.request.scalars import Boolean, Integer, Number, PlainData, Spelled, Text
from embedstep.request.schedule import Schedule
from embedstep.request.section import Name, Section, Source, described, or_text
from embedstep.request.trackers import KINDS, MLFLOW


class Model(Section):
    """The model that training starts from. A plain string is short for `{path: ...}`."""

    model_config = ConfigDict(json_schema_extra=or_text)

    path: Source | None = described(None, "A folder with a saved model, or a model id on the Hugging Face hub.")
    static: Source | None = described(
        None,
        "Build a static embedding instead: a folder, a `tokenizer.json` or a hub id that the tokenizer comes from.",
    )
    initial_vectors: Literal["random", "word_embeddings"] = described(
        "random",
        "Where a static embedding starts: random vectors, or the word embeddings of the transformer named by `static`.",
    )
    dimension: Annotated[Integer, Field(gt=0)] | None = described(
        None, "Length of the vectors of a static embedding with random vectors."
    )
    revision: Text | None = described(
        None, "Branch, tag or commit of a model on the hub. A commit makes a run repeatable."
    )
    trust_remote_code: Boolean = described(
        False, "Run Python code that comes with the model. Off, because that code can do anything on the machine."
    )
    max_seq_length: Annotated[Integer, Field(gt=0)] | None = described(
        None, "Longest input in tokens; longer texts are cut. The model's own limit when null."
    )

    @property
    def source(self) -> str:
        """What it is built from, of whichever kind it is: a folder, a file or a hub id."""
        return str(self.path or self.static)

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, raw: Any) -> Any:
        return {"path": raw} if isinstance(raw, str) else raw

    @model_validator(mode="after")
    def _one_kind(self) -> "Model":
        if (self.path is None) == (self.static is None):
            raise ValueError("give exactly one of path and static")
        if self.static is None and (self.dimension is not None or self.initial_vectors != "random"):
            raise ValueError("dimension and initial_vectors belong to a static model")
        if self.static is not None and (self.dimension is None) == (self.initial_vectors == "random"):
            raise ValueError("a static model needs either dimension or initial_vectors: word_embeddings")
        if self.static is not None and self.max_seq_length is not None:
            raise ValueError("max_seq_length belongs to a transformer; a static model reads texts of any length")
        return self


class Loss(Section):
    """A loss function by its standard name. A plain string is short for `{kind: ...}`."""

    model_config = ConfigDict(json_schema_extra=or_text)

    kind: Text = described(..., "Name of the loss, such as multiple_negatives_ranking, cosent or matryoshka.")
    options: Annotated[dict[str, PlainData], BeforeValidator(lambda raw: {} if raw is None else raw)] = described(
        {}, "Options of the loss by the names of its constructor."
    )
    loss: "Loss | None" = described(None, "The loss that a wrapper such as matryoshka is put around.")

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, raw: Any) -> Any:
        return {"kind": raw} if isinstance(raw, str) else raw


class Evaluator(Section):
    """A scorer that runs at each evaluation, built from one of the eval datasets."""

    kind: Text = described(..., "Name of the evaluator, such as information_retrieval or embedding_similarity.")
    name: Name = described(..., "Prefix of its metrics: `docs` gives `eval_docs_cosine_ndcg@10`.")
    dataset: Text = described(..., "Name of a dataset under data.eval.")
    options: Annotated[dict[str, PlainData], BeforeValidator(lambda raw: {} if raw is None else raw)] = described(
        {}, "Options of the evaluator by the names of its constructor."
    )


Alias = Annotated[Text, Spelled(r"[\w-]+", "a word of letters, digits, '_' and '-'")]
"""Name that a version has in the model registry."""
RunKey = Annotated[Text, Spelled(r"[\w./:@=-]{1,200}", "a word of letters, digits and './:@=_-', 200 at most")]


TRACKING_URI = "MLFLOW_TRACKING_URI"
TRACKING_RUN_ID = "MLFLOW_RUN_ID"
"""Variable by which Kubeflow, ZenML or a person names the run that is open around the step."""


if TYPE_CHECKING:
    TrackerName = str
else:
    TrackerName = Annotated[Literal[KINDS], OrDeclared(TRACKERS)]


class Tracking(Section):
    """Where the run is recorded."""

    kind: TrackerName = described(
        MLFLOW,
        "`mlflow`, `tensorboard`, `wandb` (Weights & Biases), a tracker of another package (docs/extending.md), or "
        "`none` for the files in the output folder alone.",
    )
    uri: Text | None = described(
        None,
        "Tracking URI. Null: the environment's MLFLOW_TRACKING_URI, else `sqlite:///mlflow.db` in the current folder. "
        "For tensorboard and wandb a folder; null: the output folder.",
    )
    experiment: Text = described(
        "embedstep", "MLflow experiment, made when it does not exist; the project in Weights & Biases."
    )
    run_name: Text | None = described(None, "Name of the run.")
    register_as: Text | None = described(
        None, "Name in the model registry under which the trained model becomes a new version."
    )
    aliases: list[Alias] = described(["challenger"], "Aliases in the model registry that the new version takes over.")
    tags: dict[str, Text] = described({}, "Tags of the run.")
    mode: Literal["auto", "own", "attach", "nest"] = described(
        "auto",
        "`own` opens a run and ends it; `attach` records in the run that the environment's MLFLOW_RUN_ID names and "
        "leaves its end to whoever opened it; `nest` opens one below that. `auto` is `attach` where the variable is "
        "set, else `own`.",
    )
    key: RunKey | None = described(
        None,
        "What attempts of one step have in common, such as the pipeline run and the step: a retry then goes on in the "
        "run of the attempt before, and a machine makes one attempt of a key at once. Null: it does so only in the "
        "same output folder.",
    )
    required: Boolean = described(
        False,
        "Start nothing while the tracking server does not answer (exit code 3) or refuses (2). Otherwise the training "
        "goes on, and what is to be recorded waits in the output folder for `embedstep sync`.",
    )


class Promotion(Section):
    """What the trained model has to be to take the place of the one that serves."""

    metric: Text | None = described(
        None, "Metric that decides, such as `docs_cosine_ndcg@10`. Null: the first nDCG at 10 of the evaluators."
    )
    minimum_gain: Annotated[Number, Field(ge=0)] = described(0.0, "Least gain over the champion, in its own units.")
    confidence: Annotated[Number, Field(gt=0, lt=1)] = described(
        0.95, "Confidence of the interval of the gain, which has to be above zero."
    )
    slices: Text | None = described(
        None, "Column of the metric's eval data by whose values queries are told apart, such as language or tenant."
    )
    slice_loss: Annotated[Number, Field(ge=0)] = described(
        0.02,
        "How much a slice, or another retrieval evaluator by the same metric, may lose while the whole gains; a slice "
        "of fewer than 20 queries decides nothing.",
    )
    max_milliseconds: Annotated[Number, Field(gt=0)] | None = described(
        None, "Longest time to embed one query, as the median over queries one by one on the machine that decides."
    )
    max_megabytes: Annotated[Number, Field(gt=0)] | None = described(None, "Largest size of the weights in memory.")
    documents: Annotated[Integer, Field(gt=0)] | None = described(
        None, "Documents in the index that serves, by which the time of embedding it again is told."
    )


def _losses(raw: Any) -> Any:
    """Tell one loss for all datasets from a mapping of dataset names to losses, by the reserved key `kind`."""
    if isinstance(raw, str) or (isinstance(raw, dict) and "kind" in raw):
        return {"*": raw}
    return raw


Losses = Annotated[
    dict[str, Loss], Field(min_length=1), BeforeValidator(_losses, json_schema_input_type=Loss | dict[str, Loss])
]


class TrainRequest(Section):
    """A whole request."""

    model: Model = described(..., "The model that training starts from.")
    data: Data = described(..., "The datasets to train on and to evaluate with.")
    loss: Losses = described(..., "One loss for every dataset, or a loss for each dataset by its name.")
    evaluators: list[Evaluator] = described([], "Scorers that run at each evaluation.")
    arguments: Arguments = described({}, "Training arguments by their names in SentenceTransformerTrainingArguments.")
    launch: Launch = described({}, "How many processes train together.")
    tracking: Tracking = described({}, "Where the run is recorded.")
    promotion: Promotion = described({}, "What the model has to be to serve, for `embedstep promote`.")
    schedule: Schedule | None = described(
        None, "When a retraining begins, for `embedstep schedule`. Null: whenever somebody starts one."
    )
    resume: Literal["auto", "never", "required"] = described(
        "auto",
        "Whether an attempt goes on from the newest whole checkpoint that an interrupted or failed one of the same "
        "training has left in its output folder. `auto`: where there is one. `required`: refused where there is none.",
    )
    skip_if_unchanged: Boolean = described(
        False,
        "Train nothing, and end well with `skip_reason: unchanged`, where the champion of the model registry was "
        "trained by the same request on the same rows.",
    )

    @property
    def recorded_as(self) -> Tracking:
        """The tracking section, with the run name of the arguments when it has none of its own."""
        if self.tracking.run_name is not None or self.arguments.run_name is None:
            return self.tracking
        return self.tracking.model_copy(update={"run_name": self.arguments.run_name})

    @property
    def trains(self) -> bool:
        """Whether the step trains at all: unless somebody has written `do_train: false`."""
        return self.arguments.do_train or "do_train" not in self.arguments.model_fields_set

    def loss_of(self, dataset: str) -> Loss | None:
        """Return the loss of the train dataset named `dataset`, or None if it has none."""
        return self.loss.get("*") or self.loss.get(dataset)
