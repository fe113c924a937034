import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from embedstep.data.recorded_anchors import read_anchors
from embedstep.data.scanning import scan_all
from embedstep.errors import CannotStartError
from embedstep.output.result import StepResult
from embedstep.request.loading import load_request
from embedstep.runtime.world import World
from embedstep.step import plan_step
from embedstep.worker.train import require_devices
from tests.worker.trainer.test_recording import read_metrics

Build = Callable[..., dict[str, Any]]
Train = Callable[[Mapping[str, Any]], StepResult]


def steps_with(output: str, word: str) -> list[int]:
    """Train steps of the logs that hold a metric with `word` in its name."""
    logs = read_metrics(Path(output) / "metrics.jsonl")
    return [log["train_step"] for log in logs if any(word in key for key in log)]


@pytest.mark.parametrize(
    ("use_cpu", "gpus", "world", "seen", "refused"),
    [
        (False, 4, World(world_size=8, local_world_size=4), 4, ""),
        (False, 4, World(world_size=2), 1, ""),  # one process on each of two nodes with four
        (False, 1, World(), 0, "1 GPUs are assigned to the processes of this machine, and torch sees 0"),
        (False, 0, World(), 1, "0 GPUs are assigned to the processes of this machine, and torch sees 1"),
        (True, 1, World(), 0, ""),  # torch for the CPU, on a machine with a GPU
    ],
)
def test_torch_sees_the_gpus_of_the_processes_on_its_node(
    request_of: Build, monkeypatch: pytest.MonkeyPatch, use_cpu: bool, gpus: int, world: World, seen: int, refused: str
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: seen)
    request = load_request(json.dumps(request_of(arguments={"use_cpu": use_cpu})))
    plan = replace(plan_step(request), gpus=gpus, world_size=world.world_size)
    if not refused:
        require_devices(request, plan, world)
        return
    with pytest.raises(CannotStartError, match=f"^{refused}$"):
        require_devices(request, plan, world)


def test_a_run_leaves_model_metrics_and_result(train_here: Train, evaluated: Build) -> None:
    result = train_here(evaluated())
    assert result.exit_code == 0
    assert result.outcome == "succeeded"
    assert result.reload_cosine is not None
    assert result.reload_cosine > 0.9999
    output = Path(result.output)
    names = {path.name for path in output.iterdir()}
    assert names == {
        ".embedstep.lock", "attempt", "attempts.json", "checkpoints", "metrics.jsonl", "model", "plan.json",
        "progress.json", "request.json", "result.json",
    }  # fmt: skip
    assert json.loads((output / "result.json").read_text()) == json.loads(json.dumps(result.to_json()))
    progress = json.loads((output / "progress.json").read_text())
    assert (progress["train_step"], progress["train_steps"]) == (4, 4)
    request = json.loads((output / "request.json").read_text())
    assert request["fingerprint"] == result.request_fingerprint
    assert result.metrics["eval_docs_cosine_ndcg@10"] > 0


@pytest.mark.parametrize(
    "arguments",
    [
        {"max_steps": 5},
        {"max_steps": -1, "num_train_epochs": 1.5, "per_device_train_batch_size": 32},
        {"max_steps": -1, "num_train_epochs": 2, "per_device_train_batch_size": 32, "gradient_accumulation_steps": 2},
        {"max_steps": -1, "num_train_epochs": 1, "per_device_train_batch_size": 32, "dataloader_drop_last": True},
        {"max_steps": 7, "eval_strategy": "steps", "eval_steps": 3, "save_strategy": "steps", "save_steps": 2},
        {"max_steps": 10, "eval_strategy": "steps", "eval_steps": 0.3, "eval_on_start": True, "eval_delay": 4},
        {"max_steps": 9, "per_device_train_batch_size": 32, "save_strategy": "epoch", "warmup_steps": 0.2},
        {"max_steps": 6, "batch_sampler": "no_duplicates", "per_device_train_batch_size": 16, "warmup_ratio": 0.5},
    ],
    ids=lambda arguments: ",".join(arguments),
)
def test_what_was_planned_is_what_happened(train_here: Train, evaluated: Build, arguments: dict[str, Any]) -> None:
    document = evaluated(arguments={"logging_steps": 1, **arguments})
    plan = plan_step(load_request(json.dumps(document)))
    result = train_here(document)
    assert result.exit_code == 0
    assert max(steps_with(result.output, "train_runtime")) == plan.train_steps
    assert tuple(steps_with(result.output, "eval_docs")) == plan.evaluations
    checkpoints = {int(path.name.split("-")[1]) for path in (Path(result.output) / "checkpoints").glob("checkpoint-*")}
    assert tuple(sorted(checkpoints)) == plan.checkpoints
    logged = {key for log in read_metrics(Path(result.output) / "metrics.jsonl") for key in log if "eval_" in key}
    assert logged == set(plan.metrics)
    rates = [log["learning_rate"] for log in read_metrics(Path(result.output) / "metrics.jsonl") if "loss" in log]
    # The first logged rate is that of step 1 of a linear warm-up to 1e-3, or the peak without one.
    expected = 1e-3 * (1 / plan.warmup_steps if plan.warmup_steps else 1)
    assert rates[0] in (pytest.approx(0.0), pytest.approx(expected, rel=0.35))


@pytest.mark.parametrize("sampler", ["round_robin", "proportional"])
def test_several_datasets_with_a_loss_each(
    train_here: Train, evaluated: Build, data_folder: Path, sampler: str
) -> None:
    document = evaluated(
        loss={"docs": "multiple_negatives_ranking", "scores": "cosent"},
        arguments={
            "max_steps": -1,
            "num_train_epochs": 1,
            "multi_dataset_batch_sampler": sampler,
            "eval_strategy": "epoch",
        },
    )
    scored = {"anchor": "anchor", "positive": "positive", "label": "score"}
    document["data"]["train"]["scores"] = {"path": str(data_folder / "more.jsonl"), "columns": scored}
    document["data"]["eval"]["scores"] = {"path": str(data_folder / "eval.jsonl"), "columns": scored}
    document["evaluators"].append({"kind": "embedding_similarity", "name": "scores", "dataset": "scores"})
    plan = plan_step(load_request(json.dumps(document)))
    by_name = {item.name: item for item in plan.datasets if item.split == "train"}
    # 130 rows are 17 batches of 8, 50 rows are 7; round robin takes 7 of each and leaves 130 - 56 rows.
    assert (by_name["docs"].batches, by_name["scores"].batches) == ((7, 7) if sampler == "round_robin" else (17, 7))
    assert by_name["docs"].rows_unreached == (74 if sampler == "round_robin" else 0)
    result = train_here(document)
    assert result.exit_code == 0
    assert (
        max(steps_with(result.output, "train_runtime")) == plan.train_steps == (14 if sampler == "round_robin" else 24)
    )
    logged = {key for log in read_metrics(Path(result.output) / "metrics.jsonl") for key in log if "eval_" in key}
    assert logged == set(plan.metrics)


def test_several_datasets_without_a_text_twice(train_here: Train, evaluated: Build, data_folder: Path) -> None:
    """Rows of several datasets bring the name of theirs along, which is the same in all and no text of them."""
    document = evaluated(
        loss={"docs": "multiple_negatives_ranking", "more": "multiple_negatives_ranking"},
        arguments={
            "batch_sampler": "no_duplicates", "max_steps": 4, "eval_strategy": "steps", "eval_steps": 4,
            "do_predict": True,
        },
    )  # fmt: skip
    columns = {"anchor": "anchor", "positive": "positive"}
    document["data"]["train"]["more"] = {"path": str(data_folder / "more.jsonl"), "columns": columns}
    document["data"]["eval"]["more"] = {"path": str(data_folder / "more.jsonl"), "columns": columns}
    document["data"]["max_overlap"] = 1
    document["data"]["test"] = {"more": {"path": str(data_folder / "eval.jsonl"), "columns": columns}}
    plan = plan_step(load_request(json.dumps(document)))
    result = train_here(document)
    assert result.exit_code == 0, result.failure
    logged = {
        key
        for log in read_metrics(Path(result.output) / "metrics.jsonl")
        for key in log
        if key.startswith(("eval_", "test_"))
    }
    assert logged == set(plan.metrics) >= {"eval_docs_loss", "eval_more_loss", "test_more_loss"}


@pytest.mark.parametrize(("record", "anchors"), [(True, 180), (False, None)])
def test_a_model_has_hashes_of_its_anchors_and_of_those_of_the_model_before(
    train_here: Train, request_of: Build, data_folder: Path, tmp_path: Path, tiny_model: Path, record: bool,
    anchors: int | None,
) -> None:  # fmt: skip
    """50 rows of its own, and 130 of the model that it starts from."""
    before = tmp_path / "before"
    shutil.copytree(tiny_model, before)
    scan_all(load_request(json.dumps(request_of())), before, {})
    document = request_of(model=str(before))
    document["data"]["record_anchors"] = record
    document["data"]["train"]["docs"]["path"] = str(data_folder / "more.jsonl")
    result = train_here(document)
    assert result.exit_code == 0, result.failure
    found = read_anchors(Path(str(result.model)))
    assert (None if found is None else len(found)) == anchors == result.recorded_anchors


@pytest.mark.parametrize(
    "model",
    [{"initial_vectors": "word_embeddings"}, {"dimension": 16}],
    ids=["static from word embeddings", "static from random vectors"],
)
def test_static_models_train(train_here: Train, evaluated: Build, minilm: Path, model: dict[str, Any]) -> None:
    result = train_here(evaluated(model={"static": str(minilm), **model}))
    assert result.exit_code == 0
    assert (Path(str(result.model)) / "modules.json").exists()


def test_a_static_model_needs_a_tokenizer_and_nothing_else(
    train_here: Train, request_of: Build, minilm: Path, tmp_path: Path
) -> None:
    (tmp_path / "words").mkdir()
    shutil.copyfile(minilm / "tokenizer.json", tmp_path / "words" / "tokenizer.json")
    assert train_here(request_of(model={"static": str(tmp_path / "words"), "dimension": 8})).exit_code == 0


def test_a_disk_that_does_not_take_the_model_is_exit_3(
    train_here: Train, request_of: Build, limit_files: Callable[[int], None]
) -> None:
    # The tiny model takes four times as much, and nothing before it as much as this.
    limit_files(1 << 20)
    result = train_here(request_of())
    assert (result.exit_code, result.outcome, result.model) == (3, "cannot_start", None)
    assert result.failure is not None
    assert "File too large" in result.failure.message
    assert not (Path(result.output) / "model").exists()


def test_a_model_that_learned_nan_fails(train_here: Train, request_of: Build) -> None:
    result = train_here(request_of(arguments={"learning_rate": 1e30, "max_grad_norm": 0.0, "max_steps": 6}))
    assert result.exit_code == 1
    assert result.failure is not None
    assert result.failure.message == ("the trained model gives embeddings that are not finite; check the learning rate")
    assert result.model is None
    assert not (Path(result.output) / "model").exists()


def test_a_saved_model_that_differs_fails(
    train_here: Train, request_of: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sentence_transformers import SentenceTransformer

    save = SentenceTransformer.save_pretrained

    def spoil(self: Any, path: str, *args: Any, **kwargs: Any) -> None:
        save(self, path, *args, **kwargs)
        config = Path(path) / "1_Pooling" / "config.json"
        config.write_text(
            config.read_text()
            .replace('"mean"', '"cls"')
            .replace('"pooling_mode_cls_token": false', '"pooling_mode_cls_token": true')
            .replace('"pooling_mode_mean_tokens": true', '"pooling_mode_mean_tokens": false')
        )

    monkeypatch.setattr(SentenceTransformer, "save_pretrained", spoil)
    result = train_here(request_of())
    assert result.exit_code == 1
    assert result.failure is not None
    assert "the saved model differs from the trained one" in result.failure.message
    assert not (Path(result.output) / "model").exists()


def test_group_by_label_makes_the_announced_steps(train_here: Train, request_of: Build, data_folder: Path) -> None:
    columns = {"anchor": "anchor", "label": "class"}
    result = train_here(
        request_of(
            data={"train": {"docs": {"path": str(data_folder / "train.jsonl"), "columns": columns}}},
            loss="batch_all_triplet",
            arguments={"batch_sampler": "group_by_label", "max_steps": -1, "num_train_epochs": 2},
        )
    )
    assert result.exit_code == 0, result.failure


def test_rows_that_have_changed_are_never_taken_from_a_cache(
    train_here: Train, request_of: Build, tmp_path: Path
) -> None:
    """Same path, same size, same time: nothing but the content differs (cases 7.7 and 7.8)."""
    rows = tmp_path / "rows.jsonl"
    document = request_of()
    document["data"]["train"]["docs"]["path"] = str(rows)
    losses = []
    for number, answer in enumerate(("right", "wrong")):
        lines = [json.dumps({"anchor": f"question {row}", "positive": f"{answer} {row % 7}"}) for row in range(40)]
        rows.write_text("\n".join(lines))
        os.utime(rows, (1, 1))
        result = train_here(document)
        assert result.exit_code == 0
        losses.append(result.metrics["train_loss"])
        Path(result.output).rename(tmp_path / f"output-{number}")
    assert losses[0] != losses[1]


def test_incomplete_rows_are_left_out_of_the_training_and_counted(
    train_here: Train, request_of: Build, tmp_path: Path
) -> None:
    lines = [json.dumps({"anchor": f"question {row}", "positive": "" if row % 4 == 0 else "x"}) for row in range(40)]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    document = request_of(arguments={"max_steps": -1, "num_train_epochs": 1})
    document["data"]["train"]["docs"]["path"] = str(tmp_path / "rows.jsonl")
    document["data"]["drop_incomplete_rows"] = True
    result = train_here(document)
    assert result.exit_code == 0
    plan = json.loads((Path(result.output) / "plan.json").read_text())
    assert (plan["datasets"][0]["rows"], plan["datasets"][0]["dropped_rows"]) == (30, 10)
    # 30 rows in batches of 8 are 4 steps.
    assert json.loads((Path(result.output) / "progress.json").read_text())["train_step"] == plan["train_steps"] == 4
