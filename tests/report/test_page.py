"""What stands on the page."""

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from embedstep.errors import InvalidRequestError
from embedstep.report.page import write_report
from embedstep.report.run import read_run
from embedstep.tracking.spool import new_spool
from tests.report.conftest import VERDICT

Make = Callable[..., Path]


class Page(HTMLParser):
    """The texts, the tags and the names of a page."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.source = file.read_text()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += f"{data} "

    @property
    def sections(self) -> list[str | None]:
        return [attributes["id"] for tag, attributes in self.tags if tag == "section"]

    def has(self, *texts: str) -> None:
        flat = " ".join(self.text.split())
        for text in texts:
            assert text in flat, text


def test_a_run_with_its_verdict(output_of: Make) -> None:
    page = Page(write_report(output_of(verdict=VERDICT)))
    assert page.sections == [
        "verdict", "training", "evaluation", "batches", "cost", "arguments", "lineage", "environment", "replay",
    ]  # fmt: skip
    page.has(
        "succeeded promote",
        "0.5000 docs_cosine_ndcg@10 0.4000 champion 100 train steps 130 training rows 1,808 rows per second "
        "0.150 process-hours",
        "loss was not finite 1 times",
        "docs_cosine_mrr@10 0.3000 0.2900 -0.0100 -0.0300 to +0.0100",
        "slice de 0.4000 0.4500",
        "128 dimensions 0.4000 0.4800",
        "9,000 documents to embed again, about 2.0 minutes on one machine",
        "70% of the 10 nearest documents of a query stay the same",
        "open <script>alert(1)</script>",
        "Dashed lines show the champion.",
        "docs_cosine_accuracy",
        "12.5% of the tokens in the batches were padding",
        "labels of train.docs",
        "1 2026-11-02 03:00:00 2 90.0 0.0500 interrupted",
        "2 2026-11-02 04:00:00 2 180.0 0.1000 succeeded",
        "train.docs",
        "torch 2.13.0",
        "embedstep replay ",
    )
    assert page.source.count("<svg") == 3 + 3 + 2 + 2 + 1


def test_gpus_of_the_last_attempt_are_drawn_over_its_minutes(output_of: Make) -> None:
    output = output_of()
    assert "GPU memory" not in Page(write_report(output)).text
    spool = new_spool(output)
    reading = {"system/gpu_0_utilization_percentage": 91.0, "system/gpu_0_memory_usage_megabytes": 5120.0}
    spool.entries.write_text(
        json.dumps({"at": 1000, "kind": "start"})
        + "\n"
        + "".join(
            json.dumps({"at": minute * 60_000, "kind": "metrics", "step": 0, "values": {**reading, "loss": 0.1}}) + "\n"
            for minute in (1, 3)
        )
    )
    run = read_run(output)
    assert {name: (series.steps.tolist(), series.last) for name, series in run.gpus.items()} == {
        "system/gpu_0_utilization_percentage": ([0, 2], 91),
        "system/gpu_0_memory_usage_megabytes": ([0, 2], 5120),
    }
    Page(write_report(output)).has("GPU utilization, %", "GPU memory, MB", "minutes", "of the last attempt")


def test_the_page_needs_nothing_else_and_no_script(output_of: Make) -> None:
    page = Page(write_report(output_of(verdict=VERDICT)))
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"script", "link", "img", "iframe", "object", "embed", "b"} - {"b"}
    assert "<script>alert" not in page.source
    assert "<b>en" not in page.source
    outside = [value for _, attributes in page.tags for name, value in attributes.items() if name in ("src", "href")]
    assert outside == []
    assert not re.search(r"url\((?!#)", page.source)
    names = [attributes["id"] for _, attributes in page.tags if attributes.get("id")]
    assert len(names) == len(set(names))
    used = set(re.findall(r'(?:url\(#|href="#)([^")]+)', page.source))
    assert used <= set(names)


def test_what_differs_from_the_defaults_stands_first(output_of: Make) -> None:
    text = " ".join(Page(write_report(output_of())).text.split())
    arguments = text[text.index("Arguments") :]
    assert arguments.index("max_steps 100 request") < arguments.index("more with default values")
    assert arguments.index("more with default values") < arguments.index("weight_decay 0.0 default")


def test_a_failed_run_says_what_went_wrong_first(output_of: Make) -> None:
    error = {
        "kind": "ValueError", "message": "loss is <nan>", "exit_code": 1, "rank": 1, "problems": [],
        "traceback": ["train.py line 3"],
    }  # fmt: skip
    page = Page(write_report(output_of(error=error)))
    assert page.sections[0] == "failure"
    page.has("failed", "Rank 1: loss is <nan>", "train.py line 3", "2 2026-11-02 04:00:00 2 180.0 0.1000 killed")
    assert "<nan>" not in page.source


def test_texts_without_spaces_are_cut_and_signs_are_signs(output_of: Make) -> None:
    example = {**VERDICT["examples"]["won"][0], "query": "字" * 200}
    slices = {"US$ / CA$": VERDICT["slices"]["de"]}
    verdict = {**VERDICT, "slices": slices, "examples": {"won": [example], "lost": []}}
    page = Page(write_report(output_of(verdict=verdict)))
    page.has("字" * 139 + "…", "slice US$ / CA$")
    assert page.source.count("US$ / CA$") == 2


def test_the_same_run_gives_the_same_page(output_of: Make) -> None:
    output = output_of(verdict=VERDICT)
    first = write_report(output).read_bytes()
    assert write_report(output).read_bytes() == first


def test_an_empty_folder_has_no_report(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="contains no run; a report needs one that has a plan"):
        write_report(tmp_path)
