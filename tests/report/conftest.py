"""Output folders as runs leave them, made by hand: their training is not at stake."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embedstep.output.result import write_json
from embedstep.request.loading import load_request
from embedstep.step import plan_step

Build = Callable[..., dict[str, Any]]


def gain(champion: float, challenger: float, width: float = 0.02) -> dict[str, Any]:
    """A gain as `verdict.json` has it."""
    found = challenger - champion
    return {
        "queries": 40, "champion": champion, "challenger": challenger, "gain": found, "low": found - width,
        "high": found + width,
    }  # fmt: skip


VERDICT: dict[str, Any] = {
    "format": "embedstep.verdict/1",
    "verdict": "promote",
    "reasons": ["docs_cosine_ndcg@10 0.5000 against 0.4000: +0.1000"],
    "metric": "docs_cosine_ndcg@10",
    "challenger": {"model": "m"},
    "champion": {"model": "c", "is_base": False, "version": "3"},
    "gain": gain(0.4, 0.5),
    "gains": {"docs_cosine_ndcg@10": gain(0.4, 0.5), "docs_cosine_mrr@10": gain(0.3, 0.29)},
    "slices": {"de": gain(0.4, 0.45), "<b>en": gain(0.4, 0.38)},
    "dimensions": {"128": gain(0.4, 0.48), "64": gain(0.35, 0.41)},
    "examples": {
        "won": [{"query": "open <script>alert(1)</script>", "relevant": "a", "champion": 0.0, "challenger": 1.0,
                 "champion_found": "b", "challenger_found": "a"}],
        "lost": [],
    },
    "reindex": {"needed": True, "reasons": ["the weights differ, and nothing else"], "neighbours": 0.7,
                "documents": 9000, "seconds": 120.0},
    "measured": {},
    "metrics": {"champion": {"docs_cosine_ndcg@10": 0.4, "docs_cosine_mrr@10": 0.3}, "challenger": {}},
    "data": {"docs": "f"},
}  # fmt: skip


@pytest.fixture
def output_of(evaluated: Build, tmp_path: Path) -> Callable[..., Path]:
    """Make the output folder of a run of 100 steps; keyword arguments are its verdict and its error."""

    def build(*, verdict: Any = None, error: Any = None, logs: int = 50, **sections: Any) -> Path:
        document = evaluated(arguments={"max_steps": 100, "eval_strategy": "steps", "eval_steps": 20}, **sections)
        for split in ("train", "eval"):
            document["data"][split]["docs"]["columns"] = {"anchor": "anchor", "positive": "positive", "label": "class"}
        document["loss"] = "contrastive"
        request = load_request(json.dumps(document))
        output = tmp_path / "docs-run"
        output.mkdir()
        plan = plan_step(request)
        write_json(output / "plan.json", plan.to_json())
        write_json(output / "request.json", {"request": request.model_dump(mode="json")})
        write_json(output / "attempts.json", [
            {"started": "2026-11-02T03:00:00+00:00", "processes": 2, "device": "CPU", "seconds": 90.0, "exit_code": 75},
            {"started": "2026-11-02T04:00:00+00:00", "processes": 2, "device": "CPU", "seconds": 180.0,
             "exit_code": None if error else 0},
        ])  # fmt: skip
        lines: list[dict[str, Any]] = [
            {"train_step": 2 * n, "loss": 1 / (n + 1) if n != 7 else "nan", "learning_rate": 1e-3, "grad_norm": 1.0}
            for n in range(logs)
        ]
        lines += [
            {"train_step": 20 * n, "eval_loss": 0.5, "eval_runtime": 0.1, "eval_docs_cosine_ndcg@10": n / 10,
             "eval_docs_cosine_accuracy@1": n / 20, "eval_docs_cosine_accuracy@10": n / 10}
            for n in range(6)
        ]  # fmt: skip
        (output / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        if verdict:
            write_json(output / "verdict.json", verdict)
        if error:
            write_json(output / "error.json", error)
        else:
            write_json(output / "result.json", {
                "exit_code": 0, "output": str(output), "metrics": {"train_samples_per_second": 1808.4},
                "seconds": {"start": 5.0, "train": 170.0, "save": 1.0, "total": 180.0}, "versions": {"torch": "2.13.0"},
                "ledger": [], "weights": "a" * 64, "space": "b" * 64, "padding": 0.125, "stopped": None,
            })  # fmt: skip
        return output

    return build
