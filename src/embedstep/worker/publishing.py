"""Saves the trained model with all that it is handed over with, verifies the files, and pushes them if requested."""

import platform
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from typing import Any

from sentence_transformers import SentenceTransformer

from embedstep.output.adapters import record_base
from embedstep.output.provenance import write_provenance
from embedstep.output.result import Change, Movement, is_score
from embedstep.output.weights import Space, read_space
from embedstep.planning.adapters import merges, quantization
from embedstep.planning.model_checks import FLOAT32, trained_precision
from embedstep.planning.plan import Plan
from embedstep.request.schema import TrainRequest
from embedstep.request.stored import request_to_json
from embedstep.worker.card import write_card
from embedstep.worker.models import build_model, merged
from embedstep.worker.movement import Snapshot, measure_movement, require_movement
from embedstep.worker.trainer.recording import Recorder
from embedstep.worker.trainer.saving import finish_published_model, translate_hub_errors
from embedstep.worker.trainer.trainer import StepTrainer
from embedstep.worker.verification import embed_fixed_texts, verify

_LIBRARIES = ("sentence-transformers", "transformers", "accelerate", "datasets", "torch", "numpy", "embedstep")
_FILE_MODE, _FOLDER_MODE = 0o644, 0o755
"""safetensors writes files that only their owner can read, and others are to serve the model."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """A saved and verified model.

    Attributes:
        cosine: smallest cosine between embeddings before saving and after loading.
        space: its embedding space.
        movement: how far it moved from the base.
    """

    cosine: float
    space: Space
    movement: Movement


def publish_model(
    trainer: StepTrainer, request: TrainRequest, recorder: Recorder, before: Snapshot, changes: Mapping[str, Change]
) -> Published:
    """Save the model for the launcher to publish, verify the files, and push them to the hub if requested.

    Args:
        trainer: the trainer after the training.
        request: the request.
        recorder: output folder, plan, metrics and records of the run.
        before: the model before training.
        changes: its metrics before and after the training.

    Raises:
        TrainingFailedError: the loaded model gives different embeddings, or the training changed nothing.
    """
    output, plan, spool = recorder.output, recorder.plan, recorder.spool
    model, folder = trainer.model.eval(), output.verified_model
    trainable = sum(each.numel() for each in model.parameters() if each.requires_grad)
    expected = embed_fixed_texts(model)
    dimension = expected.shape[1]
    if request.model.peft and merges(request.model):
        _merge(model, request, plan)
        if trained_precision(request.model, plan.model) != FLOAT32 or quantization(request.model):
            # The sum of base and adapter is rounded to what the base has: that is what is published.
            expected = embed_fixed_texts(model)
    model.save_pretrained(str(folder), create_model_card=False)
    if request.model.peft and not merges(request.model):
        record_base(folder, str(request.model.path), request.model.revision, plan.base)
    finish_published_model(output, request, plan)
    space = read_space(folder, dimension)
    stop_reason = trainer.stopping.stop_reason(plan.train_steps)
    write_card(folder, request, plan, model, recorder.metrics, changes)
    write_provenance(folder, _describe(request, recorder, changes, space, stop_reason))
    for place in (folder, *folder.rglob("*")):
        with suppress(OSError):  # some file systems know no modes
            place.chmod(_FOLDER_MODE if place.is_dir() else _FILE_MODE)
    # The sender uploads the files while they are verified.
    spool.model(folder, output.model, step=trainer.state.global_step, dimension=dimension)
    trust = request.model.trust_remote_code
    cosine, published = verify(folder, expected, device=str(model.device), trust_remote_code=trust)
    movement = measure_movement(before, merged(published))
    spool.metrics(movement.metrics, train_step=trainer.state.global_step)
    require_movement(request, plan, movement, trainable)
    if request.arguments.push_to_hub:
        # The final model, only after it is verified, also if checkpoints were pushed before.
        with translate_hub_errors():
            trainer.push_to_hub(blocking=True)
    return Published(cosine=cosine, space=space, movement=movement)


def versions() -> dict[str, str]:
    """Return the versions of the libraries that train."""
    return {name: version(name) for name in _LIBRARIES}


def _describe(
    request: TrainRequest, recorder: Recorder, changes: Mapping[str, Change], space: Space, stop_reason: str | None
) -> dict[str, Any]:
    """Return what the model says of itself: all of it is the same for the same training, but for `run`."""
    plan, spool = recorder.plan, recorder.spool.folder
    stored = request_to_json(request)
    data = [
        {"split": item.split, "name": item.name, "rows": item.rows, "fingerprint": item.fingerprint}
        for item in plan.datasets
    ]
    return {
        "run": {
            "id": spool.sent.run_id if spool is not None else None,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        },
        "request_fingerprint": plan.request_fingerprint,
        "training_fingerprint": plan.trained_from,
        "weights_sha256": space.weights,
        "embedding_space_id": space.fingerprint,
        "dimension": space.dimension,
        "base_sha256": plan.base,
        "data": data,
        "metrics": {name: value for name, value in recorder.metrics.items() if is_score(name)},
        "changes": {name: asdict(change) for name, change in changes.items()},
        "world_size": plan.world_size,
        "stop_reason": stop_reason,
        "versions": {**versions(), "python": platform.python_version()},
        "replay": "embedstep replay FOLDER, with this folder; where a file of the request is elsewhere now, change its "
        "path in `request` first",
        "request": stored["request"],
    }


def _merge(model: SentenceTransformer, request: TrainRequest, plan: Plan) -> None:
    # PEFT is not always installed.
    from embedstep.worker.adapters import merge_adapter

    loading = {name: value for name, value in request.model.model_kwargs.items() if name != "quantization_config"}
    base = request.model.model_copy(update={"model_kwargs": loading})
    merge_adapter(model, partial(build_model, base, fetched=plan.fetched_model, device=str(model.device)))
