"""The components that a pipeline is built of, as data: what goes in, what comes out, and what the image is told to do.

`orchestration.kfp` makes components of Kubeflow of it, `task` reads what they are given, and their pages come from it.
"""

from dataclasses import dataclass, replace
from typing import Literal

from embedstep.orchestration.parameters import Parameter, argument_parameters, field_parameters
from embedstep.request.schema import Promotion

ArtifactType = Literal["Artifact", "Dataset", "HTML", "Metrics", "Model"]
REQUEST = Parameter(
    name="request",
    kind="text",
    description="The request, YAML or JSON; of one with more than 8 KB where it lies: `<path or URL>#sha256=<digest>`.",
)
AS_OF = Parameter(
    name="as_of",
    kind="text",
    description="Up to when the data counts, as an ISO 8601 date or time. Over data.as_of.",
    sets="data.as_of",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Artifact:
    """A file or folder that goes into a component or comes out of it.

    Attributes:
        name: its name.
        type: its type in Kubeflow.
        description: what it holds.
        is_required: whether it must be given; an output always comes.
    """

    name: str
    type: ArtifactType
    description: str
    is_required: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Component:
    """A component. Each takes the request, which must be given, and has parameters over it, which may be.

    Attributes:
        name: its name, as a Python function has it.
        verb: what the image is told to do: `embedstep task <verb>`.
        description: what it does, in a sentence.
        parameters: parameters over the request.
        inputs: artifacts that go in.
        outputs: artifacts that it leaves.
        results: parameters that it leaves.
    """

    name: str
    verb: str
    description: str
    parameters: tuple[Parameter, ...]
    inputs: tuple[Artifact, ...]
    outputs: tuple[Artifact, ...]
    results: tuple[Parameter, ...]


_OF_TRAINING = Artifact(
    name="train_data",
    type="Dataset",
    description="Rows to train on, over the paths of data.train: a file or folder, or a folder with "
    "`<dataset>.parquet` for each.",
)
_EVAL_DATA = Artifact(
    name="eval_data",
    type="Dataset",
    description="Rows to evaluate with, over the paths of data.eval: a file or folder, or a folder with "
    "`<dataset>.parquet` for each.",
)
TRAIN = Component(
    name="train_embedder",
    verb="train",
    description="Train a sentence-transformers model from one request.",
    parameters=(AS_OF, *argument_parameters()),
    inputs=(
        _OF_TRAINING,
        _EVAL_DATA,
        Artifact(name="base_model", type="Model", description="Model to start from, over model."),
    ),
    outputs=(
        Artifact(name="model", type="Model", description="The trained model, verified."),
        Artifact(name="metrics", type="Metrics", description="Metrics of the last evaluation, finite numbers only."),
        Artifact(name="report", type="HTML", description="The report of the run."),
        Artifact(name="result", type="Artifact", description="How the step ended: its `result.json`."),
    ),
    results=(
        Parameter(name="run_id", kind="text", description="The MLflow run, empty where none was opened."),
        Parameter(
            name="status",
            kind="text",
            description="`trained`; `unchanged` or `superseded` where there was nothing to do.",
        ),
    ),
)
EVALUATE = Component(
    name="evaluate",
    verb="evaluate",
    description="Score a model with the evaluators of a request on its eval data, beside another if that is given.",
    parameters=(AS_OF,),
    inputs=(
        Artifact(name="model", type="Model", description="The model to score.", is_required=True),
        Artifact(name="baseline", type="Model", description="A model to compare it with."),
        _EVAL_DATA,
    ),
    outputs=(
        Artifact(name="metrics", type="Metrics", description="Metrics of the model."),
        Artifact(
            name="scores", type="Artifact", description="Metrics of both, what `embedstep evaluate --json` prints."
        ),
    ),
    results=(),
)
PROMOTE = Component(
    name="promote",
    verb="promote",
    description="Decide whether a trained model may serve, and make it the registry's champion if it may.",
    parameters=(AS_OF, *field_parameters(Promotion, "promotion", ("metric", "minimum_gain", "confidence"))),
    inputs=(
        Artifact(name="model", type="Model", description="The model, from train_embedder.", is_required=True),
        Artifact(name="result", type="Artifact", description="The result of its training.", is_required=True),
        Artifact(name="champion", type="Model", description="Model to compare with; the registry stays as it is."),
        _EVAL_DATA,
    ),
    outputs=(Artifact(name="decision", type="Artifact", description="The verdict with its reasons: `verdict.json`."),),
    results=(Parameter(name="verdict", kind="text", description="`promote`, `hold` or `reject`."),),
)

_TRAIN_ROWS = Artifact(
    name="train_rows", type="Dataset", description="Rows to train on: `<dataset>.parquet` for each training dataset."
)
PREPARE = Component(
    name="prepare",
    verb="prepare",
    description="Read the rows of a request, check them, leave out what repeats, hold a share out, and lay them down.",
    parameters=(
        AS_OF,
        Parameter(
            name="eval_share",
            kind="number",
            description="Share of the anchors that is held out of each training dataset without rows in data.eval.",
        ),
        Parameter(name="seed", kind="integer", description="Another number holds out other anchors. Without it: 42."),
    ),
    inputs=(
        replace(_OF_TRAINING, description=f"{_OF_TRAINING.description} Without it: where the request says."),
        _EVAL_DATA,
    ),
    outputs=(
        _TRAIN_ROWS,
        Artifact(
            name="eval_rows", type="Dataset", description="Rows to evaluate with: `<dataset>.parquet` for each dataset."
        ),
        Artifact(name="prepared", type="Artifact", description="What became of the rows, as JSON."),
    ),
    results=(
        Parameter(name="fingerprint", kind="text", description="SHA-256 of all rows; the same where none has changed."),
        Parameter(name="rows", kind="integer", description="Training rows."),
    ),
)
MINE_NEGATIVES = Component(
    name="mine_negatives",
    verb="mine_negatives",
    description="Find hard negatives with sentence-transformers' miner, for the columns that a request has for them.",
    parameters=(
        AS_OF,
        Parameter(name="range_min", kind="integer", description="Closest matches that are passed over."),
        Parameter(name="range_max", kind="integer", description="Closest matches that are looked at."),
        Parameter(name="max_score", kind="number", description="Greatest similarity of a negative to the anchor."),
        Parameter(name="min_score", kind="number", description="Least similarity of a negative to the anchor."),
        Parameter(
            name="absolute_margin",
            kind="number",
            description="How much less similar than the positive a negative has to be.",
        ),
        Parameter(name="relative_margin", kind="number", description="The same, as a share of the positive's score."),
        Parameter(name="sampling_strategy", kind="text", description="`top` takes the closest, `random` any of them."),
    ),
    inputs=(
        _OF_TRAINING,
        Artifact(name="base_model", type="Model", description="Model to find them with, over model."),
    ),
    outputs=(
        _TRAIN_ROWS,
        Artifact(name="mined", type="Artifact", description="What was found, as JSON."),
    ),
    results=(Parameter(name="rows", kind="integer", description="Rows for which enough negatives were found."),),
)

OUTCOME = Component(
    name="outcome",
    verb="outcome",
    description="Write down how a pipeline ended, as the exit task of it, whatever has happened.",
    parameters=(AS_OF, Parameter(name="status", kind="status", description="Kubeflow's own word; it fills that in.")),
    inputs=(),
    outputs=(Artifact(name="outcome", type="Artifact", description="State, error, request and moment, as JSON."),),
    results=(
        Parameter(name="state", kind="text", description="Kubeflow's word for it, such as `SUCCEEDED` or `FAILED`."),
    ),
)

COMPONENTS = (PREPARE, MINE_NEGATIVES, TRAIN, EVALUATE, PROMOTE, OUTCOME)
