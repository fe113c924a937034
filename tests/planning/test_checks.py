import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from embedstep.data.facts import ColumnKind, DatasetFacts, Split
from embedstep.planning.build import build_plan
from embedstep.planning.checks import check_plan, check_request, check_with_data
from embedstep.planning.plan import Plan
from embedstep.request.loading import load_request
from embedstep.request.schema import TrainRequest

PAIR: Mapping[str, ColumnKind] = {"anchor": "text", "positive": "text"}
CLASSES: Mapping[str, ColumnKind] = {"anchor": "text", "label": "integer"}
TRIPLET: Mapping[str, ColumnKind] = {**PAIR, "negative": "text"}
SCORED: Mapping[str, ColumnKind] = {**PAIR, "label": "number"}
SOURCE = {"docs": {"path": "a.parquet", "columns": {"anchor": "q", "positive": "p"}}}
BOTH = {"train": SOURCE, "eval": SOURCE}
RETRIEVAL = {"kind": "information_retrieval", "name": "docs", "dataset": "docs"}


def request(**sections: Any) -> TrainRequest:
    document = {"model": "org/model", "data": {"train": SOURCE}, "loss": "multiple_negatives_ranking", **sections}
    return load_request(json.dumps(document))


def facts(
    columns: Mapping[str, ColumnKind] = PAIR,
    *,
    rows: int = 100,
    split: Split = "train",
    name: str = "docs",
    **more: Any,
) -> DatasetFacts:
    return DatasetFacts(split=split, name=name, rows=rows, columns=columns, **more)


def with_data(*items: DatasetFacts, **sections: Any) -> list[str]:
    asked = request(**sections)
    return [str(problem) for problem in [*check_request(asked), *check_with_data(asked, items or (facts(),))]]


def alone(**sections: Any) -> list[str]:
    return [str(problem) for problem in check_request(request(**sections))]


def planned(asked: TrainRequest, *items: DatasetFacts, processes: int = 1) -> Plan:
    return build_plan(asked, items or (facts(),), gpus=0, processes=processes)


def with_plan(*items: DatasetFacts, processes: int = 1, **sections: Any) -> list[str]:
    asked = request(**sections)
    return [str(problem) for problem in check_plan(asked, planned(asked, *items, processes=processes))]


def test_a_good_request_has_no_problem() -> None:
    assert with_data() == []
    assert with_plan() == []
    evaluated = {"data": BOTH, "evaluators": [RETRIEVAL]}
    assert with_data(facts(), facts(split="eval"), **evaluated) == []
    assert with_plan(facts(), facts(split="eval"), processes=4, **evaluated) == []


@pytest.mark.parametrize(
    ("loss", "columns", "problem"),
    [
        (
            "multiple_negatives_ranking",
            {"anchor": "text"},
            "data.train.docs.columns: multiple_negatives_ranking takes anchor, positive and any number of further "
            "negatives; this dataset has anchor",
        ),
        (
            "multiple_negatives_ranking",
            SCORED,
            "data.train.docs.columns.label: multiple_negatives_ranking takes no label; remove it, or choose a loss "
            "that learns from labels",
        ),
        (
            "cosent",
            PAIR,
            "data.train.docs.columns.label: is missing: cosent needs a label with a score, a number",
        ),
        (
            "triplet",
            PAIR,
            "data.train.docs.columns: triplet takes anchor, positive, 1 negative; this dataset has anchor, positive",
        ),
        (
            "multiple_negatives_rankin",
            PAIR,
            "loss.kind: no loss is named 'multiple_negatives_rankin'; did you mean multiple_negatives_ranking?",
        ),
    ],
)
def test_a_loss_gets_the_columns_that_it_needs(loss: str, columns: Mapping[str, ColumnKind], problem: str) -> None:
    assert with_data(facts(columns), loss=loss) == [problem]


def test_a_loss_of_one_dataset_is_named_by_its_place() -> None:
    (problem,) = with_data(loss={"docs": "cosents"})
    assert problem.startswith("loss.docs.kind: no loss is named 'cosents'")


def test_one_loss_for_all_is_reported_once() -> None:
    data = {"train": {**SOURCE, "more": SOURCE["docs"]}}
    assert len(with_data(facts(), facts(name="more"), data=data, loss="bogus")) == 1


def test_eval_data_with_the_name_of_a_train_dataset_has_to_suit_its_loss() -> None:
    assert with_data(facts(), facts({"anchor": "text"}, split="eval"), data=BOTH) == [
        "data.eval.docs.columns: multiple_negatives_ranking takes anchor, positive and any number of further negatives;"
        " this dataset has anchor"
    ]


def test_eval_data_for_an_evaluator_alone_has_to_suit_no_loss() -> None:
    data = {"train": SOURCE, "eval": {"held": SOURCE["docs"]}}
    evaluators = [{"kind": "embedding_similarity", "name": "x", "dataset": "held"}]
    held = facts(SCORED, split="eval", name="held", label_range=(0.0, 1.0))
    assert with_data(facts(), held, data=data, evaluators=evaluators) == []


@pytest.mark.parametrize(
    ("evaluator", "columns", "problem"),
    [
        (
            {"kind": "embedding_similarity"},
            PAIR,
            "data.eval.docs.columns.label: is missing: the evaluator embedding_similarity needs a label with a number "
            "in each row, not always the same",
        ),
        (
            {"kind": "triplet"},
            PAIR,
            "data.eval.docs.columns.negative: is missing: the evaluator triplet needs anchor, positive, negative",
        ),
        (
            {"kind": "information_retrival"},
            PAIR,
            "evaluators.0.kind: no evaluator is named 'information_retrival'; did you mean information_retrieval?",
        ),
        (
            {"kind": "information_retrieval", "options": {"ndcg_at_k": [0]}},
            PAIR,
            "evaluators.0.options.ndcg_at_k: must be a list of integers of 1 or more, not [0]",
        ),
    ],
)
def test_an_evaluator_gets_the_columns_that_it_needs(
    evaluator: dict[str, Any], columns: Mapping[str, ColumnKind], problem: str
) -> None:
    evaluators = [{"name": "docs", "dataset": "docs", **evaluator}]
    assert with_data(facts(), facts(columns, split="eval"), data=BOTH, evaluators=evaluators) == [problem]


@pytest.mark.parametrize(
    ("loss", "sampler", "columns", "label_values", "problems"),
    [
        ("batch_all_triplet", "group_by_label", CLASSES, {0: 50, 1: 50}, []),
        (
            "batch_all_triplet",
            "batch_sampler",
            CLASSES,
            {0: 50, 1: 50},
            [
                "arguments.batch_sampler: is batch_sampler, but batch_all_triplet learns only from rows that share a "
                "label in one batch; write group_by_label"
            ],
        ),
        (
            "batch_all_triplet",
            "group_by_label",
            CLASSES,
            {7: 100},
            ["data.train.docs: has one label only, from which batch_all_triplet learns nothing"],
        ),
        (
            "multiple_negatives_ranking",
            "group_by_label",
            PAIR,
            {},
            [
                "arguments.batch_sampler: is group_by_label, which reads labels, and data.train.docs has no column of "
                "integers as label"
            ],
        ),
        ("multiple_negatives_ranking", "no_duplicates", PAIR, {}, []),
    ],
)
def test_sampler_and_loss_want_the_same_of_a_batch(
    loss: str,
    sampler: str,
    columns: Mapping[str, ColumnKind],
    label_values: Mapping[int, int],
    problems: list[str],
) -> None:
    found = with_data(facts(columns, label_values=label_values), loss=loss, arguments={"batch_sampler": sampler})
    assert found == problems


@pytest.mark.parametrize(
    ("guide", "nodes", "problem"),
    [
        ("FOLDER", 1, ""),
        ("FOLDER", 2, ""),
        ("org/guide", 1, ""),
        ("org/guide", 2, "org/guide is fetched on one of 2 nodes only; save it, and name its folder"),
        ("./guide", 1, "./guide is neither a folder nor the id of a model on the hub"),
        ("a/b/guide", 1, "a/b/guide is neither a folder nor the id of a model on the hub"),
        ("guide.bin", 1, "guide.bin is neither a folder nor the id of a model on the hub"),
    ],
)
def test_a_guide_is_a_folder_or_fetched(tmp_path: Path, guide: str, nodes: int, problem: str) -> None:
    plain = {"kind": "gist_embed", "options": {"guide": str(tmp_path) if guide == "FOLDER" else guide}}
    wrapped = {"kind": "matryoshka", "options": {"matryoshka_dims": [16, 8]}, "loss": plain}
    launch = {"nodes": nodes}
    for loss, path in ((plain, "loss"), ({"docs": plain}, "loss.docs"), (wrapped, "loss.loss")):
        found = alone(loss=loss, launch=launch, model="org/model")
        assert found == ([f"{path}.options.guide: {problem}"] if problem else [])


@pytest.mark.parametrize(
    "loss",
    [
        "cached_multiple_negatives_ranking",
        {"kind": "matryoshka", "options": {"matryoshka_dims": [8]}, "loss": "cached_multiple_negatives_ranking"},
    ],
    ids=["itself", "inside a wrapper"],
)
def test_a_loss_that_needs_a_transformer_is_refused_on_a_static_model(loss: object) -> None:
    assert alone(model={"static": "org/tokenizer", "dimension": 8}, loss=loss) == [
        "loss: cached_multiple_negatives_ranking needs a transformer, and model.static is a static embedding"
    ]
    assert alone(model="org/model", loss=loss) == []


def test_a_model_by_path_is_there(tmp_path: Path) -> None:
    assert alone(model=str(tmp_path / "none")) == [f"model.path: {tmp_path / 'none'} does not exist"]
    empty = tmp_path / "empty"
    empty.mkdir()
    assert alone(model=str(empty)) == [f"model.path: {empty} holds no model: it has no modules.json and no config.json"]
    for place in (empty, empty / "0_Transformer"):  # what LoRA saves without its base model
        place.mkdir(exist_ok=True)
        (place / "adapter_config.json").write_text("{}")
        (message,) = alone(model=str(empty))
        assert message.startswith(
            f"model.path: {place} holds an adapter, such as LoRA, and no model; merge it into its base"
        )
        (place / "adapter_config.json").unlink()
    static = {"static": str(empty), "dimension": 8}
    assert alone(model=static) == [
        f"model.static: {empty} holds no model: it has no modules.json and no config.json and no tokenizer.json"
    ]
    (empty / "tokenizer.json").touch()
    assert alone(model=static) == []
    (empty / "tokenizer.json").unlink()
    (empty / "model.bin").touch()
    assert alone(model=str(empty / "model.bin")) == [
        f"model.path: {empty / 'model.bin'} is a file; name the folder of a saved model"
    ]
    for name in ("modules.json", "config.json"):
        folder = tmp_path / name.partition(".")[0]
        folder.mkdir()
        (folder / name).write_text("[]" if name == "modules.json" else "{}")
        assert alone(model=str(folder)) == []


def test_a_tokenizer_file_is_enough_for_a_static_model(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").touch()
    (tmp_path / "tokenizer.txt").touch()
    assert alone(model={"static": str(tmp_path / "tokenizer.json"), "dimension": 8}) == []
    assert alone(model={"static": str(tmp_path / "tokenizer.txt"), "dimension": 8}) == [
        f"model.static: {tmp_path / 'tokenizer.txt'} is a file; name the folder of a saved model"
    ]


@pytest.mark.parametrize("label", ["number", None])
def test_group_by_label_needs_whole_labels_in_an_evaluation_too(label: ColumnKind | None) -> None:
    """Cut to integers they would pair up in the plan, and the run would end at its first evaluation."""
    columns: dict[str, ColumnKind] = {"anchor": "text"}
    found = with_data(
        facts({**columns, "label": "integer"}, label_values={0: 50, 1: 50}),
        facts({**columns, "label": label} if label else columns, split="eval"),
        data=BOTH,
        loss="batch_all_triplet",
        arguments={"batch_sampler": "group_by_label"},
    )
    message = "data.eval.docs: needs integer labels for its loss with group_by_label"
    assert [problem for problem in found if problem.startswith("data.eval.docs:")] == [message]


def test_group_by_label_needs_room_for_two_pairs_in_an_evaluation_too() -> None:
    labelled: dict[str, Any] = {"label_values": {0: 50, 1: 50}}
    assert with_data(
        facts(CLASSES, **labelled),
        facts(CLASSES, split="eval", **labelled),
        data=BOTH,
        loss="batch_all_triplet",
        arguments={"batch_sampler": "group_by_label", "per_device_eval_batch_size": 3},
    ) == [
        "arguments.per_device_eval_batch_size: is 3; group_by_label fills batches of data.eval with pairs of rows; "
        "write an even number of 4 or more"
    ]


def test_a_home_folder_is_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert alone(model="~/model") == [f"model.path: {tmp_path / 'model'} does not exist"]
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "modules.json").write_text("[]")
    assert alone(model="~/model") == []


def test_all_problems_with_the_data_come_at_once() -> None:
    found = with_data(
        facts({"anchor": "text"}),
        facts(split="eval"),
        data=BOTH,
        evaluators=[{"kind": "triplet", "name": "docs", "dataset": "docs"}],
        arguments={"batch_sampler": "group_by_label"},
    )
    assert [problem.partition(":")[0] for problem in found] == [
        "data.train.docs.columns",
        "data.eval.docs.columns.negative",
        "arguments.batch_sampler",
        "data.eval.docs",
    ]


@pytest.mark.parametrize(
    ("rows", "batch", "processes", "problems"),
    [
        (32, 32, 1, []),
        (1, 32, 1, []),
        (128, 32, 4, []),
        (130, 32, 4, []),
        (
            20,
            32,
            4,
            ["data.train.docs: has 20 rows, fewer than one batch of 32; write a smaller per_device_train_batch_size"],
        ),
        (
            60,
            32,
            4,
            [
                "data.train: gives 0 steps an epoch: 60 rows are 1 batch of 32 for 4 processes; write a smaller "
                "per_device_train_batch_size, or fewer processes"
            ],
        ),
        (
            127,
            32,
            4,
            [
                "data.train: gives 0 steps an epoch: 127 rows are 3 batches of 32 for 4 processes; write a smaller "
                "per_device_train_batch_size, or fewer processes"
            ],
        ),
    ],
)
def test_there_is_at_least_one_step(rows: int, batch: int, processes: int, problems: list[str]) -> None:
    arguments = {"per_device_train_batch_size": batch}
    assert with_plan(facts(rows=rows), processes=processes, arguments=arguments) == problems


def test_one_process_that_drops_the_last_batch_needs_a_whole_one() -> None:
    arguments = {"per_device_train_batch_size": 32, "dataloader_drop_last": True}
    (problem,) = with_plan(facts(rows=31), arguments=arguments)
    assert problem.startswith("data.train.docs: has 31 rows, fewer than one batch of 32")


def test_each_process_needs_a_row_to_evaluate() -> None:
    few = facts(rows=3, split="eval")
    by_one = {"per_device_eval_batch_size": 1}
    assert with_plan(facts(), few, processes=3, data=BOTH, arguments=by_one) == []
    assert with_plan(facts(), few, processes=4, data=BOTH) == ["data.eval.docs: has 3 rows for 4 processes"]


def test_an_evaluation_loss_needs_a_whole_batch_where_the_last_one_is_dropped() -> None:
    few = facts(rows=7, split="eval")
    assert with_plan(facts(), few, processes=1, data=BOTH) == []
    assert with_plan(facts(), few, processes=2, data=BOTH) == [
        "data.eval.docs: has 7 rows, fewer than one batch of 8; write a smaller per_device_eval_batch_size"
    ]


@pytest.mark.parametrize(
    ("metric", "problems"),
    [
        ("loss", []),
        ("eval_loss", []),
        ("docs_cosine_ndcg@10", []),
        ("eval_docs_cosine_ndcg@10", []),
        (
            "docs_cosine_ndgc@10",
            [
                "arguments.metric_for_best_model: 'docs_cosine_ndgc@10' is not among the metrics of this run; did you "
                "mean eval_docs_cosine_ndcg@10?"
            ],
        ),
        (
            "cosine_ndcg@10",
            [
                "arguments.metric_for_best_model: 'cosine_ndcg@10' is not among the metrics of this run; did you mean "
                "eval_docs_cosine_ndcg@10?"
            ],
        ),
    ],
)
def test_the_best_metric_is_one_of_the_run(metric: str, problems: list[str]) -> None:
    arguments = {"metric_for_best_model": metric, "save_strategy": "epoch", "load_best_model_at_end": True}
    found = with_plan(facts(), facts(split="eval"), data=BOTH, evaluators=[RETRIEVAL], arguments=arguments)
    assert found == problems


def test_a_best_metric_without_an_evaluation_is_refused() -> None:
    assert with_plan(arguments={"metric_for_best_model": "loss"}) == [
        "arguments.metric_for_best_model: 'loss' is not among the metrics of this run; there is no evaluation"
    ]


def test_the_loss_is_the_metric_when_none_is_named() -> None:
    data = {"train": SOURCE, "eval": {"held": SOURCE["docs"]}}
    evaluators = [{**RETRIEVAL, "dataset": "held"}]
    arguments = {"load_best_model_at_end": True, "save_strategy": "epoch"}
    (problem,) = with_plan(
        facts(), facts(split="eval", name="held"), data=data, evaluators=evaluators, arguments=arguments
    )
    assert problem.startswith("arguments.metric_for_best_model: 'loss' is not among the metrics of this run; ")


def test_batches_that_hold_texts_are_not_dispatched() -> None:
    arguments = {"accelerator_config": {"dispatch_batches": True}}
    both = {"train": {**SOURCE, "more": SOURCE["docs"]}}
    place, end = "arguments.accelerator_config.dispatch_batches: sends", "which the libraries do not support; remove it"
    assert with_plan(facts(), arguments=arguments) == []
    assert with_plan(facts(), arguments=arguments, processes=2) == [
        f"{place} texts from one process to the others, {end}"
    ]
    assert with_plan(facts(), facts(name="more"), arguments=arguments, data=both) == [
        f"{place} the name of the dataset from one process to the others, {end}"
    ]


@pytest.mark.parametrize(
    ("processes", "arguments", "problem"),
    [
        (3, {"accelerator_config": {"split_batches": True}},
         "per_device_train_batch_size: is 8, which 3 processes cannot split evenly; write a multiple of 3"),
        (2, {"ddp_backend": "nccl"}, "ddp_backend: is nccl, and the processes are on the CPU; write gloo"),
        (2, {"fsdp": "full_shard"}, "fsdp: needs a GPU for each process; remove it, or write it where they are"),
    ],
)  # fmt: skip
def test_what_the_processes_cannot_do_is_refused(processes: int, arguments: dict[str, Any], problem: str) -> None:
    assert with_plan(processes=processes, arguments=arguments) == [f"arguments.{problem}"]


def test_more_processes_than_gpus_are_refused_unless_the_cpu_is_asked_for() -> None:
    def problems(gpus: int, processes: int, **arguments: Any) -> list[str]:
        asked = request(arguments=arguments)
        plan = build_plan(asked, [facts()], gpus=gpus, processes=processes)
        return [str(problem) for problem in check_plan(asked, plan)]

    assert problems(2, 4) == ["launch.processes_per_node: is 4, and 2 GPUs are visible; write auto"]
    assert problems(4, 4) == []
    assert problems(4, 2) == []
    assert problems(0, 4) == []
    assert problems(2, 4, use_cpu=True) == []


def test_a_loss_that_would_train_another_model_in_each_process_is_refused() -> None:
    classes = facts(CLASSES, label_values={0: 50, 1: 50})
    given: dict[str, Any] = {"loss": "batch_all_triplet", "arguments": {"batch_sampler": "group_by_label"}}
    assert with_plan(classes, processes=1, **given) == []
    (problem,) = with_plan(classes, processes=2, **given)
    assert problem.startswith("loss: batch_all_triplet does not average gradients between processes")


@pytest.mark.parametrize("name", ["fp16", "tf32"])
def test_a_precision_that_only_a_gpu_has_is_refused_without_one(name: str) -> None:
    asked = request(arguments={name: True})
    on_cpu = build_plan(asked, [facts()], gpus=0, processes=1)
    assert [str(problem) for problem in check_plan(asked, on_cpu)] == [
        f"arguments.{name}: is true, and no GPU is used; write bf16, or remove it"
    ]
    on_gpu = build_plan(asked, [facts()], gpus=1, processes=1)
    assert check_plan(asked, on_gpu) == []


@pytest.mark.parametrize(
    ("loss", "name", "is_read"),
    [
        ({"kind": "softmax", "options": {"num_labels": 2}}, "docs", True),
        ({"kind": "SoftmaxLoss", "options": {"num_labels": 2}}, "docs", True),
        ("cosent", "docs", False),
        ({"kind": "softmax", "options": {"num_labels": 2}}, "other", False),
    ],
)
def test_an_accuracy_is_that_of_a_classifier(loss: Any, name: str, is_read: bool) -> None:
    found = alone(
        data={"train": SOURCE, "eval": {name: SOURCE["docs"]}},
        loss=loss,
        evaluators=[{"kind": "label_accuracy", "name": "a", "dataset": name}],
    )
    message = "label_accuracy reads the classifier of softmax; name the dataset after a train dataset with that loss"
    assert found == ([] if is_read else [f"evaluators.0.kind: {message}"])


@pytest.mark.parametrize(
    ("evaluator", "problem"),
    [
        ({"kind": "nano_beir"}, ""),
        ({"kind": "NanoBEIREvaluator", "options": {"dataset_names": ["nq", "MSMARCO"]}}, ""),
        ({"kind": "nano_beir", "dataset": "docs"},
         "evaluators.0.dataset: is not read: nano_beir has data of its own; remove it"),
        ({"kind": "triplet"}, "evaluators.0.dataset: is missing"),
        ({"kind": "nano_beir", "options": {"dataset_names": ["trec"]}},
         "evaluators.0.options.dataset_names: must be a list, each once, of "),
    ],
)  # fmt: skip
def test_an_evaluator_with_data_of_its_own_names_no_dataset(evaluator: dict[str, Any], problem: str) -> None:
    data = BOTH if evaluator.get("dataset") else {"train": SOURCE}
    best = {"eval_strategy": "epoch", "save_strategy": "epoch", "load_best_model_at_end": True}
    found = alone(data=data, evaluators=[{"name": "nano", **evaluator}], arguments=best)
    assert [line[: len(problem)] for line in found] == ([problem] if problem else [])


TWO = {"stsb": SOURCE["docs"], "quora": SOURCE["docs"]}


@pytest.mark.parametrize(
    ("metric", "hint"),
    [
        ("eval_loss", "; did you mean eval_stsb_loss or eval_quora_loss?"),
        ("loss", "; did you mean eval_stsb_loss or eval_quora_loss?"),
        ("ndcg", "; did you mean eval_a_cosine_ndcg@10 or eval_b_cosine_ndcg@10?"),
        ("a_cosine_ndgc@10", "; did you mean eval_a_cosine_ndcg@10?"),
    ],
)
def test_all_metrics_that_fit_are_suggested(metric: str, hint: str) -> None:
    evaluators = [{**RETRIEVAL, "name": name, "dataset": data} for name, data in (("a", "stsb"), ("b", "quora"))]
    found = with_plan(
        *(facts(split=split, name=name) for split in ("train", "eval") for name in TWO),
        data={"train": TWO, "eval": TWO},
        evaluators=evaluators,
        arguments={"metric_for_best_model": metric, "save_strategy": "epoch", "load_best_model_at_end": True},
    )
    assert found == [f"arguments.metric_for_best_model: {metric!r} is not among the metrics of this run{hint}"]


@pytest.mark.parametrize(
    ("section", "problem"),
    [
        ({"loss": "cosnt"}, "loss.kind: no loss is named 'cosnt'; did you mean cosent?"),
        ({"loss": "mnrl"}, "loss.kind: no loss is named 'mnrl'; did you mean multiple_negatives_ranking?"),
        (
            {"loss": {"kind": "matryoshka", "options": {"matryoshka_dims": [64, 64]}, "loss": "cosent"}},
            "loss.options: matryoshka_dims names a dimension twice: [64, 64]",
        ),
        (
            {"loss": {"kind": "triplet", "options": {"margin": 1}}},
            "loss.options.margin: is not an option of triplet; it has distance_metric, triplet_margin; did you mean "
            "triplet_margin?",
        ),
    ],
)
def test_a_problem_of_a_loss_is_reported_once(section: dict[str, Any], problem: str) -> None:
    columns: Mapping[str, ColumnKind] = {**TRIPLET, "label": "number"} if "cosent" in str(section) else TRIPLET
    data = {"train": {name: SOURCE["docs"] for name in ("docs", "more")}}
    found = with_data(facts(columns), facts(columns, name="more"), data=data, **section)
    assert [line for line in found if line.startswith("loss")] == [problem]


REENTRANT = {"use_reentrant": True}


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"gradient_checkpointing": True, "gradient_checkpointing_kwargs": REENTRANT}, "gradient_checkpointing_kwargs"),
        (
            {"activation_checkpointing": True, "activation_checkpointing_kwargs": REENTRANT},
            "activation_checkpointing_kwargs",
        ),
        (
            {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": '{"use_reentrant": true}'},
            "gradient_checkpointing_kwargs",
        ),
        ({"gradient_checkpointing": True}, ""),
        ({"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": False}}, ""),
        (
            {
                "gradient_checkpointing": True,
                "gradient_checkpointing_kwargs": REENTRANT,
                "ddp_static_graph": True,
            },
            "",
        ),
    ],
)
def test_reentrant_checkpointing_is_for_one_process(arguments: dict[str, Any], name: str) -> None:
    message = f"arguments.{name}.use_reentrant: is true, which fails with 2 processes; write use_reentrant: false"
    assert with_plan(processes=2, arguments=arguments) == ([message] if name else [])
    assert with_plan(arguments=arguments) == []
