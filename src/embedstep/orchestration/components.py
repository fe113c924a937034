"""The components that pipelines are built from, as data: inputs, outputs, parameters, and the function that runs.

`embedstep task`, the Kubeflow components with their Python functions, the Airflow operators and the reference pages all
follow from this table. A new component is a row here and a function in `commands`; `make golden` writes its files.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from embedstep.orchestration.parameters import Parameter, argument_parameters, field_parameters
from embedstep.request.mining import Mining
from embedstep.request.schema import Promotion

ArtifactType = Literal["Artifact", "Dataset", "HTML", "Metrics", "Model"]
REQUEST = Parameter(
    name="request",
    description="The request as YAML or JSON, or `<path or URL>#sha256=<digest>` if it is longer than 8 KB.",
)
AS_OF = Parameter(
    name="as_of",
    description="Use data up to this ISO 8601 date or time. Overrides data.as_of.",
    sets="data.as_of",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Artifact:
    """A file or folder that a component reads or writes.

    Attributes:
        name: name of the artifact.
        description: what it contains.
        type: artifact type in Kubeflow.
        is_required: whether an input must be given; outputs are always written.
    """

    name: str
    description: str
    type: ArtifactType = "Artifact"
    is_required: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Component:
    """A component. Each requires the request and has optional parameters that override it.

    Attributes:
        name: name of the component, a Python identifier.
        command: what the container runs, `embedstep task <command>`, and the function of `commands` that does the
            work: it takes a `Task` and returns a value to print.
        description: what it does, in one sentence.
        parameters: optional parameters.
        outputs: output artifacts.
        inputs: input artifacts.
        results: output parameters.
    """

    name: str
    command: str
    description: str
    parameters: tuple[Parameter, ...]
    outputs: tuple[Artifact, ...]
    inputs: tuple[Artifact, ...] = ()
    results: tuple[Parameter, ...] = ()


_IN_PLACE_OF = (
    "rows, in place of the paths in data.{}: a file or folder for one dataset, else a folder with `<dataset>.parquet` "
    "for each."
)
_TRAIN_DATA = Artifact(name="train_data", type="Dataset", description=f"Training {_IN_PLACE_OF.format('train')}")
_EVAL_DATA = Artifact(name="eval_data", type="Dataset", description=f"Evaluation {_IN_PLACE_OF.format('eval')}")
TRAIN = Component(
    name="train_embedder",
    command="train",
    description="Train a sentence-transformers model from one request.",
    parameters=(AS_OF, *argument_parameters()),
    inputs=(
        _TRAIN_DATA,
        _EVAL_DATA,
        Artifact(name="base_model", type="Model", description="Base model, in place of the one in the request."),
    ),
    outputs=(
        Artifact(name="model", type="Model", description="The trained and verified model."),
        Artifact(name="metrics", type="Metrics", description="Finite metrics of the last evaluation."),
        Artifact(name="report", type="HTML", description="HTML report of the run."),
        Artifact(name="result", description="The `result.json` of the step."),
    ),
    results=(
        Parameter(name="run_id", description="MLflow run id; empty if no run was opened."),
        Parameter(
            name="status",
            description="`trained`, or `unchanged` or `superseded` if there was nothing to train.",
        ),
    ),
)
EVALUATE = Component(
    name="evaluate",
    command="evaluate",
    description="Score a model with the evaluators of a request on its eval data, and compare it with a baseline.",
    parameters=(AS_OF,),
    inputs=(
        Artifact(name="model", type="Model", description="The model to score.", is_required=True),
        Artifact(name="baseline", type="Model", description="Model to compare it with."),
        _EVAL_DATA,
    ),
    outputs=(
        Artifact(name="metrics", type="Metrics", description="Metrics of the model."),
        Artifact(
            name="scores",
            description="Metrics of all models, as `embedstep evaluate --json` prints them.",
        ),
    ),
)
PROMOTE = Component(
    name="promote",
    command="promote",
    description="Compare a trained model with the champion, and promote it in the registry if it is better.",
    parameters=(AS_OF, *field_parameters(Promotion, "promotion", ("metric", "minimum_gain", "confidence"))),
    inputs=(
        Artifact(name="model", type="Model", description="The model that train_embedder returned.", is_required=True),
        Artifact(name="result", description="The result that train_embedder returned.", is_required=True),
        Artifact(
            name="champion",
            type="Model",
            description="Model to compare with in place of the registry's champion; the registry is not changed.",
        ),
        _EVAL_DATA,
    ),
    outputs=(Artifact(name="decision", description="The verdict and its reasons: `verdict.json`."),),
    results=(Parameter(name="verdict", description="`promote`, `hold` or `reject`."),),
)

_TRAIN_ROWS = Artifact(
    name="train_rows", type="Dataset", description="Training rows: `<dataset>.parquet` for each training dataset."
)
PREPARE = Component(
    name="prepare",
    command="prepare",
    description="Read and check the rows of a request, drop duplicates, split off evaluation rows, and write Parquet.",
    parameters=(
        AS_OF,
        Parameter(
            name="eval_share",
            kind="number",
            description="Share of the anchors to hold out of each training dataset that data.eval does not name.",
        ),
        Parameter(name="seed", kind="integer", description="Seed of that split. Default: 42."),
    ),
    inputs=(
        replace(_TRAIN_DATA, description=f"{_TRAIN_DATA.description} Default: the paths in the request."),
        _EVAL_DATA,
    ),
    outputs=(
        _TRAIN_ROWS,
        Artifact(
            name="eval_rows", type="Dataset", description="Evaluation rows: `<dataset>.parquet` for each dataset."
        ),
        Artifact(name="prepared", description="Row counts and fingerprints of each dataset, as JSON."),
    ),
    results=(
        Parameter(name="fingerprint", description="SHA-256 of all rows."),
        Parameter(name="rows", kind="integer", description="Number of training rows."),
    ),
)
MINE_NEGATIVES = Component(
    name="mine_negatives",
    command="mine_negatives",
    description="Mine hard negatives with sentence-transformers, for the negative columns that a request names.",
    parameters=(
        AS_OF,
        # They set nothing in the request.
        *(replace(one, sets="") for one in field_parameters(Mining, "", tuple(Mining.model_fields))),
    ),
    inputs=(
        _TRAIN_DATA,
        Artifact(
            name="base_model", type="Model", description="Model to mine with, in place of the one in the request."
        ),
    ),
    outputs=(
        _TRAIN_ROWS,
        Artifact(name="mined", description="Number of rows with negatives in each dataset, as JSON."),
    ),
    results=(Parameter(name="rows", kind="integer", description="Number of rows with enough negatives."),),
)

OUTCOME = Component(
    name="outcome",
    command="outcome",
    description="Record how a pipeline ended, as its exit task.",
    parameters=(AS_OF, Parameter(name="status", kind="status", description="Final status; Kubeflow fills it in.")),
    outputs=(Artifact(name="outcome", description="State, error, digest of the request and as_of, as JSON."),),
    results=(Parameter(name="state", description="Final state in Kubeflow, such as `SUCCEEDED` or `FAILED`."),),
)

COMPONENTS: Mapping[str, Component] = {
    one.name: one for one in (PREPARE, MINE_NEGATIVES, TRAIN, EVALUATE, PROMOTE, OUTCOME)
}
"""Every component by its name."""
