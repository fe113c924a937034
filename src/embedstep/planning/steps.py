"""How many train steps a run makes, and after which of them it evaluates and saves.

The arithmetic is that of the installed trainer, except that the last step gets no checkpoint of its own, as in
sentence-transformers 3.0. A test trains for real and compares.
"""

import math
from collections.abc import Iterator, Sequence

from embedstep.request.arguments.schema import Arguments

_SHOWN_STEPS = 6


def count_train_steps(arguments: Arguments, steps_per_epoch: int) -> int:
    """Return the train steps of the run: `max_steps` if positive, else `num_train_epochs` passes."""
    if arguments.max_steps > 0:
        return arguments.max_steps if steps_per_epoch else 0
    return math.ceil(arguments.num_train_epochs * steps_per_epoch)


def count_warmup_steps(arguments: Arguments, train_steps: int) -> int:
    """Return the train steps until the learning rate reaches its peak.

    A positive `warmup_steps` wins over `warmup_ratio`, as in transformers 4.37.2 (`get_warmup_steps`); a value below 1
    is a share of all steps, as in transformers 5.
    """
    if arguments.warmup_steps > 0:
        amount = arguments.warmup_steps
        return int(amount) if amount >= 1 else math.ceil(train_steps * amount)
    return math.ceil(train_steps * (arguments.warmup_ratio or 0))


def interval_in_steps(amount: float, train_steps: int) -> int:
    """Return `eval_steps` or `save_steps` as a number of steps; a value below 1 is a share of all, rounded up."""
    return math.ceil(train_steps * amount) if amount < 1 else int(amount)


def evaluation_steps(arguments: Arguments, train_steps: int, steps_per_epoch: int) -> tuple[int, ...]:
    """Return the train steps after which an evaluation runs; 0 is before the first."""
    start = (0,) if arguments.eval_on_start else ()
    is_last = (arguments.eval_strategy == "steps" and train_steps > 0) or arguments.do_eval
    after = {*due_evaluations(arguments, train_steps, steps_per_epoch), *((train_steps,) if is_last else ())}
    return start + tuple(sorted(after - set(start)))


def due_evaluations(arguments: Arguments, train_steps: int, steps_per_epoch: int) -> tuple[int, ...]:
    """Return the train steps after which the trainer evaluates by itself; embedstep adds the last one."""
    delay = arguments.eval_delay or 0
    if arguments.eval_strategy == "epoch":
        return tuple(step for step in _epoch_ends(train_steps, steps_per_epoch) if delay <= step / steps_per_epoch)
    if arguments.eval_strategy == "steps":
        every = interval_in_steps(arguments.eval_steps or arguments.logging_steps, train_steps)
        return tuple(step for step in _every(every, train_steps) if delay <= step)
    return ()


def checkpoint_steps(arguments: Arguments, train_steps: int, steps_per_epoch: int) -> tuple[int, ...]:
    """Return the train steps after which a checkpoint is written; for `best`, after which one may be written."""
    if arguments.save_strategy == "epoch":
        return _epoch_ends(train_steps, steps_per_epoch)
    if arguments.save_strategy == "steps":
        return tuple(_every(interval_in_steps(arguments.save_steps, train_steps), train_steps))
    if arguments.save_strategy == "best":
        return due_evaluations(arguments, train_steps, steps_per_epoch)
    return ()


def never_best(
    arguments: Arguments, train_steps: int, checkpoints: Sequence[int], evaluations: Sequence[int]
) -> Iterator[str]:
    """Say which train steps `load_best_model_at_end` cannot choose.

    Args:
        arguments: the effective arguments.
        train_steps: train steps of the run.
        checkpoints: train steps after which a checkpoint is written.
        evaluations: train steps after which the trainer evaluates by itself.
    """
    if not arguments.load_best_model_at_end:
        return
    saved = set(checkpoints)
    if lost := [step for step in evaluations if step not in saved]:
        kept = [step for step in evaluations if step in saved]
        shown = f"only train steps {_listed(kept)} can be the best model" if kept else "no model can be the best"
        yield (
            f"{len(lost):,} of {len(evaluations):,} evaluations have no checkpoint, so that {shown}; write equal "
            "eval_steps and save_steps, or save_strategy: best"
        )
    last = checkpoints[-1] if checkpoints else 0
    if last < train_steps:
        yield (
            f"the best model is chosen among the checkpoints, of which the last is after train step {last:,} of "
            f"{train_steps:,}"
        )


def _listed(steps: Sequence[int]) -> str:
    """Return `33, 66, 99`, or the first steps and the last of many."""
    if len(steps) <= _SHOWN_STEPS:
        return ", ".join(f"{step:,}" for step in steps)
    return f"{', '.join(f'{step:,}' for step in steps[: _SHOWN_STEPS - 2])}, … {steps[-1]:,}"


def _every(interval: int, train_steps: int) -> range:
    """Every `interval` steps, without an extra one for the last step, as in sentence-transformers 3.0."""
    return range(interval, train_steps + 1, interval) if interval > 0 else range(0)


def _epoch_ends(train_steps: int, steps_per_epoch: int) -> tuple[int, ...]:
    """The last step of each pass; a pass that is cut short ends with the run."""
    ends = range(steps_per_epoch, train_steps + 1, steps_per_epoch) if steps_per_epoch else range(0)
    return tuple(sorted({*ends, train_steps} - {0}))
