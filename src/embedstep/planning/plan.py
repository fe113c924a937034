"""The training plan: what a run will do, as plain values that are printed, saved, and followed by each rank."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from pydantic import TypeAdapter

from embedstep.data.facts import DatasetRecord, share_file
from embedstep.data.model_facts import ModelFacts
from embedstep.planning.prompts import PlannedPrompts
from embedstep.request.arguments.ledger import LedgerEntry
from embedstep.runtime.digests import sha256_json
from embedstep.runtime.text import count

PLAN_FORMAT = "embedstep.plan/1"
_RENAMED_KEYS = {"rows_unseen": "rows_unreached"}
_NOT_KEPT = "sampling_seconds"
"""The field that is not written: it differs between equal plans."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedDataset(DatasetRecord):
    """What one dataset contributes.

    Attributes:
        columns: roles of the prepared rows, in the order in which the loss gets them.
        transform: kind of its transform, or None.
        given: roles that the loss gets, of which the transform draws some; empty without a transform.
        labels: rows by label value, the most frequent first, where labels are integers.
        loss: kind of its loss, or None when only evaluators use it.
        batches: batches of an epoch over all processes; None for a dataset that has no loss.
        rows_unreached: rows that an epoch does not reach; the next epoch has another order and leaves out others.
        largest_batch: largest batch size of a process that gives a step; None unless the one asked for gives none.
        negatives_per_anchor: in-batch negatives of each anchor, or None for a loss without them.
    """

    columns: tuple[str, ...]
    transform: str | None = None
    given: tuple[str, ...] = ()
    labels: Mapping[str, int] = field(default_factory=dict)
    loss: str | None
    batches: int | None
    rows_unreached: int
    largest_batch: int | None = None
    negatives_per_anchor: int | None

    def on_node(self, node: int) -> "PlannedDataset":
        """Return the dataset as one node trains on it: with the rows of its share, where each node has one."""
        if not self.node_rows:
            return self
        path = None if self.path is None else str(share_file(self, node))
        return replace(self, rows=self.node_rows[node], path=path)

    @property
    def loss_columns(self) -> tuple[str, ...]:
        """Roles that the loss gets, in its order."""
        return self.given or self.columns

    @property
    def loss_inputs(self) -> tuple[str, ...]:
        """Roles of the texts that the loss gets, in its order."""
        return tuple(role for role in self.loss_columns if role != "label")


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedModel(ModelFacts):
    """What is trained.

    Attributes:
        precision: precision of the weights in training, such as `float32`.
        attention: implementation of attention that the request names; empty for the library's choice.
        memory_bytes: weights, gradients and optimizer in each process, estimated; None where the files have no sizes.
        adapter: type of the adapter that trains, and how it is published; empty where the model's own weights train.
    """

    precision: str
    attention: str
    memory_bytes: int | None
    adapter: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What a run will do.

    Attributes:
        request_fingerprint: digest of the request that this plan belongs to.
        training_fingerprint: digest of what is trained on which rows, without paths and what happens to the model.
        world_size: processes that train together.
        gpus: visible GPUs.
        global_batch_size: rows of one train step over all processes.
        steps_per_epoch: train steps of one pass.
        train_steps: train steps of the run.
        epochs: passes over the data.
        warmup_steps: train steps until the learning rate reaches its peak.
        evaluations: train steps after which an evaluation runs; 0 is before the first.
        checkpoints: train steps after which a checkpoint is written.
        metrics: names of the evaluation metrics that the run will produce.
        datasets: what each dataset contributes.
        ledger: each training argument, its value and where it came from.
        notes: what is valid and may surprise, a sentence each.
        sampling_seconds: time to form the batches of one epoch, which each process will need too; None where
            sentence-transformers draws them. It is not compared.
        position: what the order of the rows depends on, saved with each checkpoint.
        model: what is trained; None for a new model, and where its files are not on this machine.
        prompts: prompts of the training, the evaluation and the saved model.
        base: digest of the files that the model starts from; None before a run.
        fetched_model: folder of a model that was fetched from the hub, or None.
        preview: the first steps with their texts, if asked for.
    """

    request_fingerprint: str
    training_fingerprint: str
    world_size: int
    gpus: int
    global_batch_size: int
    steps_per_epoch: int
    train_steps: int
    epochs: float
    warmup_steps: int
    evaluations: tuple[int, ...]
    checkpoints: tuple[int, ...]
    metrics: tuple[str, ...]
    datasets: tuple[PlannedDataset, ...]
    ledger: tuple[LedgerEntry, ...]
    notes: tuple[str, ...]
    position: Mapping[str, Any]
    sampling_seconds: float | None = field(default=None, compare=False)
    model: PlannedModel | None = None
    prompts: PlannedPrompts = field(default_factory=PlannedPrompts)
    base: str | None = None
    fetched_model: str | None = None
    preview: tuple[Mapping[str, Any], ...] = ()

    def on_node(self, node: int) -> "Plan":
        """Return the plan with the rows that one node trains on."""
        return replace(self, datasets=tuple(item.on_node(node) for item in self.datasets))

    @property
    def on_cpu(self) -> bool:
        """Whether the processes compute on the CPU."""
        return any(entry.name == "use_cpu" and entry.value for entry in self.ledger)

    @property
    def trained_from(self) -> str:
        """SHA-256 of what the run trains, on which rows, from which weights."""
        # Prompts that the request does not say in full; before 0.2.0 those of the model's files were not trained with.
        are_completed = any(entry.name == "prompts" and entry.source == "embedstep" for entry in self.ledger)
        return sha256_json([self.training_fingerprint, self.base, *([self.prompts.columns] if are_completed else [])])

    @property
    def summary(self) -> str:
        """The plan in one line: rows, train steps, processes."""
        rows = sum(item.rows for item in self.datasets if item.split == "train")
        steps = f"{count(self.train_steps, 'train step')} of {count(self.global_batch_size, 'row')}"
        return f"{count(rows, 'row')}, {steps} on {count(self.world_size, 'process')}"

    def passes(self, item: PlannedDataset) -> float:
        """Return how many times the run reads the rows of a dataset for a loss; a part of an epoch is a fraction."""
        if item.loss is None:
            return 0
        return {"train": self.epochs, "eval": len(self.evaluations), "test": 1}[item.split]

    def to_json(self) -> dict[str, Any]:
        """Return plain data for `plan.json`; `plan_from_json` reads it back equal, and equal plans are equal text."""
        data = {"format": PLAN_FORMAT, **asdict(self)}
        del data[_NOT_KEPT]
        return data


def plan_from_json(data: Mapping[str, Any]) -> Plan:
    """Read what `Plan.to_json` wrote.

    Raises:
        ValueError: the data was written by another version, or is no plan.
    """
    if data.get("format") != PLAN_FORMAT:
        raise ValueError(f"this plan has the format {data.get('format')!r}, not {PLAN_FORMAT!r}")
    return TypeAdapter(Plan).validate_python(data)  # makes tuples of lists, and dataclasses of mappings


def with_current_names(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stored plan with the current names of its keys (`rows_unreached` in 0.1.0)."""
    datasets = [{_RENAMED_KEYS.get(key, key): value for key, value in item.items()} for item in data["datasets"]]
    return {**data, "datasets": datasets}
