"""The fields of a request, with their types, defaults and descriptions.

Each section refuses unknown keys and values of other types; the field types of `scalars` first undo what YAML does to a
value. `embedstep schema` prints these models as JSON Schema.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from embedstep.request.arguments.schema import Arguments
from embedstep.request.datasets import Data
from embedstep.request.extensions import TRACKERS, OrDeclared
from embedstep.request.launch import Launch
from embedstep.request.model import Model
from embedstep.request.scalars import Boolean, Integer, Number, PositiveInteger, PositiveNumber, Text, TextPattern
from embedstep.request.schedule import Schedule
from embedstep.request.section import Name, Options, Section, ShortSection, described
from embedstep.request.trackers import KINDS, MLFLOW


class Loss(ShortSection):
    """A loss function. A plain string is short for `{kind: ...}`."""

    kind: Text = described(..., "Name of the loss, such as multiple_negatives_ranking, cosent or matryoshka.")
    options: Options = described({}, "Arguments of the loss's constructor, by name.")
    loss: "Loss | None" = described(None, "Inner loss of a wrapper such as matryoshka.")


class Evaluator(Section):
    """An evaluator, which scores the model on an eval dataset at each evaluation."""

    kind: Text = described(..., "Name of the evaluator, such as information_retrieval or embedding_similarity.")
    name: Name = described(..., "Prefix of its metrics: `docs` gives `eval_docs_cosine_ndcg@10`.")
    dataset: Text | None = described(
        None, "Name of a dataset under data.eval. Null: the evaluator has data of its own, as nano_beir has."
    )
    options: Options = described({}, "Arguments of the evaluator's constructor, by name.")


Alias = Annotated[Text, TextPattern(r"[\w-]+", "a word of letters, digits, '_' and '-'")]
"""Alias of a version in the model registry."""
RunKey = Annotated[Text, TextPattern(r"[\w./:@=-]{1,200}", "a word of up to 200 letters, digits and './:@=_-'")]


TRACKING_URI = "MLFLOW_TRACKING_URI"
TRACKING_RUN_ID = "MLFLOW_RUN_ID"
"""Environment variable with the id of the run that Kubeflow, ZenML or a person has opened around the step."""


# A type checker takes no Literal of names that are computed.
if TYPE_CHECKING:
    TrackerName = str
else:
    TrackerName = Annotated[Literal[KINDS], OrDeclared(TRACKERS)]


class Tracking(Section):
    """The tracking server and the run that the training is recorded in."""

    kind: TrackerName = described(
        MLFLOW,
        "`mlflow`, `tensorboard`, `wandb` (Weights & Biases), a tracker of another package (docs/extending.md), or "
        "`none` for records in the output folder only.",
    )
    uri: Text | None = described(
        None,
        "Tracking URI. Null: the environment's MLFLOW_TRACKING_URI, else `sqlite:///mlflow.db` in the current folder. "
        "For tensorboard and wandb a folder; null: the output folder.",
    )
    experiment: Text = described(
        "embedstep", "MLflow experiment, created if it does not exist; the project in Weights & Biases."
    )
    run_name: Text | None = described(None, "Name of the run.")
    register_as: Text | None = described(None, "Registered model that the trained model becomes a new version of.")
    aliases: list[Alias] = described(["challenger"], "Registry aliases that are moved to the new version.")
    tags: dict[str, Text] = described({}, "Tags of the run.")
    mode: Literal["auto", "own", "attach", "nest"] = described(
        "auto",
        "`own` opens and ends a run of its own; `attach` records in the run of the environment's MLFLOW_RUN_ID without "
        "ending it; `nest` opens a child of that run. `auto` is `attach` if the variable is set, else `own`.",
    )
    key: RunKey | None = described(
        None,
        "Identifies the step for all its attempts, such as the pipeline run and the step's name. A retry continues the "
        "run of the previous attempt, and a machine runs one attempt of a key at a time. Null: attempts are "
        "recognised by their output folder only.",
    )
    required: Boolean = described(
        False,
        "Start only if the tracking server answers (else exit code 3) and accepts the run (else 2). When false, "
        "training starts anyway, and its records are kept in the output folder for `embedstep sync`.",
    )


class Promotion(Section):
    """Conditions for replacing the production model."""

    metric: Text | None = described(
        None, "Metric to compare by, such as `docs_cosine_ndcg@10`. Null: the first evaluator's nDCG at 10."
    )
    minimum_gain: Annotated[Number, Field(ge=0)] = described(
        0.0, "Minimum gain over the champion, in units of the metric."
    )
    confidence: Annotated[Number, Field(gt=0, lt=1)] = described(
        0.95, "Confidence level at which the gain must be above zero."
    )
    slices: Text | None = described(
        None, "Column of the metric's eval dataset that groups its queries, such as language or tenant."
    )
    max_slice_loss: Annotated[Number, Field(ge=0)] = described(
        0.02,
        "Largest loss of a slice, or of another retrieval evaluator by the same metric, that is accepted for an "
        "overall gain. Slices of fewer than 20 queries are not checked.",
    )
    max_milliseconds: PositiveNumber | None = described(
        None, "Maximum time to embed one query: the median over single queries, measured on this machine."
    )
    max_megabytes: PositiveNumber | None = described(None, "Maximum size of the weights in memory.")
    index_size: PositiveInteger | None = described(
        None, "Number of documents in the production index, for estimating the time to embed it again."
    )


class Card(Section):
    """What the model card says that embedstep cannot know (`README.md` in the folder of the model)."""

    license: Text | None = described(
        None, "License of the model, such as `apache-2.0`. Null: that of the base model, where its card names one."
    )
    language: list[Text] = described(
        [], "Languages of its texts, such as `en`. Empty: those of the base model, where its card names them."
    )
    example_rows: Annotated[Integer, Field(ge=0)] = described(
        0, "Training rows that the card shows as examples. They are public wherever the model is."
    )


class EarlyStopping(Section):
    """When a training ends because it no longer improves, as by transformers' EarlyStoppingCallback.

    Evaluations compare `arguments.metric_for_best_model`; the default is the loss.
    """

    patience: PositiveInteger = described(
        ..., "Evaluations in a row without a gain over the best checkpoint, after which the training ends."
    )
    threshold: Annotated[Number, Field(ge=0)] = described(
        0.0, "Smallest difference to the best metric that counts as a gain, in units of the metric."
    )


def _losses(raw: Any) -> Any:
    """Use a single loss, recognised by the reserved key `kind`, for all datasets (`*`)."""
    if isinstance(raw, str) or (isinstance(raw, dict) and "kind" in raw):
        return {"*": raw}
    return raw


Losses = Annotated[
    dict[str, Loss], Field(min_length=1), BeforeValidator(_losses, json_schema_input_type=Loss | dict[str, Loss])
]


def loss_path(name: str) -> str:
    """Return the path of a loss in the request; `*` is the one for every dataset."""
    return "loss" if name == "*" else f"loss.{name}"


class TrainRequest(Section):
    """A training request."""

    model: Model = described(..., "The model to train.")
    data: Data = described(..., "The datasets for training and evaluation.")
    loss: Losses = described(..., "One loss for all datasets, or a loss for each dataset by its name.")
    evaluators: list[Evaluator] = described([], "Evaluators that run at each evaluation.")
    evaluate_base: Boolean = described(
        True,
        "Evaluate the model before the training, too, and show both. Its scores are kept for the next run on the same "
        "model and rows.",
    )
    arguments: Arguments = described({}, "Training arguments by their names in SentenceTransformerTrainingArguments.")
    early_stopping: EarlyStopping | None = described(
        None, "When the training ends because it no longer improves. Null: it makes all of its steps."
    )
    launch: Launch = described({}, "The processes that train together, and the limits of their run.")
    tracking: Tracking = described({}, "The tracking server and the run that the training is recorded in.")
    card: Card = described({}, "What the model card says.")
    promotion: Promotion = described({}, "Conditions for replacing the production model, for `embedstep promote`.")
    schedule: Schedule | None = described(
        None, "Times of retraining, for `embedstep schedule`. Null: it is started by hand."
    )
    resume: Literal["auto", "never", "required"] = described(
        "auto",
        "Resume from the latest complete checkpoint that an interrupted or failed attempt at the same training has "
        "left in the output folder: `auto`, if there is one; `required`, and fail if there is none; `never`.",
    )
    skip_if_unchanged: Boolean = described(
        False,
        "Train nothing and succeed, with `skip_reason: unchanged`, if the champion of the model registry was trained "
        "by the same request on the same rows.",
    )

    @property
    def named_tracking(self) -> Tracking:
        """The section `tracking`; its run name is that of the arguments if it has none."""
        if self.tracking.run_name is not None or self.arguments.run_name is None:
            return self.tracking
        return self.tracking.model_copy(update={"run_name": self.arguments.run_name})

    @property
    def trains(self) -> bool:
        """Whether the step trains: unless the request has `do_train: false`."""
        return self.arguments.do_train or "do_train" not in self.arguments.model_fields_set

    @property
    def has_evaluation(self) -> bool:
        """Whether there is anything to evaluate on: held-out data, or an evaluator with data of its own."""
        return bool(self.data.eval) or any(evaluator.dataset is None for evaluator in self.evaluators)

    def losses(self) -> Iterator[tuple[str, Loss]]:
        """Yield each loss with its path in the request, and the inner losses of a wrapper after it."""
        for name, outer in self.loss.items():
            path, loss = loss_path(name), outer
            while True:
                yield path, loss
                if loss.loss is None:
                    break
                path, loss = f"{path}.loss", loss.loss

    def loss_of(self, dataset: str) -> Loss | None:
        """Return the loss of a train dataset, or None if it has none."""
        return self.loss.get("*") or self.loss.get(dataset)
