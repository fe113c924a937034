"""An engine for more rows than one machine can read writes what a request reads, as the page on scale shows it."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from embedstep.planning.plan import Plan
from embedstep.request.loading import load_request
from embedstep.step import plan_step
from tests.cli.conftest import embedstep
from tests.places import ROOT

PAGE = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
ANSWERS = [(1, "look at the file menu", 3), (2, "in /var/log", 2), (1, "no idea", 0), (3, "an answer to nothing", 1)]


def block(language: str, number: int = 0) -> str:
    return str(re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.M | re.S)[number])


def plan_of(minilm: Path, data: object, **sections: object) -> Plan:
    document = {"model": {"path": str(minilm)}, "data": data, "loss": "multiple_negatives_ranking"}
    document["arguments"] = {"per_device_train_batch_size": 2, "use_cpu": True}
    return plan_step(load_request(json.dumps({**document, "tracking": {"kind": "none"}, **sections})))


def test_facts_are_written_and_used_as_the_page_shows_it(
    tmp_path: Path, minilm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rows").mkdir()
    for number in range(2):
        first = 500_000 * number
        texts = [[f"{kind} {row}" for row in range(first, first + 500_000)] for kind in ("question", "answer")]
        pq.write_table(pa.table(texts, names=["question", "answer"]), f"rows/part-{number}.parquet")
    command, *shown = block("console", 1).splitlines()
    assert embedstep(*shlex.split(command)[2:]) == (0, "\n".join([*shown, ""]), "")
    found = yaml.safe_load(block("yaml", 1))
    plan = plan_of(minilm, found.pop("data"), **{**found, "arguments": {**found["arguments"], "use_cpu": True}})
    assert plan.datasets[0].node_rows == (500_000, 500_000)


def test_what_daft_writes_is_read_as_the_same_rows(
    tmp_path: Path, minilm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("questions", "answers"):
        Path(folder).mkdir()
    Path("questions", "one.csv").write_text('id,question\n1,"how to open, a file"\n2,where are logs\n3,\n')
    ids, answers, scores = zip(*ANSWERS, strict=True)
    table = pa.table({"question_id": ids, "answer": answers, "score": scores})
    for number in range(2):
        pq.write_table(table.slice(2 * number, 2), Path("answers", f"{number}.parquet"))
    # The engine would report its use to its authors.
    environ = {**os.environ, "DO_NOT_TRACK": "true", "DAFT_ANALYTICS_ENABLED": "0"}
    subprocess.run([sys.executable, "-c", block("python")], check=True, capture_output=True, env=environ)
    (written,) = plan_of(minilm, yaml.safe_load(block("yaml"))["data"]).datasets
    expected = [("how to open, a file", "look at the file menu"), ("where are logs", "in /var/log")]
    rows = [{"question": question, "answer": answer} for question, answer in expected]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    docs = {"path": "rows.jsonl", "columns": {"anchor": "question", "positive": "answer"}}
    (by_hand,) = plan_of(minilm, {"train": {"docs": docs}}).datasets
    assert (written.rows, written.fingerprint) == (2, by_hand.fingerprint)
