"""Each word that a plan or a result shows is explained."""

import json
from dataclasses import replace
from typing import Any

import pytest

from embedstep.cli import results, tables
from embedstep.cli.explain import find_terms
from embedstep.data.facts import DatasetFacts
from embedstep.output.attempts import cost_unit
from embedstep.output.result import Change, Movement, StepResult
from embedstep.planning.build import build_plan
from embedstep.planning.plan import Plan, PlannedModel
from embedstep.request.loading import load_request
from tests.cli.conftest import embedstep


@pytest.mark.parametrize(
    ("word", "out"),
    [
        ("batch share", "batch share: the share of all training batches of an epoch that are of this dataset\n"),
        (
            "unreached",
            "unreached (rows_unreached): rows that are in no batch of an epoch; the next epoch has another order and "
            "leaves out others\n",
        ),
        ("dropped", "dropped (drop_incomplete_rows): rows that are left out because a cell is empty\n"),
        ("verdict", "verdict (verdict.json): the gate's decision: promote, hold or reject\n"),
    ],
)
def test_a_word_is_explained_in_a_line(word: str, out: str) -> None:
    assert embedstep("explain", word) == (0, out, "")
    assert embedstep("explain", *word.split()) == (0, out, "")


@pytest.mark.parametrize(
    ("word", "names"),
    [
        ("fingerprint", ["fingerprint"]),
        ("Global-Batch", ["global batch"]),
        ("warmup", ["warm-up"]),
        ("champion", ["champion, challenger"]),
        ("processes", ["processes"]),
        ("train steps", ["train step"]),
        ("queries", ["query"]),
        ("losses", ["loss"]),
        ("rows", ["row, column", "rows"]),
        ("parameters", ["parameters", "parameter, metric, tag"]),
        ("rows_unreached", ["unreached"]),
        ("cost", ["cost"]),
        ("request_fingerprint", ["fingerprint"]),
        ("padding", ["padding share"]),
        ("batch", ["batches"]),
        ("reason", ["skip reason", "stop reason"]),
        ("eval_docs_cosine_ndcg@10", ["ndcg@k"]),
        ("eval_samples_per_second", ["samples per second"]),
        ("", []),
        ("@", []),
        ("fingerprnt", []),
    ],
)
def test_a_word_is_found_by_its_name_its_name_in_code_or_a_part(word: str, names: list[str]) -> None:
    assert [term.names for term in find_terms(word)] == names


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("fingerprnt", "fingerprnt: is not in the glossary; did you mean fingerprint?"),
        ("batch shar", "batch shar: is not in the glossary; did you mean batch share?"),
        ("qqqq", "qqqq: is not in the glossary; embedstep explain lists all terms"),
        (
            "warmup_ratio",
            "warmup_ratio: is not in the glossary; embedstep arguments warmup_ratio describes this training argument",
        ),
    ],
)
def test_an_unknown_word_is_refused(word: str, line: str) -> None:
    assert embedstep("explain", word) == (2, "", f"explain: 1 problem\n  {line}\n")


def test_all_terms_are_a_table() -> None:
    code, out, _ = embedstep("explain")
    lines = out.splitlines()
    assert code == 0
    assert lines[0] == (
        "request                     the document that declares a training: model, data, loss, arguments, and where it "
        "runs"
    )
    assert len(lines) > 100


def planned() -> Plan:
    source = {"path": "a.parquet", "columns": {"anchor": "q", "positive": "p"}}
    document = {"model": "m", "data": {"train": {"docs": source}}, "loss": "multiple_negatives_ranking"}
    facts = DatasetFacts(split="train", name="docs", rows=130, columns={"anchor": "text", "positive": "text"})
    return replace(build_plan(load_request(json.dumps(document)), [facts], gpus=0, processes=1), sampling_seconds=1.0)


MODEL = PlannedModel(
    precision="float32", attention="sdpa", memory_bytes=1, adapter="LORA", modules=("Transformer",), parameters=1,
    pooling="mean", max_seq_length=8, dimension=8, prompts={"query": "q: "},
)  # fmt: skip


def plan_labels() -> list[str]:
    plan = planned()
    return [
        *tables._dataset_rows(plan)[0],
        *tables._model_facts(MODEL),
        *tables._training_facts(plan),
        *tables._ledger_rows(plan)[0],
        "cost", "data", "model", "training", "arguments", "metrics", "notes",
    ]  # fmt: skip


def result_labels(**given: Any) -> list[str]:
    """What `show_result` prints before each value."""
    metrics = {"eval_docs_cosine_ndcg@10": 0.5, "eval_loss": 1.0, "eval_docs_pearson_cosine": 0.5}
    movement = Movement(weights_changed=1.0, weights_moved=0.1, mean_cosine=0.9, texts=2, is_still=False)
    cost = {"unit": cost_unit(on_cpu=True), "hours": 1.0, "lost_hours": 0.0}
    changes = {"eval_docs_cosine_ndcg@10": Change(before=0.1, after=0.5)}
    result = StepResult(
        exit_code=0, output="o", model="m", metrics=metrics, changes=changes, movement=movement, cost=cost, **given
    )
    shown: list[str] = []

    def record(rows: list[tuple[str, ...]], **_: Any) -> list[str]:
        header = rows[0] if len(rows[0]) > 2 else ()
        shown.extend([*header, *(row[0] for row in rows)])
        return []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(results, "aligned", record)
        results.show_result(result)
    return shown


LABELS = dict.fromkeys([
    *plan_labels(),
    *result_labels(run_id="a", tracking_uri="u"),
    *result_labels(tracking_uri="u"),
    "result",
    cost_unit(on_cpu=False),
    "duplicates", "overlapping", "split off", "with negatives", "negatives per row", "documents",
    "queries", "champion", "challenger", "gain", "interval", "dimension", "metric",
])  # fmt: skip


@pytest.mark.parametrize("label", LABELS)
def test_a_label_of_a_plan_or_result_is_explained(label: str) -> None:
    assert find_terms(label)


def test_the_labels_are_those_of_every_table() -> None:
    expected = {"batch share", "attention", "forming batches", "what it does", "MLflow page", "recorded in", "moved"}
    assert expected <= LABELS.keys()
