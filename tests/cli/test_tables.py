import json
from typing import Any

import pytest

from embedstep.cli.tables import show_plan, show_problems
from embedstep.data.facts import DatasetFacts
from embedstep.errors import Problem
from embedstep.planning.build import build_plan
from embedstep.planning.plan import Plan
from embedstep.request.loading import load_request

SOURCE = {"path": "a.parquet", "columns": {"anchor": "q", "positive": "p"}}


def planned(rows: int = 1300, *, processes: int = 1, gpus: int = 0, evaluate: bool = True, **arguments: Any) -> Plan:
    data = {"train": {"docs": SOURCE}, "eval": {"docs": SOURCE} if evaluate else {}}
    document = {"model": "m", "data": data, "loss": "multiple_negatives_ranking", "arguments": arguments}
    train = DatasetFacts(
        split="train", name="docs", rows=rows, columns={"anchor": "text", "positive": "text"}, dropped_rows=2,
        dropped_columns=("url", "id"),
    )  # fmt: skip
    held = DatasetFacts(split="eval", name="docs", rows=9, columns=train.columns, dropped_columns=("id",))
    items = [train, held] if evaluate else [train]
    return build_plan(load_request(json.dumps(document)), items, gpus=gpus, processes=processes)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({}, "1,300 rows, 489 train steps of 8 rows on 1 process"),
        ({"processes": 2}, "1,300 rows, 243 train steps of 16 rows on 2 processes"),
        (
            {"rows": 2_000_000, "per_device_train_batch_size": 500, "gradient_accumulation_steps": 2},
            "2,000,000 rows, 6,000 train steps of 1,000 rows on 1 process",
        ),
        ({"max_steps": 1, "per_device_train_batch_size": 1}, "1,300 rows, 1 train step of 1 row on 1 process"),
    ],
)
def test_a_plan_in_one_line_counts_the_train_rows(given: dict[str, Any], line: str) -> None:
    assert planned(**given).summary == line


def test_a_plan_is_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    plan = planned(130, per_device_train_batch_size=32, max_steps=12, save_steps=2, warmup_steps=3)
    show_plan(plan)
    out, err = capsys.readouterr()
    assert err == ""
    assert out.splitlines() == [
        "data",
        "  dataset     rows  dropped  columns           loss                        "
        "batches  batch share  unreached  negatives",
        "  train.docs   130        2  anchor, positive  multiple_negatives_ranking  "
        "      5         100%          0         31",
        "  eval.docs      9        0  anchor, positive  multiple_negatives_ranking        2                       0",
        "training",
        "  processes         1 on the CPU",
        "  global batch      32 rows",
        "  train steps       12 (2.4 epochs of 5)",
        "  warm-up           3 train steps",
        "  evaluations       3, after train steps 5, 10, 12",
        "  checkpoints       6, after train steps 2, 4, 6, 8, 10, 12",
        "  columns left out  id, url",
        f"  fingerprint       {plan.request_fingerprint}",
        "arguments",
        "  argument                     value              from       what it does",
        "  output_dir                   None               embedstep  checkpoints/ in the output folder of the step",
        "  max_steps                    12                 request",
        "  warmup_steps                 3                  request",
        "  per_device_train_batch_size  32                 request",
        "  dataloader_pin_memory        False              embedstep  there is no GPU to copy to",
        "  optim                        adamw_torch_fused  embedstep  "
        "not given: the default of the installed class (3.0 had adamw_torch)",
        "  use_cpu                      True               embedstep  no GPU is visible",
        "  prediction_loss_only         True               embedstep  metrics come from evaluators",
        "  eval_strategy                epoch              embedstep  "
        "there is evaluation data and no strategy was given",
        "  save_steps                   2                  request",
        "  disable_tqdm                 True               embedstep  embedstep shows the progress",
        "metrics",
        "  eval_loss",
        "  eval_runtime",
        "  eval_samples_per_second",
        "  eval_steps_per_second",
        "embedstep explain WORD says what a word of this plan means.",
    ]


@pytest.mark.parametrize(
    ("given", "lines"),
    [
        ({"evaluate": False, "save_strategy": "no"}, ["evaluations       none", "checkpoints       none",
                                                      "none: data.eval is empty"]),
        ({"max_steps": 1}, ["evaluations       1, after train step 1", "checkpoints       none"]),
        ({"max_steps": 9000, "save_steps": 1000},
         ["checkpoints       9, after train steps 1,000, 2,000, 3,000, 4,000, 5,000, 6,000, … 9,000",
          "train steps       9,000 ("]),
        ({"gpus": 4, "processes": 4}, ["processes         4 on 4 GPUs"]),
        ({"gpus": 1, "num_train_epochs": 1, "warmup_steps": 1},
         ["processes         1 on 1 GPU\n", "train steps       163 (1 epoch of 163)\n",
          "warm-up           1 train step\n"]),
        ({}, ["train steps       489 (3 epochs of 163)\n"]),
        ({"rows": 2, "per_device_train_batch_size": 1, "max_steps": 1},
         ["global batch      1 row\n", "train steps       1 (0.5 epochs of 2)\n"]),
    ],
    ids=["nothing", "one", "many", "GPUs", "one of each", "three epochs", "half an epoch"],
)  # fmt: skip
def test_a_plan_counts_and_names_its_steps(
    capsys: pytest.CaptureFixture[str], given: dict[str, Any], lines: list[str]
) -> None:
    show_plan(planned(**given))
    out = capsys.readouterr().out
    for line in lines:
        assert line in out


@pytest.mark.parametrize(
    ("columns", "lines"),
    [
        (
            "120",
            ["  dataset     rows  dropped  columns           loss                        "
             "batches  batch share  unreached  negatives"],
        ),
        (
            "80",
            [
                "  dataset",
                "  train.docs",
                "    rows         130",
                "    dropped      2",
                "    columns      anchor, positive",
                "    loss         multiple_negatives_ranking",
                "    batches      5",
                "    batch share  100%",
                "    unreached    0",
                "    negatives    31",
                "  eval.docs",
            ],
        ),
    ],
)  # fmt: skip
def test_datasets_are_a_list_where_their_table_is_too_wide(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: str, lines: list[str]
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    show_plan(planned(130, per_device_train_batch_size=32))
    assert capsys.readouterr().out.splitlines()[1 : 1 + len(lines)] == lines


@pytest.mark.parametrize("columns", [60, 80, 100])
def test_a_plan_fits_a_terminal_but_for_what_cannot_be_broken(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    plan = planned(130, per_device_train_batch_size=256, max_steps=900, save_steps=50)
    assert plan.notes
    monkeypatch.setenv("COLUMNS", str(columns))
    show_plan(plan)
    wide = [line for line in capsys.readouterr().out.splitlines() if len(line) > columns]
    assert [line for line in wide if plan.request_fingerprint not in line] == []


def test_problems_are_shown_without_secrets(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "planted-token")
    show_problems("-", [Problem("model", "planted-token was refused"), "http://user:planted@host is away"])
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "-: 2 problems\n  model: *** was refused\n  http://***@host is away\n"
