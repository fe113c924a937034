"""Data, precision, hardware, several processes: each argument with another value, and what shows that it counted."""

import json
import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from embedstep.worker.trainer.loading import ConcatenatedDatasets
from tests.effects.conftest import Proof, Train

Check = Callable[[Proof], bool]
LOADER: dict[str, tuple[dict[str, Any], Check]] = {
    "dataloader_drop_last": (
        {"dataloader_drop_last": True, "max_steps": -1, "num_train_epochs": 1},
        lambda seen: seen.batches == [8] * 16,
    ),
    "dataloader_num_workers": ({"dataloader_num_workers": 1}, lambda seen: loader(seen).num_workers == 1),
    "dataloader_persistent_workers": (
        {"dataloader_persistent_workers": True, "dataloader_num_workers": 1},
        lambda seen: loader(seen).persistent_workers is True,
    ),
    "dataloader_prefetch_factor": (
        {"dataloader_prefetch_factor": 3, "dataloader_num_workers": 1},
        lambda seen: loader(seen).prefetch_factor == 3,
    ),
    "dataloader_multiprocessing_context": (
        {"dataloader_multiprocessing_context": "forkserver", "dataloader_num_workers": 1},
        lambda seen: loader(seen).multiprocessing_context.get_start_method() == "forkserver",
    ),
    "dataloader_in_order": (
        {"dataloader_in_order": False, "dataloader_num_workers": 1},
        lambda seen: loader(seen).in_order is False,
    ),
    "accelerator_config": (
        {"accelerator_config": {"use_seedable_sampler": False}},
        lambda seen: seen.trainer.accelerator.dataloader_config.use_seedable_sampler is False,
    ),
    "split_batches": (
        {"split_batches": True},
        lambda seen: seen.trainer.accelerator.dataloader_config.split_batches is True,
    ),
    "dispatch_batches": (
        {"dispatch_batches": True},
        lambda seen: type(seen.trainer._train_dataloader).__name__ == "DataLoaderDispatcher",
    ),
    "ddp_timeout": ({"ddp_timeout": 77}, lambda seen: seen.trainer.args.ddp_timeout_delta.seconds == 77),
    "torch_compile_backend": (
        {"torch_compile_backend": "eager"},
        lambda seen: type(seen.trainer.model_wrapped).__name__ == "OptimizedModule",
    ),
    "torchdynamo": (
        {"torchdynamo": "eager"},
        lambda seen: type(seen.trainer.model_wrapped).__name__ == "OptimizedModule",
    ),
    "half_precision_backend": (
        {"half_precision_backend": "cpu_amp"},
        lambda seen: effect_of(seen, "half_precision_backend") == "always done",
    ),
    "fp16_backend": (
        {"fp16_backend": "cuda_amp"},
        lambda seen: effect_of(seen, "fp16_backend") == "always done",
    ),
    "ddp_backend": (
        {"ddp_backend": "gloo"},
        lambda seen: effect_of(seen, "ddp_backend") == "a single process needs no backend",
    ),
    "local_rank": ({"local_rank": 3}, lambda seen: seen.trainer.args.local_process_index == 0),
    "tf32": ({"tf32": False}, lambda seen: torch.backends.cuda.matmul.allow_tf32 is False),
}


def loader(seen: Proof) -> Any:
    """The loader that the training has drawn its batches from."""
    return seen.trainer._train_dataloader


def effect_of(seen: Proof, name: str) -> str:
    """What the ledger says that an argument did."""
    return next(str(entry["effect"]) for entry in seen.plan["ledger"] if entry["name"] == name)


@pytest.mark.parametrize("name", LOADER)
def test_loading(prove: Train, name: str) -> None:
    given, check = LOADER[name]
    assert check(prove(**given))


def test_seed(prove: Train) -> None:
    one, same, other = prove(seed=1), prove(seed=1), prove(seed=2)
    assert one.weights() == same.weights() != other.weights()


class Order:
    """Notes the first text of each batch."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from embedstep.worker.trainer.trainer import StepTrainer

        self.seen: list[tuple[int, ...]] = []
        compute = StepTrainer.compute_loss

        def compute_loss(trainer: Any, model: Any, inputs: Any, *arguments: Any, **options: Any) -> Any:
            self.seen.append(tuple(inputs["positive_input_ids"][:, 1:].flatten().tolist()))
            return compute(trainer, model, inputs, *arguments, **options)

        monkeypatch.setattr(StepTrainer, "compute_loss", compute_loss)

    def of(self, run: Callable[[], Proof]) -> list[tuple[int, ...]]:
        """The batches of one training."""
        self.seen.clear()
        run()
        return list(self.seen)


@pytest.mark.parametrize("sampler", ["batch_sampler", "no_duplicates"])
def test_data_seed(prove: Train, monkeypatch: pytest.MonkeyPatch, sampler: str) -> None:
    """The order is that of the seed with this number, and everything else that of the seed."""
    order = Order(monkeypatch)
    both = order.of(lambda: prove(seed=7, data_seed=42, batch_sampler=sampler))
    assert both == order.of(lambda: prove(seed=42, batch_sampler=sampler))
    assert both != order.of(lambda: prove(seed=7, batch_sampler=sampler))


def test_each_evaluation_has_the_same_batches(prove: Train) -> None:
    """Workers that stay were given another order each time, and so another loss of one and the same model."""
    workers = {"dataloader_num_workers": 1, "dataloader_persistent_workers": True}
    seen = prove(evaluate=True, **workers, learning_rate=0.0, max_steps=3, eval_strategy="steps", eval_steps=1)
    losses = [log["eval_loss"] for log in seen.trainer.state.log_history if "eval_loss" in log]
    assert len(losses) == 3
    assert len(set(losses)) == 1


def test_no_worker_of_a_loader_outlives_the_training(prove: Train) -> None:
    """One that persists would wait for the garbage collector, which waits ten seconds for each."""
    before = set(multiprocessing.active_children())
    workers = {"dataloader_num_workers": 1, "dataloader_persistent_workers": True}
    seen = prove(evaluate=True, **workers, eval_strategy="steps", eval_steps=1)
    assert loader(seen).persistent_workers
    assert set(multiprocessing.active_children()) <= before


@pytest.mark.parametrize("given", [{"group_by_length": True}, {"train_sampling_strategy": "group_by_length"}])
def test_group_by_length(prove: Train, uneven: dict[str, Any], given: dict[str, Any]) -> None:
    """Rows of one length pad each other less."""

    def padded(**arguments: Any) -> int:
        sections = {"data": uneven}
        counted = prove(**arguments, include_num_input_tokens_seen="all", sections=sections, max_steps=8)
        return int(counted.trainer.state.num_input_tokens_seen)

    assert padded(**given) < padded() * 0.95


def test_length_column_name(prove: Train, uneven: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows go together by what the column says, here the opposite halves of a row's number, and not by their texts."""
    file = Path(uneven["train"]["docs"]["path"])
    rows = [json.loads(line) | {"n": number % 2} for number, line in enumerate(file.read_text().splitlines())]
    file.write_text("\n".join(map(json.dumps, rows)))
    batches: list[set[int]] = []
    read = ConcatenatedDatasets.__getitems__

    def recorded(dataset: ConcatenatedDatasets, places: list[int]) -> list[dict[str, Any]]:
        batches.append({place % 2 for place in places})
        return read(dataset, places)

    monkeypatch.setattr(ConcatenatedDatasets, "__getitems__", recorded)
    prove(group_by_length=True, length_column_name="n", sections={"data": uneven}, max_steps=8)
    assert sorted(map(sorted, batches)) == [[0]] * 4 + [[1]] * 4


def test_train_sampling_strategy_sequential(prove: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    order = Order(monkeypatch)
    one = order.of(lambda: prove(train_sampling_strategy="sequential", seed=1))
    assert one == order.of(lambda: prove(train_sampling_strategy="sequential", seed=2))
    assert one != order.of(prove)


def test_remove_unused_columns(prove: Train, data_folder: Path) -> None:
    """The source has five more columns, of which the library alone would train on the texts."""
    seen = prove()
    assert set(seen.plan["datasets"][0]["dropped_columns"]) == {"class", "id", "negative", "score"}
    assert seen.trainer.train_dataset.column_names == ["anchor", "positive"]


def test_batch_sampler(prove: Train) -> None:
    seen = prove(batch_sampler="no_duplicates")
    assert type(loader(seen).batch_sampler).__name__ == "RankBatches"
    assert seen.plan["datasets"][0]["batches"] == 17


def test_multi_dataset_batch_sampler(prove: Train, data_folder: Path) -> None:
    columns = {"anchor": "anchor", "positive": "positive"}
    train = {
        name: {"path": str(data_folder / f"{file}.jsonl"), "columns": columns}
        for name, file in (("docs", "train"), ("more", "more"))
    }
    seen = prove(
        multi_dataset_batch_sampler="round_robin", max_steps=-1, num_train_epochs=1, sections={"data": {"train": train}}
    )
    # 50 rows are 7 batches, and the other dataset gives as many.
    assert seen.trainer.state.global_step == 14


def test_prompts(prove: Train) -> None:
    with_prompt, without = (
        prove(include_num_input_tokens_seen="all", prompts=prompts) for prompts in ({"anchor": "query: "}, None)
    )
    more = with_prompt.trainer.state.num_input_tokens_seen - without.trainer.state.num_input_tokens_seen
    # `query` and `:` are two tokens before each of the 32 anchors.
    assert more == 64


def test_router_mapping_reaches_the_collator(prove: Train) -> None:
    seen = prove(router_mapping={"anchor": "query"})
    assert seen.trainer.data_collator.router_mapping == {"anchor": "query"}


def test_full_determinism(embedstep_run: Callable[..., Any], request_of: Callable[..., dict[str, Any]]) -> None:
    """In a process of its own, because it switches torch for good."""
    outcome = embedstep_run(request_of(arguments={"full_determinism": True, "max_steps": 1}))
    assert outcome.code == 0, outcome.err
    ledger = {entry["name"]: entry for entry in outcome.json("plan.json")["ledger"]}
    assert ledger["full_determinism"]["value"] is True


def test_bf16_on_the_cpu(prove: Train) -> None:
    seen = prove(bf16=True)
    assert seen.trainer.accelerator.mixed_precision == "bf16"
    assert seen.weights() != prove().weights()


def test_torch_empty_cache_steps(prove: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import trainer as library

    calls: list[int] = []
    monkeypatch.setattr(library, "clear_device_cache", lambda *arguments, **options: calls.append(1))
    prove(torch_empty_cache_steps=2)
    often = len(calls)
    calls.clear()
    prove()
    assert often - len(calls) == 2


def test_run_name_is_the_tracker_s(prove: Train, own_uri: str) -> None:
    from mlflow import MlflowClient

    seen = prove(run_name="from the arguments", sections={"tracking": {"kind": "mlflow", "uri": own_uri}})
    assert MlflowClient(own_uri).get_run(seen.result.run_id).info.run_name == "from the arguments"


def test_report_to_mlflow_is_one_run(prove: Train, own_uri: str) -> None:
    from mlflow import MlflowClient

    prove(report_to="mlflow", sections={"tracking": {"kind": "mlflow", "uri": own_uri}})
    client = MlflowClient(own_uri)
    runs = client.search_runs([item.experiment_id for item in client.search_experiments()])
    assert [run.info.status for run in runs] == ["FINISHED"]
