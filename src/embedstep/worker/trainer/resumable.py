"""A trainer that may be interrupted after any step, or inside an evaluation, and gone on from to the same weights."""

import shutil
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformerTrainer
from transformers import TrainerState
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import SaveStrategy, rotate_checkpoints

from embedstep.errors import StepInterruptedError
from embedstep.output.checkpoints import STAGING_DIR, checkpoints_in, fsync_directory
from embedstep.worker.trainer.callbacks import AfterResume, ExactIntervals
from embedstep.worker.trainer.loop_state import LoopState, loop_state_of, share_states
from embedstep.worker.trainer.loss_parameters import load_own_layers, save_own_layers
from embedstep.worker.trainer.numerics import NumericsMonitor
from embedstep.worker.trainer.rng_state import random_states, set_random_states
from embedstep.worker.trainer.saving import complete_saved, writing_here
from embedstep.worker.trainer.stopping import StopController


class ResumableTrainer(SentenceTransformerTrainer):  # type: ignore[misc]
    """The library's trainer with checkpoints that are whole or not there.

    `save_on_each_node` and the seed's `save_safetensors` mean what they say, too.
    """

    control: Any
    _predicts = False

    def __init__(
        self,
        *,
        save_safetensors: bool = True,
        stopping: StopController | None = None,
        monitor: NumericsMonitor | None = None,
        write_manifest: Callable[[Path], None] = lambda checkpoint: None,
        **options: Any,
    ) -> None:
        """Build the library's trainer.

        Args:
            save_safetensors: write safetensors, and not torch's own files.
            stopping: whether the ranks are to end before the last step; None for no signal and no limit.
            monitor: looks for numbers that have gone bad, or None.
            write_manifest: completes a checkpoint whose files are written, before it gets its name.
            options: of the library's trainer.
        """
        self._save_safetensors = save_safetensors
        self._seal = write_manifest
        self._aside: Path | None = None
        self._checkpoint: Path | None = None
        self._has_trained = False
        self._states_after_due: Any = None
        self._takes_up = False
        self._initial_global_step = self._summed_from = 0
        self._total_loss_scalar, self._tr_loss = 0.0, torch.tensor(0.0)
        self._beside = ThreadPoolExecutor(1)
        self._publishing: Future[None] | None = None
        self._last_log: tuple[Any, float | None] = (None, None)
        super().__init__(**options)
        self._stopping = stopping or StopController()
        self._place = AfterResume(self._go_on)
        self._watching = monitor
        if monitor:
            monitor.watch(self.model)
        for callback in (monitor, ExactIntervals(), self._place, self._stopping):
            if callback:
                self.add_callback(callback)

    def train(self, resume_from_checkpoint: str | None = None, **options: Any) -> Any:
        """Train. An evaluation at the start is none where the training goes on.

        Raises:
            StepInterruptedError: on all ranks after the same step; what is due then is not done yet.
        """
        self._checkpoint = None if resume_from_checkpoint is None else Path(resume_from_checkpoint)
        at_start = self.args.eval_on_start
        self.args.eval_on_start = at_start and resume_from_checkpoint is None
        try:
            ended = super().train(resume_from_checkpoint, **options)
            self._has_trained = True
            return ended
        finally:
            self._require_published()
            self.args.eval_on_start = at_start

    def take_up(self, checkpoint: str) -> None:
        """Load what a training has ended with, from the checkpoint of its last step, and do what was due after that.

        The library would make one step more of a training that ends inside an epoch.
        """
        self._checkpoint = Path(checkpoint)
        self.state = TrainerState.load_from_json(str(self._checkpoint / TRAINER_STATE_NAME))
        self._initial_global_step = self.state.global_step
        if self.args.auto_find_batch_size:
            self._train_batch_size = self.state.train_batch_size
        self._load_from_checkpoint(checkpoint)
        self.callback_handler.optimizer = self.create_optimizer()  # which the library's own callbacks ask for
        self._takes_up = self.is_in_train = True  # in which evaluations have other names
        try:
            self.callback_handler.on_train_begin(self.args, self.state, self.control)
        finally:
            self._takes_up = self.is_in_train = False
        self._has_trained = True
        if self._steps_summed and not any("train_loss" in log for log in self.state.log_history):
            self._total_loss_scalar += float(self._tr_loss)
            self.log({"total_flos": self.state.total_flos, "train_loss": 0.0})
        if self.args.load_best_model_at_end and self.state.best_model_checkpoint is not None:
            self._load_best_model()
        self.control = self.callback_handler.on_train_end(self.args, self.state, self.control)

    def _go_on(self) -> None:
        """Take up the sums of the losses, and do what was due after the step of the checkpoint."""
        self._summed_from = self.state.global_step
        if self._checkpoint is None:
            return
        load_own_layers(self.loss, self.model, self.optimizer, self._checkpoint, self.args.process_index)
        loop = loop_state_of(self._checkpoint, self.args.process_index)
        if loop is None:  # of another program's checkpoint
            return
        self._summed_from = loop.summed_from
        super()._load_rng_state(str(self._checkpoint))
        self._tr_loss = torch.tensor(loop.loss, device=self.args.device)
        self._total_loss_scalar, self._globalstep_last_logged = loop.total_loss, loop.logged
        self._place.epoch_has_ended = not loop.end_epoch
        if self._watching and loop.numbers:
            self._watching.go_on_from(loop.numbers)
        step = (self._tr_loss, loop.grad_norm, self.model, None, self.state.epoch, None, time.time())
        self.control.should_evaluate, self.control.should_save = loop.evaluate, loop.save
        self._maybe_log_save_evaluate(*step, learning_rate=loop.learning_rate)
        if loop.end_epoch:
            self.control = self.callback_handler.on_epoch_end(self.args, self.state, self.control)
            self._maybe_log_save_evaluate(*step, learning_rate=loop.learning_rate)
        self.control.should_evaluate = self.control.should_save = False
        self._states_after_due = random_states()

    @property
    def _steps_summed(self) -> int:
        """Train steps whose losses are known; those before a checkpoint of another program's are not."""
        return int(self.state.global_step - self._summed_from)

    def _maybe_log_save_evaluate(self, tr_loss: Any, grad_norm: Any, *arguments: Any, **options: Any) -> None:
        """Do what is due after a step, or only log where the training is interrupted."""
        self._last_log = (grad_norm, options.get("learning_rate"))
        if self._watching:
            self._watching.is_skipped = self.accelerator.optimizer_step_was_skipped
        due = self.control.should_evaluate, self.control.should_save
        if self._stopping.is_interrupted:
            self.control.should_evaluate = self.control.should_save = False
        super()._maybe_log_save_evaluate(tr_loss, grad_norm, *arguments, **options)
        if self._stopping.is_interrupted:
            self.control.should_evaluate, self.control.should_save = due
            self._stopping.require_uninterrupted()

    def evaluate(self, *arguments: Any, **options: Any) -> dict[str, float]:
        """Evaluate; interrupted, leave things as they were before, for the next attempt does it from its beginning."""
        logged, states, is_due = len(self.state.log_history), random_states(), self.control.should_evaluate
        try:
            found: dict[str, float] = super().evaluate(*arguments, **options)
            return found
        except StepInterruptedError:
            del self.state.log_history[logged:]
            set_random_states(states)  # each loader draws a seed
            self.control.should_evaluate = is_due  # the end of one of several datasets takes it back
            raise

    def _load_rng_state(self, checkpoint: str) -> None:
        """Go on with the random numbers as what was due after the checkpoint's step has left them."""
        if self._states_after_due is None:
            super()._load_rng_state(checkpoint)
        else:
            set_random_states(self._states_after_due)

    def log(self, logs: dict[str, float], *arguments: Any) -> None:
        """Log; the mean loss of a training is that of all its steps, and not of this attempt's.

        How long the library took to prepare a model that it has not trained is no metric.
        """
        for name in [name for name in logs if name.endswith("_model_preparation_time")]:
            del logs[name]
        # An evaluator of somebody's own may give a tensor, with which no later checkpoint could be written.
        logs |= {name: value.tolist() for name, value in logs.items() if hasattr(value, "tolist")}
        if "train_loss" in logs and self._steps_summed:  # the last losses are in the total by now
            logs["train_loss"] = self._total_loss_scalar / self._steps_summed
        super().log(logs, *arguments)

    def training_step(self, *arguments: Any, **options: Any) -> torch.Tensor:
        """Have the loss of each batch looked at."""
        loss: torch.Tensor = super().training_step(*arguments, **options)
        if self._watching:
            self._watching.loss_of_step(loss)
        return loss

    def prediction_step(self, *arguments: Any, **options: Any) -> Any:
        """Look whether the ranks are to end, before each batch."""
        self._stopping.check()
        self._predicts = True
        try:
            return super().prediction_step(*arguments, **options)
        finally:
            self._predicts = False

    def evaluation_loop(self, *arguments: Any, **options: Any) -> Any:
        """Look whether the ranks are to end before each batch that an evaluator encodes, too."""
        looking = self.model.register_forward_pre_hook(
            lambda *_: None if self._predicts else self._stopping.require_no_sign()
        )
        try:
            return super().evaluation_loop(*arguments, **options)
        except (RuntimeError, StepInterruptedError) as error:
            # Where one rank has left an evaluator, the library raises the traceback on all, as the text of an error.
            is_left = StepInterruptedError.__name__ in f"{type(error).__name__}: {error}"
            if is_left and not self._stopping.is_interrupted:
                self._stopping.check()
            raise
        finally:
            looking.remove()

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """Save on the ranks that are to; the library lets every rank write the same files at once."""
        if not self.args.should_save:
            return
        with writing_here(self.model):
            super()._save(output_dir, state_dict)
        complete_saved(Path(output_dir or self.args.output_dir), safetensors=self._save_safetensors)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Write a checkpoint aside, and give it its name when it is whole on all ranks; of bad numbers is none."""
        if self._watching:
            self._watching.check(self.state.global_step)
            self._stopping.look_at_numbers()
        self._settle()
        folder, name = Path(self.args.output_dir), f"checkpoint-{self.state.global_step}"
        if self._takes_up:  # it lies there already
            self._find_best(folder)
            return
        self._aside = folder / STAGING_DIR
        try:
            super()._save_checkpoint(model, trial)
            if not self.args.save_only_model:
                self._loop_state().write(self._aside / name, self.args.process_index)
                save_own_layers(self.loss, self.model, self.optimizer, self._aside / name, self.args.process_index)
            self.accelerator.wait_for_everyone()
            if self.args.save_on_each_node and torch.distributed.is_initialized():
                share_states(self._aside / name, self.args.process_index, writes=self.args.should_save)
            self._find_best(folder)
            if self.args.should_save:
                # The state that was written says that the best checkpoint lies aside.
                self.state.save_to_json(str(self._aside / name / TRAINER_STATE_NAME))
                best = self.state.best_model_checkpoint
                self._publishing = self._beside.submit(self._publish, self._aside / name, folder / name, best)
        finally:
            self._aside = None
        if self.args.push_to_hub:
            self._settle()
            self._push_from_checkpoint(str(folder / name))

    def _settle(self) -> None:
        """Wait on all ranks until the checkpoint that was written last has its name."""
        self._require_published()
        self.accelerator.wait_for_everyone()

    def _require_published(self) -> None:
        publishing, self._publishing = self._publishing, None
        if publishing is not None:
            publishing.result()

    def save_interrupted(self) -> None:
        """Save where the ranks have stopped, for the next attempt to go on from, whatever the request keeps otherwise.

        A model that is no longer that of the last step, and a step that a checkpoint is there of, are left alone.
        """
        is_best = self._has_trained and self.args.load_best_model_at_end
        if self.state.global_step <= self._initial_global_step or is_best:
            return
        self.args.save_only_model = self.args.push_to_hub = False
        self._save_checkpoint(self.model, trial=None)
        self._settle()

    def _loop_state(self) -> LoopState:
        grad_norm, learning_rate = self._last_log
        leaves_epoch = float(self.state.epoch or 0).is_integer() or self.state.global_step >= self.state.max_steps
        return LoopState(
            loss=float(self._tr_loss),
            total_loss=self._total_loss_scalar,
            summed_from=self._summed_from,
            logged=self._globalstep_last_logged,
            grad_norm=None if grad_norm is None else float(grad_norm),
            learning_rate=learning_rate,
            evaluate=self.control.should_evaluate,
            save=self.control.should_save and self._stopping.is_interrupted,
            end_epoch=leaves_epoch and not self._place.epoch_has_ended,
            numbers=self._watching.found if self._watching else None,
        )

    def _publish(self, written: Path, checkpoint: Path, best: str | None) -> None:
        """Complete a checkpoint and give it its name, while the training goes on: digests take as long as writing."""
        self._seal(written)
        own = int(checkpoint.name.rpartition("-")[2])
        for step, other in list(checkpoints_in(checkpoint.parent)):
            # Of an attempt that had come further, and that this one has not gone on from.
            if step >= own:
                other.rename(written.with_name(f"{other.name}.before"))
        written.rename(checkpoint)
        fsync_directory(checkpoint.parent)
        shutil.rmtree(written.parent)
        rotate_checkpoints(str(checkpoint.parent), self.args.save_total_limit, best, use_mtime=False)

    def _finalize_training(self, *arguments: Any) -> Any:
        """Remove checkpoints that are too many only once the last one is there."""
        self._settle()
        return super()._finalize_training(*arguments)

    def _load_best_model(self) -> None:
        """Load it once it is there; the library goes on with the last one where that fails."""
        self._settle()
        self.model.model_card_data.set_best_model_step(self.state.best_global_step)
        self._load_from_checkpoint(self.state.best_model_checkpoint)

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        """Compare models that a checkpoint is there of, as 4.37 did: no other could be loaded in the end."""
        is_saved = self.control.should_save or self.args.save_strategy == SaveStrategy.BEST
        return bool(is_saved and super()._determine_best_metric(metrics, trial))

    def _find_best(self, folder: Path) -> None:
        """Say where the best checkpoint lies or will: the library looks for it aside."""
        if self.state.best_global_step is None:
            return
        best = folder / f"checkpoint-{self.state.best_global_step}"
        if best.exists() or self.state.best_global_step == self.state.global_step:
            self.state.best_model_checkpoint = str(best)

    def _get_output_dir(self, trial: Any = None) -> Any:
        """Have the library write a checkpoint aside, and count those there for its own rotation, by the clock."""
        return super()._get_output_dir(trial) if self._aside is None else str(self._aside)

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        """Push a checkpoint once it has its name."""
        if self._aside is None:
            super()._push_from_checkpoint(checkpoint_folder)
