"""A request for files as people have them: the columns, the loss and the evaluator; and it passes the check."""

import csv
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from pyarrow import Table, ipc, parquet

from embedstep import propose_request
from embedstep.errors import InvalidRequestError
from embedstep.planning.proposed_request import find_rows, propose
from embedstep.planning.request_text import Surroundings
from embedstep.request.loading import load_request
from embedstep.step import plan_step
from tests.conftest import ACTIONS, TOPICS

Row = Callable[[int], Mapping[str, Any]]
RANKING, RETRIEVAL = "multiple_negatives_ranking", "information_retrieval"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh folder, so that tests name files as a person would."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def short(number: int) -> str:
    return f"{ACTIONS[number % 10]} {TOPICS[number // 10 % 10]} {number}"


def long(number: int) -> str:
    action, topic = ACTIONS[number % 10], TOPICS[number // 10 % 10]
    return (
        f"To {action} a {topic}, call the function {action}_{topic} with the number {number}; it returns the {topic}."
    )


def write(name: str, row: Row, count: int = 120, **options: Any) -> None:
    """Write rows to a file of the format that its name says."""
    rows = [row(number) for number in range(count)]
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix in (".csv", ".tsv"):
        _write_csv(path, rows, **options)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".json":
        path.write_text(json.dumps(options["wrap"](rows) if options else rows, indent=1))
    elif path.suffix == ".parquet":
        parquet.write_table(Table.from_pylist(rows), path)
    else:
        with ipc.new_file(str(path), Table.from_pylist(rows).schema) as file:
            file.write_table(Table.from_pylist(rows))


def _write_csv(path: Path, rows: Sequence[Mapping[str, Any]], *, header: bool = True, **options: Any) -> None:
    encoding = options.pop("encoding", "utf-8")
    with path.open("w", newline="", encoding=encoding) as file:
        writer = csv.DictWriter(file, list(rows[0]), **options)
        if header:
            writer.writeheader()
        writer.writerows(rows)


def proposed(*paths: str, model: str = "sentence-transformers/all-MiniLM-L6-v2") -> dict[str, Any]:
    """Return the request for files; it passes the check."""
    text = propose_request(paths, model)
    assert len(text.splitlines()) <= 60
    plan_step(load_request(text))
    document: dict[str, Any] = yaml.safe_load(text)
    return document


FILES: dict[str, tuple[str, Row, dict[str, Any], dict[str, Any], str, str | None]] = {
    "FlagEmbedding": (
        "train.jsonl",
        lambda n: {"query": short(n), "pos": [long(n)], "neg": [long(n + 200 + k) for k in range(7)]},
        {},
        {"anchor": "query", "positive": {"list": "pos", "each": "row"},
         "negative": {"list": "neg", "take": 5, "otherwise": "repeat"}},
        RANKING, RETRIEVAL,
    ),
    "Quora pairs": (
        "quora.csv",
        lambda n: {"id": n, "qid1": 2 * n, "qid2": 2 * n + 1, "question1": f"how to {short(n)}?",
                   "question2": f"how do I {short(n)}?", "is_duplicate": n % 3 % 2},
        {},
        {"anchor": "question1", "positive": "question2", "label": "is_duplicate"},
        "online_contrastive", "binary_classification",
    ),
    "STSb": (
        "stsb.tsv",
        lambda n: {"split": "train", "genre": "news", "sentence1": short(n), "sentence2": short(n + 7),
                   "score": n % 51 / 10},
        {"delimiter": "\t"},
        {"anchor": "sentence1", "positive": "sentence2", "label": "score"},
        "cosent", "embedding_similarity",
    ),
    "NLI": (
        "nli.parquet",
        lambda n: {"premise": long(n), "hypothesis": short(n), "label": n % 3},
        {},
        {"anchor": "premise", "positive": "hypothesis", "label": "label"},
        "softmax", "label_accuracy",
    ),
    "an FAQ with semicolons": (
        "faq.csv",
        lambda n: {"Nr": n, "Question": f"How do I {short(n)}?", "Answer": long(n), "Category": TOPICS[n % 10]},
        {"delimiter": ";"},
        {"anchor": "Question", "positive": "Answer"},
        RANKING, RETRIEVAL,
    ),
    "the answer first": (
        "swapped.csv",
        lambda n: {"answer": long(n), "question": short(n)},
        {},
        {"anchor": "question", "positive": "answer"},
        RANKING, RETRIEVAL,
    ),
    "MS MARCO triplets": (
        "triplets.parquet",
        lambda n: {"query": short(n), "positive": long(n), "negative": long(n + 300)},
        {},
        {"anchor": "query", "positive": "positive", "negative": "negative"},
        RANKING, RETRIEVAL,
    ),
    "several negatives": (
        "hard.jsonl",
        lambda n: {"anchor": short(n), "positive": long(n), "negative_1": long(n + 300), "negative_2": long(n + 500)},
        {},
        {"anchor": "anchor", "positive": "positive", "negative": ["negative_1", "negative_2"]},
        RANKING, RETRIEVAL,
    ),
    "preferences": (
        "dpo.jsonl",
        lambda n: {"prompt": short(n), "chosen": long(n), "rejected": long(n + 300)},
        {},
        {"anchor": "prompt", "positive": "chosen", "negative": "rejected"},
        RANKING, RETRIEVAL,
    ),
    "names without a meaning": (
        "xy.csv",
        lambda n: {"x": long(n), "y": short(n)},
        {},
        {"anchor": "y", "positive": "x"},
        RANKING, RETRIEVAL,
    ),
    "ids and links": (
        "crawl.jsonl",
        lambda n: {"doc_id": f"d{n:06}", "url": f"https://example.org/{n}", "title": short(n), "text": long(n),
                   "timestamp": 1_700_000_000 + n},
        {},
        {"anchor": "title", "positive": "text"},
        RANKING, RETRIEVAL,
    ),
    "fields of objects": (
        "nested.jsonl",
        lambda n: {"id": n, "input": {"query": short(n)}, "output": {"passage": long(n), "score": 0.5}},
        {},
        {"anchor": "input.query", "positive": "output.passage"},
        RANKING, RETRIEVAL,
    ),
    "a document of rows": (
        "squad.json",
        lambda n: {"id": str(n), "question": short(n), "context": long(n), "answers": {"text": [TOPICS[n % 10]]}},
        {"wrap": lambda rows: {"version": "1", "data": rows}},
        {"anchor": "question", "positive": "context"},
        RANKING, RETRIEVAL,
    ),
    "pandas' columns": (
        "frame.json",
        lambda n: {"query": short(n), "passage": long(n)},
        {"wrap": lambda rows: {name: {str(n): row[name] for n, row in enumerate(rows)} for name in rows[0]}},
        {"anchor": "query", "positive": "passage"},
        RANKING, RETRIEVAL,
    ),
    "no header": (
        "plain.csv",
        lambda n: {"a": f"How do I {short(n)}?", "b": long(n)},
        {"header": False},
        {"anchor": "column_1", "positive": "column_2"},
        RANKING, RETRIEVAL,
    ),
    "texts with a class": (
        "intents.csv",
        lambda n: {"utterance": short(n), "label": n % 6},
        {},
        {"anchor": "utterance", "label": "label"},
        "batch_all_triplet", None,
    ),
    "texts alone": (
        "notes.csv",
        lambda n: {"id": n, "text": long(n)},
        {},
        {"anchor": "text", "positive": "text"},
        "denoising_auto_encoder", None,
    ),
    "0.0 and 1.0 of pandas": (
        "floats.parquet",
        lambda n: {"text_a": short(n), "text_b": short(n + 5), "target": float(n % 2)},
        {},
        {"anchor": "text_a", "positive": "text_b", "label": "target"},
        "online_contrastive", "binary_classification",
    ),
    "a label that is always 1": (
        "clicks.csv",
        lambda n: {"query": short(n), "document": long(n), "label": 1},
        {},
        {"anchor": "query", "positive": "document"},
        RANKING, RETRIEVAL,
    ),
    "cells without a value": (
        "gaps.csv",
        lambda n: {"question": short(n), "answer": long(n) if n % 10 else ""},
        {},
        {"anchor": "question", "positive": "answer"},
        RANKING, RETRIEVAL,
    ),
    "an Arrow file": (
        "rows.arrow",
        lambda n: {"anchor": short(n), "positive": long(n), "length": n},
        {},
        {"anchor": "anchor", "positive": "positive"},
        RANKING, RETRIEVAL,
    ),
    "similarity without a name": (
        "unnamed.csv",
        lambda n: {"left": short(n), "right": short(n + 3), "value": n % 100 / 100},
        {},
        {"anchor": "left", "positive": "right", "label": "value"},
        "cosent", "embedding_similarity",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_files_as_people_have_them(name: str) -> None:
    file, row, options, columns, loss, evaluator = FILES[name]
    write(file, row, **options)
    request = proposed(file)
    ((dataset, train),) = request["data"]["train"].items()
    assert train["columns"] == columns
    assert (request["loss"] if isinstance(request["loss"], str) else request["loss"]["kind"]) == loss
    assert [one["kind"] for one in request.get("evaluators", [])] == ([evaluator] if evaluator else [])
    assert train["hold_out"] == {"share": 0.2, "by": "anchor"}
    assert dataset == Path(file).stem or dataset == "docs"


REFUSED: dict[str, tuple[Row, str]] = {
    "one column of numbers": (
        lambda n: {"price": n * 1.5},
        "no column holds texts that a model could learn from; the columns are price (numbers)",
    ),
    "messages": (
        lambda n: {"messages": [{"role": "user", "content": short(n)}]},
        "no column holds texts that a model could learn from; the columns are messages (not usable)",
    ),
    "only codes": (
        lambda n: {"sku": f"SKU-{n:05}"},
        "no column holds texts that a model could learn from; the columns are sku (text)",
    ),
    "SNLI with rows without a class": (
        lambda n: {"premise": long(n), "hypothesis": short(n), "label": n % 4 - 1},
        "label: goes from -1 to 2; classes are numbered from 0, so remove the rows without a class",
    ),
    "a label of words": (
        lambda n: {"premise": long(n), "hypothesis": short(n), "label": ("entailment", "neutral")[n % 2]},
        "label: holds text, such as 'entailment'; a label is a number: 0 and 1 for pairs that do not and do belong "
        "together, or a score",
    ),
    "a class of words": (
        lambda n: {"text": long(n), "category": ("billing", "delivery")[n % 2]},
        "category: holds text, such as 'billing'; a label is a number: classes are numbered from 0",
    ),
    "pairs that do not match": (
        lambda n: {"query": short(n), "document": long(n), "label": 0},
        "label: is 0 in each row; pairs that belong together are missing",
    ),
    "a text with a score": (
        lambda n: {"text": long(n), "score": n / 7},
        "score is not a class of the texts in text: too many different values; pairs of texts are missing, or a column "
        "with a class",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_without_a_sound_reading_it_is_said_what_is_missing(name: str) -> None:
    row, message = REFUSED[name]
    write("rows.jsonl", row)
    with pytest.raises(InvalidRequestError) as caught:
        proposed("rows.jsonl")
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("empty.csv", "", "empty.csv cannot be read as csv: Empty CSV file"),
        ("header.csv", "question,answer\n", "header.csv has no rows"),
        ("empty.jsonl", "", "empty.jsonl has no rows"),
        ("none.csv", None, "none.csv does not exist"),
        ("broken.csv.gz", "no gzip", "broken.csv.gz cannot be read: Not a gzipped file (b'no')"),
        ("notes.md", "# Notes", "notes.md has no known format; use .parquet, .jsonl, .ndjson, .json, .csv, .tsv, .txt, "
         ".arrow, .xlsx, .xls, .xlsb or .ods (text also with .gz, .bz2 or .zst)"),
    ],
)  # fmt: skip
def test_files_without_rows_are_refused(name: str, text: str | None, message: str) -> None:
    if text is not None:
        Path(name).write_text(text)
    with pytest.raises(InvalidRequestError) as caught:
        find_rows([name])
    assert str(caught.value) == message


def test_files_named_for_a_split_are_used_as_such() -> None:
    for start, (name, count) in enumerate((("train", 120), ("dev", 60), ("test", 60))):
        write(
            f"faq/{name}.csv",
            lambda n, start=start: {"question": short(n + 1000 * start), "answer": long(n)},  # type: ignore[misc]
            count,
        )
    text = propose_request(["faq"], "minilm")
    assert "# faq/test.csv is not used; embedstep evaluate scores models on such rows." in text
    request = proposed("faq")
    columns = {"anchor": "question", "positive": "answer"}
    assert request["data"] == {
        "train": {"faq": {"path": "faq/train.csv", "columns": columns}},
        "eval": {"faq": {"path": "faq/dev.csv", "columns": columns}},
    }


def test_files_for_evaluation_with_other_columns_are_not_used() -> None:
    write("train.csv", lambda n: {"question": short(n), "answer": long(n)})
    write("test.csv", lambda n: {"query": short(n), "passage": long(n)})
    text = propose_request(["train.csv", "test.csv"], "minilm")
    assert "# test.csv is not used: it has no column 'answer'." in text
    assert "hold_out: {share: 0.2, by: anchor}" in text


def test_the_model_s_files_decide_what_can_be_trained(tmp_path: Path) -> None:
    model = tmp_path / "static"
    model.mkdir()
    module = {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.StaticEmbedding"}
    (model / "modules.json").write_text(json.dumps([module]))
    (model / "config_sentence_transformers.json").write_text(json.dumps({"similarity_fn_name": "dot"}))
    write("pairs.csv", lambda n: {"question": short(n), "answer": long(n)}, 6000)
    write("notes.csv", lambda n: {"text": long(n)})
    arguments = yaml.safe_load(propose_request(["pairs.csv"], str(model)))["arguments"]
    assert float(arguments["learning_rate"]) == 0.02
    assert arguments["per_device_train_batch_size"] == 256
    assert arguments["metric_for_best_model"] == "eval_pairs_dot_ndcg@10"
    with pytest.raises(
        InvalidRequestError, match="text is the only text, from which a static embedding learns nothing"
    ):
        propose_request(["notes.csv"], str(model))


@pytest.mark.parametrize(
    ("around", "line"),
    [
        (Surroundings(model="m"), "# One process for each visible GPU: here one on the CPU."),
        (Surroundings(model="m", gpus=2), "  # bf16: true  # faster on a GPU with compute capability 8.0 or more"),
        (Surroundings(model="m", gpus=2), "# One process for each visible GPU: 2 on the GPUs here."),
        (
            Surroundings(model="m", gpus=2, has_bfloat16=True),
            "  bf16: true  # the GPU here computes in it: faster, and the weights stay in float32",
        ),
        (Surroundings(model="m", has_mlflow=False), "tracking: {kind: none}"),
    ],
)
def test_the_machine_decides_precision_processes_and_tracking(around: Surroundings, line: str) -> None:
    write("pairs.csv", lambda n: {"question": short(n), "answer": long(n)})
    assert line in propose(find_rows(["pairs.csv"]), around).text.splitlines()


def test_chosen_columns_come_before_those_that_are_proposed() -> None:
    write("rows.csv", lambda n: {"question": short(n), "answer": long(n), "context": long(n + 500), "label": n % 2})
    text = propose_request(["rows.csv"], "m", {"positive": "context", "anchor": "answer", "label": None})
    document = yaml.safe_load(text)
    assert document["data"]["train"]["docs"]["columns"] == {"anchor": "answer", "positive": "context"}
    assert document["loss"] == RANKING
    with pytest.raises(InvalidRequestError) as caught:
        propose_request(["rows.csv"], "m", {"anchor": "questoin"})
    assert str(caught.value) == (
        "anchor: there is no column 'questoin'; the columns are question, answer, context, label; "
        "did you mean question?"
    )


def test_what_else_could_be_meant_is_in_the_comments() -> None:
    write("squad.jsonl", lambda n: {"context": long(n) * 2, "question": short(n), "answer": long(n)})
    write("xy.csv", lambda n: {"x": f"one {short(n)}", "y": f"two {short(n)}"})
    write("nli.csv", lambda n: {"premise": long(n), "hypothesis": short(n), "label": n % 3})
    squad, pair, classes = (propose_request([name], "m") for name in ("squad.jsonl", "xy.csv", "nli.csv"))
    assert " characters on average; could also be: answer\n" in squad
    assert "# Not used: answer." in squad
    assert "anchor: x  # the first text; no name and no length says which is the query" in pair
    assert "; could also be: y\n" in pair
    assert "# label could also be a score; that is loss cosent, and evaluator embedding_similarity." in classes


def test_a_file_that_is_not_utf_8_is_read_as_cp1252_and_it_is_said() -> None:
    write("faq.csv", lambda n: {"Frage": f"über {short(n)}", "Antwort": long(n)}, delimiter=";", encoding="cp1252")
    text = propose_request(["faq.csv"], "m")
    assert (
        "# faq.csv is not UTF-8, and is read as cp1252; if letters look wrong in the examples, write its encoding."
        in text
    )
    assert proposed("faq.csv")["data"]["train"]["faq"]["csv"] == {"delimiter": ";", "encoding": "cp1252"}


def test_empty_cells_and_lists_lead_to_rows_that_are_left_out() -> None:
    write("mined.jsonl", lambda n: {"query": short(n), "pos": [long(n)], "neg": [long(n + 300)] * (n % 4)})
    request = proposed("mined.jsonl")
    assert request["data"]["train"]["mined"]["columns"]["negative"] == {"list": "neg", "take": 3, "otherwise": "repeat"}
    assert request["data"]["drop_incomplete_rows"] is True
    assert "# Rows with an empty cell are left out: neg has 25%." in propose_request(["mined.jsonl"], "m")


def test_of_few_rows_none_are_held_out() -> None:
    write("three.csv", lambda n: {"question": short(n), "answer": long(n)}, 3)
    request = proposed("three.csv")
    assert "hold_out" not in request["data"]["train"]["three"]
    assert request["arguments"]["save_strategy"] == "no" or request["arguments"]["save_strategy"] is False
    assert "# Only 3 different anchors: too few to keep some for evaluation." in propose_request(["three.csv"], "m")


def test_nothing_heavy_is_loaded(tmp_path: Path) -> None:
    write("pairs.csv", lambda n: {"question": short(n), "answer": long(n)})
    code = "import sys; from embedstep import propose_request; propose_request(['pairs.csv'], 'm'); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "transformers", "datasets", "pandas", "mlflow"} & set(loaded)
