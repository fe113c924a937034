"""A trainer that can be interrupted at any step or inside an evaluation, and resumes to bit-identical weights."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerState
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import SaveStrategy

from embedstep.output.checkpoints import STAGING_DIR
from embedstep.worker.models import has_adapter
from embedstep.worker.trainer.callbacks import AfterResume, ExactIntervals
from embedstep.worker.trainer.interruptible import InterruptibleTrainer
from embedstep.worker.trainer.loop_state import LoopState, exchange_states, read_loop_state
from embedstep.worker.trainer.loss_parameters import load_loss_parameters, save_loss_parameters
from embedstep.worker.trainer.numerics import NumericsMonitor
from embedstep.worker.trainer.publisher import CheckpointPublisher
from embedstep.worker.trainer.rng_state import get_rng_states, set_rng_states
from embedstep.worker.trainer.saving import finish_saved_model, saving_on_this_rank
from embedstep.worker.trainer.stopping import StopController


class ResumableTrainer(InterruptibleTrainer):
    """The library's trainer with checkpoints that are complete or absent.

    It also honors `save_on_each_node` and `save_safetensors`. `tests/hooks.py` says why each method is overridden.
    """

    def __init__(
        self,
        *,
        save_safetensors: bool,
        stopping: StopController,
        monitor: NumericsMonitor,
        write_manifest: Callable[[Path], None] = lambda checkpoint: None,
        **options: Any,
    ) -> None:
        """Build the library's trainer.

        Args:
            save_safetensors: write safetensors instead of torch's own files.
            stopping: ends the training before its last step.
            monitor: watches for divergence.
            write_manifest: writes the manifest of a checkpoint, after its other files and before it gets its name.
            options: arguments of the library's trainer.
        """
        self._save_safetensors = save_safetensors
        self._staging: Path | None = None
        self._checkpoint: Path | None = None
        self._has_trained = False
        self._rng_after_due: Any = None
        self._is_finishing = False
        self._first_step = self._summed_from = 0
        self._total_loss_scalar, self._tr_loss = 0.0, torch.tensor(0.0)
        self._publisher = CheckpointPublisher(write_manifest)
        self._last_log: tuple[Any, float | None] = (None, None)
        super().__init__(stopping=stopping, **options)
        self.monitor = monitor
        self._after_resume = AfterResume(self._restore_loop)
        monitor.attach(self.model)
        for callback in (monitor, ExactIntervals(), self._after_resume, stopping):
            self.add_callback(callback)

    def train(self, resume_from_checkpoint: str | None = None, **options: Any) -> Any:
        """Train. `eval_on_start` evaluates only at the start of a new training, not when it resumes.

        Raises:
            StepInterruptedError: on all ranks after the same step, before what is due then.
        """
        self._checkpoint = None if resume_from_checkpoint is None else Path(resume_from_checkpoint)
        at_start = self.args.eval_on_start
        self.args.eval_on_start = at_start and resume_from_checkpoint is None
        try:
            ended = super().train(resume_from_checkpoint, **options)
            self._has_trained = True
            return ended
        finally:
            self._publisher.join()
            # The arguments are compared with the ledger after the training.
            self.args.eval_on_start = at_start

    def finish_from(self, checkpoint: str) -> None:
        """Load the checkpoint of the last step, and do only what was due after it.

        The library's `train` would make one more step if the training ends inside an epoch.
        """
        self._checkpoint = Path(checkpoint)
        self.state = TrainerState.load_from_json(str(self._checkpoint / TRAINER_STATE_NAME))
        if self.args.auto_find_batch_size:
            self._train_batch_size = self.state.train_batch_size
        self._load_from_checkpoint(checkpoint)
        self.callback_handler.optimizer = self.create_optimizer()  # the library's callbacks read it
        self._is_finishing = self.is_in_train = True  # names the metrics of evaluations
        try:
            self.callback_handler.on_train_begin(self.args, self.state, self.control)
        finally:
            self._is_finishing = self.is_in_train = False
        self._has_trained = True
        if self._steps_summed and not any("train_loss" in log for log in self.state.log_history):
            self._total_loss_scalar += float(self._tr_loss)
            self.log({"total_flos": self.state.total_flos, "train_loss": 0.0})
        if self.args.load_best_model_at_end and self.state.best_model_checkpoint is not None:
            self._load_best_model()
        self.control = self.callback_handler.on_train_end(self.args, self.state, self.control)

    def _restore_loop(self) -> None:
        """Restore the sums of the losses, and do what was due after the step of the checkpoint."""
        self._first_step = self._summed_from = self.state.global_step
        if self._checkpoint is None:
            return
        load_loss_parameters(self.loss, self.model, self.optimizer, self._checkpoint, self.args.process_index)
        loop = read_loop_state(self._checkpoint, self.args.process_index)
        if loop is None:  # another program wrote the checkpoint
            return
        self._summed_from = loop.summed_from
        super()._load_rng_state(str(self._checkpoint))
        self._tr_loss = torch.tensor(loop.loss, device=self.args.device)
        self._total_loss_scalar, self._globalstep_last_logged = loop.total_loss, loop.logged
        self._after_resume.epoch_has_ended = not loop.end_epoch
        if loop.numbers:
            self.monitor.restore(loop.numbers)
        self.stopping.without_gain = loop.without_gain
        self.stopping.end_early(self.state, self.control)
        step = (self._tr_loss, loop.grad_norm, self.model, None, self.state.epoch, None, time.time())
        self.control.should_evaluate, self.control.should_save = loop.evaluate, loop.save
        self._maybe_log_save_evaluate(*step, learning_rate=loop.learning_rate)
        if loop.end_epoch or self.control.should_training_stop:
            self.control = self.callback_handler.on_epoch_end(self.args, self.state, self.control)
            self._maybe_log_save_evaluate(*step, learning_rate=loop.learning_rate)
        self.control.should_evaluate = self.control.should_save = False
        self._rng_after_due = get_rng_states()

    @property
    def _steps_summed(self) -> int:
        """Train steps whose losses are known, which excludes those before a checkpoint of another program."""
        return int(self.state.global_step - self._summed_from)

    def _maybe_log_save_evaluate(self, tr_loss: Any, grad_norm: Any, *arguments: Any, **options: Any) -> None:
        """Do what is due after a step; when interrupted, only log, and put off the rest until after resuming."""
        self._last_log = (grad_norm, options.get("learning_rate"))
        self.monitor.step_was_skipped = self.accelerator.optimizer_step_was_skipped
        due = self.control.should_evaluate, self.control.should_save
        if self.stopping.is_interrupted:
            self.control.should_evaluate = self.control.should_save = False
        super()._maybe_log_save_evaluate(tr_loss, grad_norm, *arguments, **options)
        if self.stopping.is_interrupted:
            self.control.should_evaluate, self.control.should_save = due
            self.stopping.require_uninterrupted()

    def _load_rng_state(self, checkpoint: str) -> None:
        """Restore the random states of the checkpoint, or those after what was due at its step."""
        if self._rng_after_due is None:
            super()._load_rng_state(checkpoint)
        else:
            set_rng_states(self._rng_after_due)

    def log(self, logs: dict[str, float], *arguments: Any) -> None:
        """Log, with the mean loss over all attempts, and without the time to prepare a model for an evaluation."""
        for name in [name for name in logs if name.endswith("_model_preparation_time")]:
            del logs[name]
        # A user's evaluator may return a tensor, which the state of a checkpoint cannot hold.
        logs |= {name: value.tolist() for name, value in logs.items() if hasattr(value, "tolist")}
        if "train_loss" in logs and self._steps_summed:  # the total includes the last losses by now
            logs["train_loss"] = self._total_loss_scalar / self._steps_summed
        super().log(logs, *arguments)

    def training_step(self, *arguments: Any, **options: Any) -> torch.Tensor:
        """Show the loss of each batch to the monitor."""
        loss: torch.Tensor = super().training_step(*arguments, **options)
        self.monitor.record_loss(loss)
        return loss

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """Save on one rank per folder; the library lets all ranks write the same files at once."""
        if not self.args.should_save:
            return
        with saving_on_this_rank(self.model):
            super()._save(output_dir, state_dict)
        finish_saved_model(Path(output_dir or self.args.output_dir), safetensors=self._save_safetensors)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Write a checkpoint to the staging folder and publish it once all ranks have written their part.

        Raises:
            DivergedError: the weights have diverged and `launch.stop_on` names the alarm, so nothing is saved.
        """
        self.monitor.check(self.state.global_step)
        self.stopping.check_before_save()
        self._wait_until_published()
        folder, name = Path(self.args.output_dir), f"checkpoint-{self.state.global_step}"
        if self._is_finishing:  # it exists already
            self._set_best_checkpoint(folder)
            return
        self._staging, rank = folder / STAGING_DIR, self.args.process_index
        written = self._staging / name
        try:
            super()._save_checkpoint(model, trial)
            if not self.args.save_only_model:
                self._loop_state().write(written, rank)
                save_loss_parameters(self.loss, self.model, self.optimizer, written, rank)
            self.accelerator.wait_for_everyone()
            if self.args.save_on_each_node and torch.distributed.is_initialized():
                exchange_states(written, rank, writes=self.args.should_save)
            self._set_best_checkpoint(folder)
            if self.args.should_save:
                # The state written so far names the best checkpoint in the staging folder.
                self.state.save_to_json(str(written / TRAINER_STATE_NAME))
                limit, best = self.args.save_total_limit, self.state.best_model_checkpoint
                self._publisher.submit(written, folder / name, limit=limit, best=best)
        finally:
            self._staging = None
        if self.args.push_to_hub:
            self._wait_until_published()
            self._push_from_checkpoint(str(folder / name))

    def _wait_until_published(self) -> None:
        """Wait on all ranks until the last checkpoint has its name."""
        self._publisher.join()
        self.accelerator.wait_for_everyone()

    def save_interrupted(self) -> None:
        """Save a checkpoint where the ranks have stopped, whatever the request saves otherwise.

        Nothing is saved after the best model was loaded, or if this attempt has made no step.
        """
        is_best = self._has_trained and self.args.load_best_model_at_end
        if self.state.global_step <= self._first_step or is_best:
            return
        # The next attempt needs the optimizer, and there is no time for an upload.
        self.args.save_only_model = self.args.push_to_hub = False
        self._save_checkpoint(self.model, trial=None)
        self._wait_until_published()

    def _loop_state(self) -> LoopState:
        grad_norm, learning_rate = self._last_log
        ends_epoch = float(self.state.epoch or 0).is_integer() or self.state.global_step >= self.state.max_steps
        return LoopState(
            loss=float(self._tr_loss),
            total_loss=self._total_loss_scalar,
            summed_from=self._summed_from,
            logged=self._globalstep_last_logged,
            grad_norm=None if grad_norm is None else float(grad_norm),
            learning_rate=learning_rate,
            evaluate=self.control.should_evaluate,
            save=self.control.should_save and self.stopping.is_interrupted,
            end_epoch=ends_epoch and not self._after_resume.epoch_has_ended,
            without_gain=self.stopping.without_gain,
            numbers=self.monitor.state,
        )

    def _finalize_training(self, *arguments: Any) -> Any:
        """Wait for the last checkpoint before the library removes old ones."""
        self._wait_until_published()
        return super()._finalize_training(*arguments)

    def _load_best_model(self) -> None:
        """Wait for the best checkpoint and load it; on failure the library would warn and keep the last model."""
        self._wait_until_published()
        self.model.model_card_data.set_best_model_step(self.state.best_global_step)
        self._load_from_checkpoint(self.state.best_model_checkpoint)

    def _load_from_checkpoint(self, checkpoint_path: str) -> None:
        """Load a checkpoint with an adapter, too, which the library would look for the base's weights in."""
        if not has_adapter(self.model):
            super()._load_from_checkpoint(checkpoint_path)
            return
        # PEFT is not always installed.
        from embedstep.worker.adapters import load_checkpoint

        load_checkpoint(self.model, Path(checkpoint_path))

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        """Count only models with a checkpoint, as transformers 4.37 did: no other can be loaded in the end."""
        is_saved = self.control.should_save or self.args.save_strategy == SaveStrategy.BEST
        return bool(is_saved and super()._determine_best_metric(metrics, trial))

    def _set_best_checkpoint(self, folder: Path) -> None:
        """Record the final path of the best checkpoint; the library looks for it in the staging folder."""
        if self.state.best_global_step is None:
            return
        best = folder / f"checkpoint-{self.state.best_global_step}"
        if best.exists() or self.state.best_global_step == self.state.global_step:
            self.state.best_model_checkpoint = str(best)

    def _get_output_dir(self, trial: Any = None) -> Any:
        """Return the staging folder while a checkpoint is written; the library also rotates checkpoints only there."""
        return super()._get_output_dir(trial) if self._staging is None else str(self._staging)

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        """Push a checkpoint only after it has its name."""
        if self._staging is None:
            super()._push_from_checkpoint(checkpoint_folder)
