"""What the trainer is built of: the arguments of the ledger, and a combination that the library refuses."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embedstep.errors import REFUSED
from embedstep.output.result import StepResult

Build = Callable[..., dict[str, Any]]
Train = Callable[..., StepResult]


def test_the_arguments_that_arrive_are_those_of_the_ledger(
    train_here: Train, request_of: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    from embedstep.worker import train as module
    from embedstep.worker.trainer import build

    arrived: dict[str, Any] = {}
    build_real = build.build_trainer

    def spy(request: Any, plan: Any, model: Any, arguments: Any, *others: Any) -> Any:
        arrived.update(arguments.to_dict())
        return build_real(request, plan, model, arguments, *others)

    monkeypatch.setattr(module, "build_trainer", spy)
    train_here(
        request_of(arguments={"weight_decay": 0.1, "lr_scheduler_type": "cosine", "seed": 7, "max_grad_norm": 0.5})
    )
    assert arrived["weight_decay"] == 0.1
    assert arrived["lr_scheduler_type"] == "cosine"
    assert arrived["seed"] == 7
    assert arrived["max_grad_norm"] == 0.5
    assert arrived["learning_rate"] == 1e-3
    assert arrived["use_cpu"] is True
    assert arrived["report_to"] == []


def test_a_combination_that_the_installed_class_refuses_is_exit_2(train_here: Train, request_of: Build) -> None:
    twice = {
        "gradient_accumulation_steps": 2,
        "accelerator_config": {"gradient_accumulation_kwargs": {"num_steps": 2}},
    }
    result = train_here(request_of(arguments=twice))
    assert result.exit_code == REFUSED
    assert result.failure is not None
    assert result.failure.traceback == ()
    assert result.failure.problems[0].startswith("arguments: ")


def test_an_evaluation_searches_the_whole_corpus_of_a_beir_dataset(
    train_here: Train, request_of: Build, tmp_path: Path
) -> None:
    """A document that is the query itself, and answers nothing, is found first by any model."""
    folder = tmp_path / "scifact"
    (folder / "qrels").mkdir(parents=True)
    (folder / "queries.jsonl").write_text(json.dumps({"_id": "q1", "text": "open a file"}) + "\n")
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\n")
    documents = [
        {"_id": "d1", "title": "", "text": "return a stream"},
        {"_id": "d2", "title": "", "text": "open a file"},
    ]
    found = []
    for count in (1, 2):
        (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in documents[:count]))
        document = request_of(arguments={"eval_strategy": "epoch"})
        document["data"]["eval"] = {"search": {"beir": str(folder), "split": "test"}}
        document["evaluators"] = [{"kind": "information_retrieval", "name": "search", "dataset": "search"}]
        metrics = train_here(document, f"output-{count}").metrics
        found.append((metrics["eval_search_cosine_accuracy@1"], round(metrics["eval_search_cosine_ndcg@10"], 4)))
    assert found == [(1.0, 1.0), (0.0, 0.6309)]
