"""The training on one rank, from the prepared data to the verified model. `train` reads from top to bottom."""

import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformerTrainingArguments
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
from embedstep.output.folder import OutputFolder
from embedstep.output.result import StepResult, change_metrics, read_json, write_json
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
from embedstep.worker.models import build_model
from embedstep.worker.movement import Snapshot, take_snapshot
from embedstep.worker.prompts import set_prompts
from embedstep.worker.publishing import publish_model, versions
from embedstep.worker.trainer.before_after import score_base, score_published
from embedstep.worker.trainer.build import build_trainer
from embedstep.worker.trainer.final_evaluation import evaluate_at_end
from embedstep.worker.trainer.numerics import NumericsMonitor
from embedstep.worker.trainer.recording import Recorder
from embedstep.worker.trainer.saving import translate_hub_errors
from embedstep.worker.trainer.stopping import EarlyStopping, StopController
from embedstep.worker.trainer.trainer import StepTrainer


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
    quiet_other_ranks(world)
    export_environment(request)
    require_devices(request, plan, world)
    # The launcher has created the spool and sends its records during the training.
    is_recorded = world.is_first and request.tracking.kind != "none"
    spool = Spool(folder=spools(output.path)[-1] if is_recorded else None)
    with closing(Recorder(output, plan, spool, is_shown=world.is_first)) as recorder:
        _train_rank(request, recorder, world, received, clock)


def _train_rank(
    request: TrainRequest, recorder: Recorder, world: World, received: ReceivedSignal, clock: _Clock
) -> None:
    """Train on this rank; see `train`."""
    output, plan, spool = recorder.output, recorder.plan, recorder.spool
    here = plan.on_node(world.node_rank)
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
    monitor = NumericsMonitor(recorder.alarm if world.is_first else lambda alarm, step: None)
    recorder.progress.read_loss = monitor.read_loss
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
    with translate_hub_errors():  # the trainer creates the repository
        shown_by = recorder if world.is_first else None
        trainer = build_trainer(request, here, model, arguments, shown_by, stopping, monitor)
    spool.parameters({**flatten(_sections(request)), **arguments.to_sanitized_dict()})
    clock.lap("start")
    record_signals(received)
    _train_and_evaluate(request, trainer, start, recorder, clock)
    require_planned_steps(plan, trainer)
    require_explained(plan, arguments)
    clock.lap("train")
    # Only rank 0 does what follows, and it may take longer than a collective's time-out. A signal no longer
    # interrupts: the training is complete, and only publishing the model remains.
    _wait_for_all_ranks()
    if before is not None:
        recorder.progress.activity = "saving and verifying the model"
        result = _finish(request, trainer, recorder, before, clock)
        write_json(output.worker_result, result.to_json())


def _train_and_evaluate(
    request: TrainRequest, trainer: StepTrainer, start: Mapping[str, Any], recorder: Recorder, clock: _Clock
) -> None:
    """Train from the start of the attempt and evaluate the model; when interrupted, save and end on all ranks."""
    plan = recorder.plan
    has_base = request.evaluate_base and plan.evaluations and plan.train_steps
    try:
        if plan.train_steps:
            recorder.announce()
        if has_base:
            recorder.progress.activity = "evaluation of the base model"
            score_base(request, plan, trainer, recorder.record_base, resumes=start["checkpoint"] is not None)
            clock.lap("base")
        if plan.train_steps and start["step"] < _last_step(plan, trainer, start["checkpoint"]):
            trainer.train(resume_from_checkpoint=start["checkpoint"])
        elif plan.train_steps:
            trainer.finish_from(start["checkpoint"])
        evaluate_at_end(request, plan, trainer)
        if has_base:
            score_published(trainer)
        trainer.stopping.check()
    except StepInterruptedError as interrupted:
        trainer.save_interrupted()
        raise interrupted.after(trainer.state.global_step, plan.train_steps) from None


def _finish(
    request: TrainRequest, trainer: StepTrainer, recorder: Recorder, before: Snapshot, clock: _Clock
) -> StepResult:
    """Save and verify the model, and return the result with the completed ledger."""
    output, plan, spool = recorder.output, recorder.plan, recorder.spool
    changes = trainer.evaluator.changes() if trainer.evaluator is not None else {}
    spool.metrics(change_metrics(changes), train_step=trainer.state.global_step)
    published = publish_model(trainer, request, recorder, before, changes)
    clock.lap("save")
    ledger = tuple(asdict(entry) for entry in final_ledger(plan, trainer))
    write_json(output.ledger, ledger)
    return StepResult(
        exit_code=OK,
        output=str(output.path),
        model=str(output.model),
        metrics=recorder.metrics,
        changes=changes,
        request_fingerprint=plan.request_fingerprint,
        incomplete_tracking=tuple(spool.not_recorded),
        seconds=clock.seconds,
        versions=versions(),
        reload_cosine=round(published.cosine, 6),
        movement=published.movement,
        dimension=published.space.dimension,
        weights_sha256=published.space.weights,
        embedding_space_id=published.space.fingerprint,
        train_steps=trainer.state.global_step - recorder.first_step,
        stop_reason=trainer.stopping.stop_reason(plan.train_steps),
        padding_share=trainer.padding.share,
        ledger=ledger,
        alarms={str(alarm): step for alarm, step in trainer.monitor.alarms.items()},
    )


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
