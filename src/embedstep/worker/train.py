"""The training on one rank, from the prepared data to the verified model. `train` reads from top to bottom."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import datasets
import torch
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments
from transformers import TrainerState, set_seed
from transformers.trainer import TRAINER_STATE_NAME

from embedstep.errors import (
    OK,
    CannotStartError,
    InvalidRequestError,
    Problem,
    StepInterruptedError,
    TrainingFailedError,
)
from embedstep.output.adapters import record_base
from embedstep.output.folder import OutputFolder
from embedstep.output.result import Movement, StepResult, read_json, write_json
from embedstep.output.weights import Space, read_space
from embedstep.planning.adapters import merges, quantization
from embedstep.planning.metrics import test_prefix
from embedstep.planning.model_checks import FLOAT32, trained_precision
from embedstep.planning.plan import Plan, plan_from_json
from embedstep.request.arguments.ledger import LedgerEntry, differences, trainer_arguments
from embedstep.request.schema import TrainRequest
from embedstep.request.stored import request_from_json
from embedstep.runtime.process import ReceivedSignal
from embedstep.runtime.world import World
from embedstep.tracking.names import flatten
from embedstep.tracking.spool import Spool, spools
from embedstep.worker.environment import export_environment, quiet_other_ranks
from embedstep.worker.interruption import record_signals
from embedstep.worker.models import build_model, merged
from embedstep.worker.movement import Snapshot, measure_movement, require_movement, take_snapshot
from embedstep.worker.prompts import set_prompts
from embedstep.worker.trainer.build import build_trainer, rows_of
from embedstep.worker.trainer.numerics import NumericsMonitor
from embedstep.worker.trainer.recording import Recorder
from embedstep.worker.trainer.saving import finish_published_model, translate_hub_errors
from embedstep.worker.trainer.stopping import EarlyStopping, StopController
from embedstep.worker.trainer.trainer import StepTrainer
from embedstep.worker.verification import embed_fixed_texts, verify

_LIBRARIES = ("sentence-transformers", "transformers", "accelerate", "datasets", "torch", "numpy", "embedstep")


class _Clock:
    """Wall time of the parts of a run, in seconds."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.monotonic()

    def lap(self, name: str) -> None:
        """Record the time since the last lap under `name`."""
        now = time.monotonic()
        self.seconds[name] = round(now - self._last, 3)
        self._last = now


def train(output: OutputFolder, world: World, received: ReceivedSignal) -> None:
    """Train, save the model, reload and compare it; rank 0 also records metrics and writes the result.

    Args:
        output: the folder with `request.json`, `plan.json` and the prepared data.
        world: the place of this process.
        received: records the signal that asks this rank to end.

    Raises:
        EmbedstepError: with the exit code for the process.
    """
    clock = _Clock()
    request = request_from_json(read_json(output.request))
    plan = plan_from_json(read_json(output.plan))
    here = plan.on_node(world.node_rank)
    quiet_other_ranks(world)
    export_environment(request)
    require_devices(request, plan, world)
    arguments = build_arguments(output, plan)
    require_world(arguments, world)
    limit_collectives(arguments)
    # Before the model is built, whose new layers start with random weights.
    set_seed(arguments.seed)
    model = build_model(request.model, fetched=plan.fetched_model, device=str(arguments.device))
    set_prompts(model, plan.prompts)
    before = take_snapshot(model, here) if world.is_first else None
    if request.model.peft:
        # PEFT is not always installed.
        from embedstep.worker.adapters import add_adapter

        add_adapter(model, request.model, recomputes=arguments.activation_checkpointing)
    # The launcher has created the spool and sends its records during the training.
    is_recorded = world.is_first and request.tracking.kind != "none"
    spool = Spool(folder=spools(output.path)[-1] if is_recorded else None)
    recorder = Recorder(output, plan, spool)
    monitor = NumericsMonitor(recorder.alarm if world.is_first else lambda alarm, step: None)
    start = read_json(output.start)
    stopping = StopController(
        received,
        request.launch.max_hours,
        partial(monitor.first_alarm, request.launch.stop_on),
        output.attempt / "interrupted",
        elapsed_seconds=start["elapsed_seconds"],
        timeout_seconds=arguments.ddp_timeout,
    )
    if request.early_stopping is not None:
        stopping.early = EarlyStopping(request.early_stopping.patience, request.early_stopping.threshold)
    try:
        with translate_hub_errors():  # the trainer creates the repository
            shown_by = recorder if world.is_first else None
            trainer = build_trainer(request, here, model, arguments, shown_by, stopping, monitor)
        spool.parameters({**flatten(_sections(request)), **arguments.to_sanitized_dict()})
        clock.lap("start")
        record_signals(received)
        _train_and_evaluate(request, plan, trainer, start)
        require_planned_steps(plan, trainer)
        require_explained(plan, arguments)
        clock.lap("train")
        # Only rank 0 does what follows, and it may take longer than a collective's time-out. A signal no longer
        # interrupts: the training is complete, and only publishing the model remains.
        _wait_for_all_ranks()
        if before is not None:
            result = _finish(request, trainer, recorder, before, clock)
            write_json(output.worker_result, result.to_json())
    finally:
        recorder.close()


def _train_and_evaluate(request: TrainRequest, plan: Plan, trainer: StepTrainer, start: Mapping[str, Any]) -> None:
    """Train from the start of the attempt and evaluate the model; when interrupted, save and end on all ranks."""
    try:
        if plan.train_steps and start["step"] < _last_step(plan, trainer, start["checkpoint"]):
            trainer.train(resume_from_checkpoint=start["checkpoint"])
        elif plan.train_steps:
            trainer.finish_from(start["checkpoint"])
        evaluate_at_end(request, plan, trainer)
        trainer.stopping.check()
    except StepInterruptedError as interrupted:
        trainer.save_interrupted()
        raise interrupted.after(trainer.state.global_step, plan.train_steps) from None


def _finish(
    request: TrainRequest, trainer: StepTrainer, recorder: Recorder, before: Snapshot, clock: _Clock
) -> StepResult:
    """Save and verify the model, and return the result with the completed ledger."""
    output, plan, spool = recorder.output, recorder.plan, recorder.spool
    cosine, space, movement = _save(trainer, request, recorder, before)
    clock.lap("save")
    ledger = tuple(asdict(entry) for entry in final_ledger(plan, trainer))
    write_json(output.ledger, ledger)
    return StepResult(
        exit_code=OK,
        output=str(output.path),
        model=str(output.model),
        metrics=recorder.metrics,
        request_fingerprint=plan.request_fingerprint,
        incomplete_tracking=tuple(spool.not_recorded),
        seconds=clock.seconds,
        versions={name: version(name) for name in _LIBRARIES},
        reload_cosine=round(cosine, 6),
        movement=movement,
        dimension=space.dimension,
        weights_sha256=space.weights,
        embedding_space_id=space.fingerprint,
        train_steps=trainer.state.global_step - recorder.first_step,
        stop_reason=trainer.stopping.stop_reason(plan.train_steps),
        padding_share=trainer.padding.share,
        ledger=ledger,
        alarms={str(alarm): step for alarm, step in trainer.monitor.alarms.items()},
    )


def _save(
    trainer: StepTrainer, request: TrainRequest, recorder: Recorder, before: Snapshot
) -> tuple[float, Space, Movement]:
    """Save the model for the launcher to publish, verify the files, and push them to the hub if requested.

    Returns:
        The smallest cosine between embeddings before saving and after loading, the embedding space, and how far the
        model moved.

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
    model.save_pretrained(str(folder))
    if request.model.peft and not merges(request.model):
        record_base(folder, str(request.model.path), request.model.revision, plan.base)
    finish_published_model(output, request, plan)
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
    return cosine, read_space(folder, dimension), movement


def _merge(model: SentenceTransformer, request: TrainRequest, plan: Plan) -> None:
    from embedstep.worker.adapters import merge_adapter

    loading = {name: value for name, value in request.model.model_kwargs.items() if name != "quantization_config"}
    base = request.model.model_copy(update={"model_kwargs": loading})
    merge_adapter(model, partial(build_model, base, fetched=plan.fetched_model, device=str(model.device)))


def _last_step(plan: Plan, trainer: StepTrainer, checkpoint: str | None) -> int:
    """Return the last train step: that of the plan, or of the checkpoint if a smaller batch was found before."""
    if checkpoint is not None and trainer.args.auto_find_batch_size:
        state = TrainerState.load_from_json(str(Path(checkpoint) / TRAINER_STATE_NAME))
        if state.train_batch_size != trainer.args.train_batch_size:
            return int(state.max_steps)
    return plan.train_steps


def require_devices(request: TrainRequest, plan: Plan, world: World) -> None:
    """Compare the GPUs that torch sees with those that the launcher has assigned.

    Raises:
        CannotStartError: they differ, so that processes would share a GPU or train on the CPU.
    """
    if request.arguments.use_cpu:
        return  # a build of torch for the CPU sees no GPU, and needs none
    seen, assigned = torch.cuda.device_count(), min(plan.gpus, world.local_world_size)
    if seen != assigned:
        raise CannotStartError(f"{assigned} GPUs are assigned to the processes of this machine, and torch sees {seen}")


def build_arguments(output: OutputFolder, plan: Plan) -> SentenceTransformerTrainingArguments:
    """Return the trainer's arguments, exactly as in the plan's ledger.

    Raises:
        InvalidRequestError: the installed class refuses a value or a combination.
    """
    try:
        return SentenceTransformerTrainingArguments(
            output_dir=str(output.checkpoints), **trainer_arguments(plan.ledger, warmup_steps=plan.warmup_steps)
        )
    except (ValueError, TypeError, KeyError, ImportError) as error:
        raise InvalidRequestError([Problem("arguments", str(error))]) from error


def require_world(arguments: Any, world: World) -> None:
    """Check that the processes form one group: otherwise each would train a copy into the same folder.

    Raises:
        CannotStartError: the trainer's world size differs from torchrun's.
    """
    if arguments.world_size != world.world_size:
        raise CannotStartError(
            f"{world.world_size} processes were started, and the trainer sees {arguments.world_size}"
        )


def limit_collectives(arguments: SentenceTransformerTrainingArguments) -> None:
    """Apply `ddp_timeout` on a CPU too, where transformers leaves torch's 30 minutes."""
    if arguments.use_cpu and torch.distributed.is_initialized():
        torch.distributed.distributed_c10d._set_pg_timeout(arguments.ddp_timeout_delta)


def require_planned_steps(plan: Plan, trainer: StepTrainer) -> None:
    """Compare the steps made with those of the plan, unless a time limit or another batch size has changed them.

    Raises:
        TrainingFailedError: they differ.
    """
    is_stopped = trainer.stopping.stop_reason(plan.train_steps) is not None
    has_found_size = trainer.batch_size_found != trainer.args.train_batch_size  # by `auto_find_batch_size`
    steps = trainer.state.global_step
    if not is_stopped and not has_found_size and steps != plan.train_steps:
        raise TrainingFailedError(f"the plan has {plan.train_steps} train steps, and {steps} were made")


def evaluate_at_end(request: TrainRequest, plan: Plan, trainer: StepTrainer) -> None:
    """Evaluate the final model, unless that was just done, and compute the loss on data.test."""
    last = next((log["step"] for log in reversed(trainer.state.log_history) if _is_evaluation(log)), None)
    if plan.train_steps in plan.evaluations and last != trainer.state.global_step:
        trainer.evaluate()
    # An evaluator's scores on its own rows would be logged under the name of the test data.
    evaluator, trainer.evaluator = trainer.evaluator, None
    for item in plan.datasets:
        if item.split == "test":
            prefix = test_prefix(request, item.name)
            if any(key.startswith(f"{prefix}_") for log in trainer.state.log_history for key in log):
                continue  # done by an earlier attempt
            rows = rows_of(item)
            if len(request.data.train) > 1:
                # With several datasets, the trainer finds the loss by a column with the name of the dataset.
                rows = trainer.preprocess_dataset(datasets.DatasetDict({item.name: rows}))[item.name]
            trainer.log(trainer.predict(rows, metric_key_prefix=prefix).metrics)
    trainer.evaluator = evaluator


def _is_evaluation(log: Mapping[str, Any]) -> bool:
    return any(key.startswith("eval_") for key in log)


def require_explained(plan: Plan, arguments: SentenceTransformerTrainingArguments) -> None:
    """Compare the trainer's arguments after the training with the ledger.

    Raises:
        TrainingFailedError: they differ, and the ledger gives no reason.
    """
    if unexplained := list(differences(plan.ledger, arguments.to_dict())):
        raise TrainingFailedError(f"arguments differ from the ledger: {'; '.join(unexplained)}")


def _sections(request: TrainRequest) -> dict[str, Any]:
    """Return the sections of a request to record as parameters, without `arguments`, recorded by their own class.

    `resume` may differ between attempts of one run, and MLflow lets no attempt change a parameter.
    """
    return request.model_dump(mode="json", exclude={"arguments", "resume"})


def final_ledger(plan: Plan, trainer: StepTrainer) -> Iterator[LedgerEntry]:
    """Yield the plan's ledger, completed with the batch size that was found."""
    for entry in plan.ledger:
        was_found = entry.name == "auto_find_batch_size" and entry.value
        yield replace(entry, effect=f"{trainer.batch_size_found} rows fit") if was_found else entry


def _wait_for_all_ranks() -> None:
    """Wait until every rank has finished training. The process group is not destroyed: see `runtime.exit`."""
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
