"""Evaluation, saving and logging: each argument with another value than its default, and what shows that it counted."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embedstep.sampling.epochs import Epochs
from tests.effects.conftest import Proof, Train

Check = Callable[[Proof], bool]
BY_STEPS = {"evaluate": True, "max_steps": 8, "eval_strategy": "steps", "eval_steps": 3}
BEST = {"max_steps": 6, "eval_strategy": "steps", "eval_steps": 2, "save_strategy": "steps", "save_steps": 2,
        "evaluate": True, "load_best_model_at_end": True}  # fmt: skip

EVALUATION: dict[str, tuple[dict[str, Any], Check]] = {
    "eval_strategy": (
        # Without it the strategy would be epoch.
        {"evaluate": True, "eval_strategy": "steps", "logging_steps": 2},
        lambda seen: seen.steps_with("eval_loss") == [2, 4],
    ),
    "evaluation_strategy": (
        {"evaluate": True, "evaluation_strategy": "steps", "logging_steps": 2},
        lambda seen: seen.steps_with("eval_loss") == [2, 4],
    ),
    # The last one is of the model that the training ended with.
    "eval_steps": (BY_STEPS, lambda seen: seen.steps_with("eval_loss") == [3, 6, 8]),
    "eval_delay": ({**BY_STEPS, "eval_delay": 5}, lambda seen: seen.steps_with("eval_loss") == [6, 8]),
    "eval_on_start": (
        {**BY_STEPS, "eval_on_start": True},
        lambda seen: seen.steps_with("eval_loss") == [0, 3, 6, 8],
    ),
    "do_eval": (
        {"evaluate": True, "do_eval": True, "eval_strategy": "no"},
        lambda seen: seen.steps_with("eval_loss") == [4],
    ),
}
SAVING: dict[str, tuple[dict[str, Any], Check]] = {
    "save_strategy": (
        {"save_strategy": "epoch", "max_steps": -1, "num_train_epochs": 2},
        lambda seen: seen.checkpoints == [17, 34],
    ),
    "save_steps": (
        {"max_steps": 8, "save_strategy": "steps", "save_steps": 3},
        lambda seen: seen.checkpoints == [3, 6],
    ),
    "save_total_limit": (
        {"max_steps": 6, "save_strategy": "steps", "save_steps": 1, "save_total_limit": 2},
        lambda seen: seen.checkpoints == [5, 6],
    ),
    "save_only_model": (
        {"save_strategy": "steps", "save_steps": 4, "save_only_model": True},
        lambda seen: not (seen.output / "checkpoints/checkpoint-4/optimizer.pt").exists(),
    ),
    "load_best_model_at_end": (
        {**BEST, "learning_rate": 0.5, "lr_scheduler_type": "constant"},
        lambda seen: seen.weights() == weights_at(seen, seen.trainer.state.best_model_checkpoint),
    ),
    "metric_for_best_model": (
        {**BEST, "metric_for_best_model": "docs_cosine_ndcg@10"},
        lambda seen: (
            seen.trainer.state.best_metric
            == max(log["eval_docs_cosine_ndcg@10"] for log in seen.logs if "eval_loss" in log)
        ),
    ),
    "greater_is_better": (
        {**BEST, "metric_for_best_model": "docs_cosine_ndcg@10", "greater_is_better": False},
        lambda seen: (
            seen.trainer.state.best_metric
            == min(log["eval_docs_cosine_ndcg@10"] for log in seen.logs if "eval_loss" in log)
        ),
    ),
}
LOGGING: dict[str, tuple[dict[str, Any], Check]] = {
    "logging_strategy": (
        {"logging_strategy": "epoch", "max_steps": -1, "num_train_epochs": 1},
        lambda seen: seen.steps_with("loss") == [17],
    ),
    "logging_steps": ({"max_steps": 7, "logging_steps": 3}, lambda seen: seen.steps_with("loss") == [3, 6]),
    "logging_first_step": (
        {"max_steps": 6, "logging_steps": 3, "logging_first_step": True},
        lambda seen: seen.steps_with("loss") == [1, 3, 6],
    ),
    "skip_memory_metrics": (
        {"skip_memory_metrics": False},
        lambda seen: seen.steps_with("train_mem_cpu_alloc_delta") == [4],
    ),
    "log_level": ({"log_level": "info"}, lambda seen: seen.trainer.args.get_process_log_level() == 20),
    "log_level_replica": (
        {"log_level_replica": "error"},
        lambda seen: replica_level(seen) == 40,
    ),
    "log_on_each_node": ({"log_on_each_node": False}, lambda seen: second_node_logs(seen) is False),
    "include_tokens_per_second": (
        {"include_tokens_per_second": True},
        lambda seen: seen.result.metrics["train_tokens_per_second"] > 0,
    ),
}


def weights_at(seen: Proof, checkpoint: str) -> dict[str, bytes]:
    """The tensors of a checkpoint as bytes."""
    from safetensors.numpy import load_file

    return {name: tensor.tobytes() for name, tensor in load_file(Path(checkpoint) / "model.safetensors").items()}


def replica_level(seen: Proof) -> int:
    """The level that the trainer's own arguments give to a process that is not the first."""
    seen.trainer.args.distributed_state.local_process_index = 1
    try:
        return int(seen.trainer.args.get_process_log_level())
    finally:
        seen.trainer.args.distributed_state.local_process_index = 0


def second_node_logs(seen: Proof) -> bool:
    """Whether the first process of a second node would log."""
    seen.trainer.args.distributed_state.process_index = 1
    try:
        return bool(seen.trainer.args.should_log)
    finally:
        seen.trainer.args.distributed_state.process_index = 0


@pytest.mark.parametrize("name", EVALUATION)
def test_evaluation(prove: Train, name: str) -> None:
    given, check = EVALUATION[name]
    assert check(prove(**given))


@pytest.mark.parametrize("name", SAVING)
def test_saving(prove: Train, name: str) -> None:
    given, check = SAVING[name]
    assert check(prove(**given))


@pytest.mark.parametrize("name", LOGGING)
def test_logging(prove: Train, name: str, request: pytest.FixtureRequest) -> None:
    import transformers

    level = transformers.logging.get_verbosity()
    request.addfinalizer(lambda: transformers.logging.set_verbosity(level))
    given, check = LOGGING[name]
    assert check(prove(**given))


def test_eval_delay_null_is_no_delay(prove: Train) -> None:
    assert prove(**BY_STEPS, eval_delay=None).steps_with("eval_loss") == [3, 6, 8]


def test_eval_accumulation_steps(prove: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers.trainer_pt_utils import EvalLoopContainer

    calls: list[int] = []
    move = EvalLoopContainer.to_cpu_and_numpy

    def counted(self: EvalLoopContainer) -> None:
        calls.append(1)
        move(self)

    monkeypatch.setattr(EvalLoopContainer, "to_cpu_and_numpy", counted)
    prove(evaluate=True, eval_accumulation_steps=1)
    often = len(calls)
    calls.clear()
    prove(evaluate=True)
    assert often > len(calls) > 0


def test_do_train_false_only_evaluates(prove: Train) -> None:
    seen = prove(evaluate=True, do_train=False, do_eval=True, eval_strategy="no")
    assert seen.batches == []
    assert seen.steps_with("eval_loss") == [0]
    assert seen.plan["train_steps"] == 0


def test_do_predict_gives_the_loss_on_the_test_data(prove: Train, data_folder: Path) -> None:
    columns = {"anchor": "anchor", "positive": "positive"}
    train = {"docs": {"path": str(data_folder / "train.jsonl"), "columns": columns}}
    test = {"docs": {"path": str(data_folder / "more.jsonl"), "columns": columns}}
    seen = prove(evaluate=True, do_predict=True, sections={"data": {"train": train, "test": test}})
    assert seen.result.metrics["test_loss"] > 0
    assert "test_loss" in seen.plan["metrics"]


def test_prediction_loss_only_is_what_happens_anyway(prove: Train) -> None:
    seen = prove(evaluate=True, prediction_loss_only=True)
    assert seen.trainer.args.prediction_loss_only is True


@pytest.mark.parametrize("name", ["bf16_full_eval", "fp16_full_eval"])
def test_an_evaluation_in_half_precision_leaves_the_weights(prove: Train, name: str) -> None:
    half, full = prove(evaluate=True, **{name: True}), prove(evaluate=True)
    assert half.result.metrics["eval_loss"] != full.result.metrics["eval_loss"]
    assert abs(half.result.metrics["eval_loss"] - full.result.metrics["eval_loss"]) < 0.05
    assert half.weights() == full.weights()


def test_save_safetensors_false_writes_torch_s_own_files(prove: Train) -> None:
    import torch
    from sentence_transformers import SentenceTransformer

    seen = prove(save_safetensors=False, save_strategy="steps", save_steps=4)
    for folder in (seen.output / "model", seen.output / "checkpoints/checkpoint-4"):
        assert (folder / "pytorch_model.bin").exists()
        assert not list(folder.rglob("*.safetensors"))
    loaded = SentenceTransformer(str(seen.output / "model"), device="cpu").state_dict()
    assert all(torch.equal(tensor, loaded[name]) for name, tensor in seen.trainer.model.state_dict().items())


def test_resume_from_checkpoint_and_ignore_data_skip(prove: Train) -> None:
    given = {"max_steps": 6, "save_strategy": "steps", "save_steps": 4}
    whole = prove(**given)
    checkpoint = str(whole.output / "checkpoints/checkpoint-4")
    resumed = prove(**given, resume_from_checkpoint=checkpoint)
    assert len(resumed.batches) == 2
    assert resumed.weights() == whole.weights()
    again = prove(**given, resume_from_checkpoint=checkpoint, ignore_data_skip=True)
    assert len(again.batches) == 2
    assert again.weights() != whole.weights()


def test_an_epoch_is_gone_on_with_without_forming_its_steps_before(
    prove: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The 17 batches of an epoch make 9 updates; after 10 updates 2 batches of the second epoch are done."""
    starts: list[tuple[int, int]] = []
    walk = Epochs.walk

    def recorded(epochs: Epochs, epoch: int, start: int = 0) -> Any:
        starts.append((epoch, start))
        return walk(epochs, epoch, start)

    given = {
        "batch_sampler": "no_duplicates", "max_steps": 12, "gradient_accumulation_steps": 2,
        "save_strategy": "steps", "save_steps": 10,
    }  # fmt: skip
    whole = prove(**given)
    monkeypatch.setattr(Epochs, "walk", recorded)
    checkpoint = str(whole.output / "checkpoints/checkpoint-10")
    resumed = prove(**given, resume_from_checkpoint=checkpoint)
    assert starts == [(1, 2)]
    assert len(resumed.batches) == 4
    assert resumed.weights() == whole.weights()
    prove(**given, resume_from_checkpoint=checkpoint, ignore_data_skip=True)
    assert starts == [(1, 2), (1, 0)]


def test_a_checkpoint_in_the_output_folder_itself_is_kept_to_resume_from(
    prove: Train, evaluated: Callable[..., dict[str, Any]]
) -> None:
    from embedstep.request.loading import load_request
    from embedstep.step import run_step

    first = prove(max_steps=4, save_strategy="steps", save_steps=2)
    document = evaluated(arguments={"max_steps": 6})
    checkpoint = str(first.output / "checkpoints/checkpoint-4")
    document["arguments"]["resume_from_checkpoint"] = checkpoint
    assert run_step(load_request(json.dumps(document)), first.output, overwrite=True).exit_code == 0
    assert json.loads((first.output / "progress.json").read_text())["train_step"] == 6
    assert Path(checkpoint).exists()


def test_the_request_that_is_written_down_is_the_request(prove: Train) -> None:
    """Also for arguments that say something by being written: the worker reads them from there."""
    from embedstep.request.fingerprint import request_fingerprint
    from embedstep.request.schema import TrainRequest

    seen = prove(evaluate=True, do_train=False, do_eval=True, output_dir="docs", run_name="docs", eval_strategy="no")
    written = json.loads((seen.output / "request.json").read_text())
    again = TrainRequest.model_validate(written["request"])
    assert request_fingerprint(again) == written["fingerprint"]
    assert not again.arguments.is_dump
    assert {"do_train", "run_name", "eval_strategy"} <= again.arguments.model_fields_set
    assert "weight_decay" not in again.arguments.model_fields_set
    assert not again.trains


def test_on_resume_the_intervals_are_those_of_the_request(prove: Train) -> None:
    """The library alone continues with the checkpoint's, and warns."""
    first = prove(max_steps=8, save_strategy="steps", save_steps=4, logging_steps=4)
    resumed = prove(
        max_steps=8, save_strategy="steps", save_steps=1, logging_steps=2,
        resume_from_checkpoint=str(first.output / "checkpoints/checkpoint-4"),
    )  # fmt: skip
    assert resumed.steps_with("loss") == [6, 8]
    assert resumed.checkpoints == [5, 6, 7, 8]


def test_overwrite_output_dir(prove: Train, tmp_path: Path, evaluated: Callable[..., dict[str, Any]]) -> None:
    from embedstep.errors import InvalidRequestError
    from embedstep.request.loading import load_request
    from embedstep.step import run_step

    first = prove()
    document = evaluated(arguments={"max_steps": 3})
    with pytest.raises(InvalidRequestError, match="holds a finished model"):
        run_step(load_request(json.dumps(document)), first.output)
    document["arguments"]["overwrite_output_dir"] = True
    assert run_step(load_request(json.dumps(document)), first.output).exit_code == 0
    assert json.loads((first.output / "progress.json").read_text())["train_step"] == 3


@pytest.mark.parametrize(("hidden", "loss"), [(True, 0.0), (False, "nan")])
def test_logging_nan_inf_filter(prove: Train, hidden: bool, loss: object) -> None:
    seen = prove(logging_nan_inf_filter=hidden, learning_rate=1e30, max_steps=4, expect=1)
    assert seen.logs[-2]["loss"] == loss if "loss" in seen.logs[-2] else seen.logs[-1]["loss"] == loss


@pytest.mark.parametrize("counted", ["all", "non_padding"])
def test_include_num_input_tokens_seen(prove: Train, uneven: dict[str, Any], counted: str) -> None:
    seen = prove(include_num_input_tokens_seen=counted, sections={"data": uneven})
    found = seen.trainer.state.num_input_tokens_seen
    assert seen.logs[-2]["num_input_tokens_seen"] == found > 0
    if counted == "non_padding":
        everything = prove(include_num_input_tokens_seen=True, sections={"data": uneven})
        assert found < everything.trainer.state.num_input_tokens_seen


def test_debug_underflow_overflow(prove: Train) -> None:
    seen = prove(debug="underflow_overflow", learning_rate=1e30, expect=1)
    assert seen.result.failure is not None
    assert "DebugUnderflowOverflow: inf/nan detected" in seen.result.failure.message


def test_disable_tqdm_is_always_on_because_the_step_shows_the_progress(prove: Train) -> None:
    assert prove(disable_tqdm=False).trainer.args.disable_tqdm is True
