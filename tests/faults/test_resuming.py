"""What an attempt takes up from the one before, argument by argument; where it is cut stands in each test."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embedstep.output.checkpoints import checkpoints_in, latest_checkpoint
from embedstep.output.result import StepResult, read_json
from embedstep.request.loading import load_request
from embedstep.step import run_step
from tests.faults.compared import lost
from tests.faults.conftest import Fault
from tests.faults.looking import uninterrupted

pytestmark = pytest.mark.slow
Build = Callable[..., dict[str, Any]]
Train = Callable[..., StepResult]
Look = Callable[[int | None], list[str]]
BY_LOSS = {"eval_strategy": "steps", "eval_steps": 3}
WITH_STATE: dict[str, dict[str, Any]] = {
    "adafactor": {"optim": "adafactor"},
    "sgd": {"optim": "sgd"},
    "a plateau": {"lr_scheduler_type": "reduce_lr_on_plateau", **BY_LOSS},
    "a greedy schedule": {"lr_scheduler_type": "greedy", **BY_LOSS},
    "restarts": {"lr_scheduler_type": "cosine_with_restarts", "warmup_ratio": 0.1},
    "bf16": {"bf16": True},
    "noise": {"neftune_noise_alpha": 5.0},
    "gradient checkpointing": {"gradient_checkpointing": True},
    "loader workers": {"dataloader_num_workers": 2, "batch_sampler": "no_duplicates"},
    "lengths": {"group_by_length": True},
    "the order of the file": {"train_sampling_strategy": "sequential"},
    "counted tokens": {"include_num_input_tokens_seen": "non_padding"},
    "a search for the batch size": {"auto_find_batch_size": True},
    "the best checkpoint": {"save_strategy": "best", "metric_for_best_model": "eval_loss", **BY_LOSS},
    "a delay": {**BY_LOSS, "eval_delay": 5, "eval_on_start": True},
    "rates of parts": {"learning_rate_mapping": {"embeddings": 1e-4}},
}


@pytest.mark.fault("SIGTERM, with {name}", "the third epoch")
@pytest.mark.parametrize("name", WITH_STATE)
def test_what_keeps_state_resumes(
    train_here: Train, evaluated: Build, at_look: Look, fault: Fault, name: str,
    tmp_path: Path,
) -> None:  # fmt: skip
    """Cut once in the middle of the training's last epoch, whatever is to be done there."""
    arguments = {
        "max_steps": -1, "num_train_epochs": 3, "logging_steps": 1, "per_device_train_batch_size": 16,
        "gradient_accumulation_steps": 2, **WITH_STATE[name],
    }  # fmt: skip
    request = evaluated(arguments=arguments)
    if "eval_strategy" not in arguments:
        del request["data"]["eval"], request["evaluators"]
    places = at_look(None)
    whole = uninterrupted(train_here, request)
    at_look(len(places) * 4 // 5)
    assert train_here(request, "cut").exit_code == 75
    assert 2 < epoch_of(tmp_path / "cut") < 3
    at_look(None)
    assert train_here(request, "cut").exit_code == 0
    fault.came_to("75", lost(whole, tmp_path / "cut", resumed=True))


def epoch_of(output: Path) -> float:
    """Return where in the training its newest checkpoint lies."""
    _, latest = max(checkpoints_in(output / "checkpoints"))
    return float(read_json(latest / "trainer_state.json")["epoch"])


@pytest.fixture
def two(evaluated: Build, data_folder: Path) -> Build:
    """Like `evaluated`, with two datasets to train on and to evaluate with."""

    def build(**sections: Any) -> dict[str, Any]:
        document = evaluated(**sections)
        for split, file in (("train", "more"), ("eval", "eval")):
            source = document["data"][split]["docs"]
            document["data"][split]["more"] = {**source, "path": str(data_folder / f"{file}.jsonl")}
        return document

    return build


@pytest.mark.fault("SIGTERM at each place of an evaluation", "the evaluation of two datasets")
def test_an_evaluation_of_several_datasets_is_done_again(
    train_here: Train, two: Build, at_look: Look, fault: Fault, tmp_path: Path
) -> None:
    arguments = {
        "max_steps": 4, "eval_strategy": "steps", "eval_steps": 2, "save_strategy": "steps", "save_steps": 2,
        "load_best_model_at_end": True, "metric_for_best_model": "eval_more_loss", "greater_is_better": False,
        "logging_steps": 1, "per_device_eval_batch_size": 16,
    }  # fmt: skip
    request = two(arguments=arguments)
    places = at_look(None)
    whole = uninterrupted(train_here, request)
    wanted = [number for number, place in enumerate(places, 1) if place == "evaluation"]
    assert len(wanted) >= 8, "two evaluations, of two datasets each"
    found: list[str] = []
    for number in wanted:
        at_look(number)
        assert train_here(request, f"cut-{number}").exit_code == 75
        at_look(None)
        assert train_here(request, f"cut-{number}").exit_code == 0
        found += [f"{number}: {what}" for what in lost(whole, tmp_path / f"cut-{number}", resumed=True)]
    fault.came_to(f"75, {len(wanted)} times", found)


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """Return a function that has batches of more rows than given run out of memory, from a call on."""
    from embedstep.worker.trainer.trainer import StepTrainer

    compute = StepTrainer.compute_loss

    def limit(rows: int, call: int) -> None:
        calls = iter(range(1, 1000))

        def compute_loss(trainer: Any, model: Any, inputs: Any, *arguments: Any, **options: Any) -> Any:
            if next(calls) >= call and len(inputs["anchor_input_ids"]) > rows:
                raise RuntimeError("CUDA out of memory. Tried to allocate more than there is")
            return compute(trainer, model, inputs, *arguments, **options)

        monkeypatch.setattr(StepTrainer, "compute_loss", compute_loss)

    return limit


@pytest.mark.fault("SIGTERM after more steps than were planned", "a training with the smaller batches that were found")
def test_steps_of_smaller_batches_resume(
    train_here: Train, request_of: Build, little_memory: Any, at_look: Look, fault: Fault, tmp_path: Path
) -> None:
    """The plan has 5 steps of 32 rows; those that fit make more."""
    arguments = {
        "max_steps": -1, "num_train_epochs": 1, "auto_find_batch_size": True, "logging_steps": 1,
        "per_device_train_batch_size": 32,
    }  # fmt: skip
    request = request_of(arguments=arguments)
    little_memory(20, 1)
    places = at_look(None)
    whole = uninterrupted(train_here, request)
    steps = places.count("step")
    assert steps > 6
    found: list[str] = []
    for number in (3, 6, steps):
        at_look(number)
        assert train_here(request, f"cut-{number}").exit_code == 75
        at_look(None)
        result = train_here(request, f"cut-{number}")
        assert (result.exit_code, result.train_steps) == (0, steps - number)
        found += [f"{number}: {what}" for what in lost(whole, tmp_path / f"cut-{number}")]
    fault.came_to("75, three times", found)


@pytest.mark.fault("memory that ends after steps were made", "a training with auto_find_batch_size")
def test_a_batch_size_is_not_looked_for_with_weights_that_have_changed(
    train_here: Train, request_of: Build, little_memory: Any, fault: Fault
) -> None:
    little_memory(20, 3)
    result = train_here(request_of(arguments={"auto_find_batch_size": True, "per_device_train_batch_size": 32}))
    assert result.exit_code == 4
    assert result.failure is not None
    assert result.failure.message == (
        "out of memory after train step 2 with batches of 32; auto_find_batch_size reduces the size in the first "
        "step only; set arguments.per_device_train_batch_size: 28"
    )
    fault.came_to("4, with what to write", None)


@pytest.mark.fault("launch.max_hours, then more of them", "training, {strategy}")
@pytest.mark.parametrize("strategy", ["steps", "epoch"])
def test_a_training_whose_time_was_over_resumes(
    train_here: Train, evaluated: Build, monkeypatch: pytest.MonkeyPatch, fault: Fault, strategy: str, tmp_path: Path
) -> None:
    """It stops where nothing is due, and its model is evaluated; the next attempt does not know of that."""
    from embedstep.worker.trainer.stopping import StopController

    arguments = {
        "max_steps": -1, "num_train_epochs": 2, "eval_strategy": strategy, "eval_steps": 4, "save_strategy": strategy,
        "save_steps": 4, "logging_strategy": strategy, "logging_steps": 4, "per_device_train_batch_size": 16,
    }  # fmt: skip
    request = evaluated(arguments=arguments, launch={"max_hours": 100})
    whole = uninterrupted(train_here, request)
    step_end = StopController.on_step_end

    def on_step_end(stopping: StopController, args: Any, state: Any, *others: Any, **options: Any) -> None:
        if state.global_step == 6:
            stopping._deadline = 0.0
        step_end(stopping, args, state, *others, **options)

    with monkeypatch.context() as patch:
        patch.setattr(StopController, "on_step_end", on_step_end)
        stopped = train_here(request, "cut")
    assert (stopped.exit_code, stopped.train_steps) == (0, 6)
    assert stopped.metrics["eval_docs_cosine_ndcg@10"] > 0
    assert run_step(load_request(json.dumps(request)), tmp_path / "cut", overwrite=True).exit_code == 0
    fault.came_to("0, with the model so far", lost(whole, tmp_path / "cut", resumed=True))


@pytest.mark.fault("SIGTERM, twice", "a training that begins at a checkpoint in its own folder")
def test_a_checkpoint_of_the_own_folder_is_where_the_first_attempt_begins_only(
    train_here: Train, request_of: Build, at_look: Look, fault: Fault, tmp_path: Path
) -> None:
    """The named one is an older one, and later among those that `save_total_limit` removes."""
    arguments = {"max_steps": 12, "logging_steps": 1, "save_strategy": "steps", "save_steps": 2, "save_total_limit": 2}
    request = request_of(arguments=arguments)
    whole = uninterrupted(train_here, request)
    at_look(6)
    assert train_here(request, "cut").exit_code == 75
    named = tmp_path / "cut/checkpoints/checkpoint-4"
    request["arguments"]["resume_from_checkpoint"] = str(named)
    at_look(4)
    assert train_here(request, "cut").exit_code == 75
    assert (latest_checkpoint(named.parent).step, named.exists()) == (8, False)
    assert (tmp_path / "cut/checkpoints.before/checkpoint-6").exists()
    at_look(2)
    assert train_here(request, "cut").exit_code == 75
    assert latest_checkpoint(named.parent).step == 10
    at_look(None)
    result = train_here(request, "cut")
    assert (result.exit_code, result.train_steps) == (0, 2)
    fault.came_to("75, three times", lost(whole, tmp_path / "cut", resumed=True))
