"""The document as frozen values: what a person may write, each field with its description.

Every section forbids unknown keys and is strict about types; what YAML spoils is repaired by the field's own type
(`scalars`) before the check. `embedstep schema` prints these models as JSON Schema.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from embedstep.arguments.schema import Arguments
from embedstep.request.scalars import Flag, Integer, Number, PlainData, Text

Name = Annotated[Text, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=64)]
Role = Literal["anchor", "positive", "negative", "label"]


def described(default: Any, description: str) -> Any:
    """Give a field its default (`...` for none) and the sentence that the JSON Schema shows for it."""
    return Field(default, description=description)


Source = Annotated[Text, Field(min_length=1)]


class Section(BaseModel):
    """A part of the request: frozen, strict, no unknown keys."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


def _or_text(schema: dict[str, Any]) -> None:
    """Say in the JSON Schema of a section that a plain string is its short form."""
    section = {key: schema.pop(key) for key in list(schema) if key not in ("title", "description")}
    schema["anyOf"] = [{"type": "string"}, section]


class Model(Section):
    """The model that training starts from. A plain string is short for `{path: ...}`."""

    model_config = ConfigDict(json_schema_extra=_or_text)

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
    trust_remote_code: Flag = described(
        False, "Run Python code that comes with the model. Off, because that code can do anything on the machine."
    )
    max_seq_length: Annotated[Integer, Field(gt=0)] | None = described(
        None, "Longest input in tokens; longer texts are cut. The model's own limit when null."
    )

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


def _listed(raw: Any) -> Any:
    """Allow one name where several are allowed: `negative: hard` beside `negative: [hard_1, hard_2]`."""
    return [raw] if isinstance(raw, str) else raw


OneOrMore = Annotated[list[Text], Field(min_length=1), BeforeValidator(_listed, json_schema_input_type=str | list[str])]


class Columns(Section):
    """Which column plays which role. Columns that are not named here are left out of training."""

    anchor: Text | None = described(None, "The query side: question, title, first sentence.")
    positive: Text | None = described(None, "The text that belongs to the anchor: answer, document, second sentence.")
    negative: OneOrMore | None = described(
        None, "One column, or a list of columns, with texts that do not belong to the anchor."
    )
    label: OneOrMore | None = described(
        None, "A class, a similarity score, or the teacher's value (several columns: one value for each text)."
    )

    @model_validator(mode="after")
    def _something(self) -> "Columns":
        if not self.model_fields_set:
            raise ValueError("name at least one column: anchor, positive, negative, label")
        return self


class Dataset(Section):
    """Where rows come from. Files are named by `path`, a dataset of the hub by `hub`."""

    path: OneOrMore | None = described(
        None,
        "File, folder, glob or fsspec URL (or a list of them): Parquet, JSON lines, CSV, or a saved Arrow dataset.",
    )
    hub: Source | None = described(None, "Dataset id on the Hugging Face hub.")
    subset: Text | None = described(None, "Configuration name of a hub dataset.")
    split: Text | None = described(None, "Split of a hub dataset or of a saved dataset with several splits.")
    revision: Text | None = described(None, "Branch, tag or commit of a hub dataset. A commit makes a run repeatable.")
    columns: Columns = described(..., "Which column plays which role.")
    limit: Annotated[Integer, Field(gt=0)] | None = described(None, "Take only this many rows, from the top.")

    @model_validator(mode="after")
    def _one_source(self) -> "Dataset":
        if (self.path is None) == (self.hub is None):
            raise ValueError("give exactly one of path and hub")
        if self.path is not None and (self.subset or self.revision):
            raise ValueError("subset and revision belong to a hub dataset")
        if self.hub is not None and self.split is None:
            raise ValueError("name the split of the hub dataset, such as split: train")
        return self


class Data(Section):
    """The datasets, by name."""

    train: Annotated[dict[Name, Dataset], Field(min_length=1)] = described(
        ..., "Datasets to train on. The name ties a dataset to its loss and to its evaluation dataset."
    )
    eval: dict[Name, Dataset] = described(
        {}, "Held-out datasets: for the evaluation loss (same name as in train) and for the evaluators."
    )
    test: dict[Name, Dataset] = described(
        {}, "Held-out datasets for the loss after the training (same name as in train), with arguments.do_predict."
    )
    drop_incomplete_rows: Flag = described(
        False, "Leave out rows with an empty or null cell and count them. Without it such rows are refused."
    )


class Loss(Section):
    """A loss function by its standard name. A plain string is short for `{kind: ...}`."""

    model_config = ConfigDict(json_schema_extra=_or_text)

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


class Launch(Section):
    """How many processes train together."""

    nodes: Annotated[Integer, Field(gt=0)] = described(1, "Number of machines.")
    processes_per_node: Literal["auto"] | Annotated[Integer, Field(gt=0)] = described(
        "auto", "Processes on each machine. `auto` takes one for each visible GPU, and one on a machine without a GPU."
    )


Alias = Annotated[Text, Field(pattern=r"^[\w-]+$")]
"""Name that a version has in the model registry."""
RunKey = Annotated[Text, Field(pattern=r"^[\w./:@=-]{1,200}$")]


class Tracking(Section):
    """Where the run is recorded."""

    kind: Literal["mlflow", "none"] = described(
        "mlflow", "`mlflow`, or `none` for the files in the output folder alone."
    )
    uri: Text | None = described(
        None,
        "Tracking URI. Null: the environment's MLFLOW_TRACKING_URI, else `sqlite:///mlflow.db` in the current folder.",
    )
    experiment: Text = described("embedstep", "MLflow experiment; made when it does not exist.")
    run_name: Text | None = described(None, "Name of the MLflow run.")
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
        "run of the attempt before. Null: it does so only in the same output folder.",
    )
    required: Flag = described(
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
        0.02, "How much a slice may lose while the whole gains; a slice of fewer than 20 queries decides nothing."
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
    arguments: Arguments = described(
        Arguments(), "Training arguments by their names in SentenceTransformerTrainingArguments."
    )
    launch: Launch = described(Launch(), "How many processes train together.")
    tracking: Tracking = described(Tracking(), "Where the run is recorded.")
    promotion: Promotion = described(Promotion(), "What the model has to be to serve, for `embedstep promote`.")

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
