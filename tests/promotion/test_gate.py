"""Gates over real models and a real registry. What a run leaves is put there by hand: its training is not at stake."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml

from embedstep.data.duplicates import hash_texts, normalise_texts
from embedstep.data.recorded_anchors import write_anchors
from embedstep.output.result import StepResult, write_json
from embedstep.output.weights import weights_digest
from embedstep.promotion.decision import decision_from_json
from embedstep.promotion.gate import promote
from embedstep.promotion.scoring import ScoredModels, Scores
from embedstep.request.loading import load_request
from embedstep.step import plan_step
from embedstep.tracking.mlflow_registry import Registry
from embedstep.tracking.sender import Sender
from embedstep.tracking.spool import Spool, new_spool
from tests.conftest import pair_rows
from tests.tracking.conftest import open_client

Build = Callable[..., dict[str, Any]]

SEEN = "37 of 40 held-out anchors of data.eval.docs, so its score is too high"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def blind(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model without its word embeddings: it sees where words stand and not which."""
    import torch
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(tiny_model), device="cpu")
    with torch.no_grad():
        model[0].model.get_input_embeddings().weight.zero_()
    folder = tmp_path_factory.mktemp("blind") / "model"
    model.save_pretrained(str(folder))
    return folder


def finished(
    output: Path, model: Path, *, uri: str | None = None, register_as: str | None = None, anchors: Sequence[str] = ()
) -> Path:
    """Make the output folder of a run that has trained `model` on some anchors, and register it."""
    shutil.copytree(model, output / "model")
    write_anchors(output / "model", [hash_texts(normalise_texts(pa.array(anchors, pa.string())))])
    run_id = None
    if uri is not None:
        spool = Spool(folder=(folder := new_spool(output)))
        spool.add(
            "start", attempt="a", uri=uri, mode="own", key=str(output), run_id=None, experiment="gates", run_name=None,
            tags={},
        )  # fmt: skip
        spool.add(
            "model", path=str(output / "model"), published=str(output / "model"), dimension=32, example=["a"], step=1,
            requirements=["sentence-transformers==6.2.0"],
        )  # fmt: skip
        spool.add("register", weights=weights_digest(model), register_as=register_as, aliases=["challenger"], tags={})
        spool.end("FINISHED", patience=1)
        assert Sender(folder, uri).forward()
        assert (folder.sent.not_recorded, folder.sent.deferred) == ((), ())
        run_id = folder.sent.run_id
    write_json(output / "result.json", StepResult(
        exit_code=0, output=str(output), model=str(output / "model"), run_id=run_id,
    ).to_json())  # fmt: skip
    return output


def embedstep(command: str, document: dict[str, Any], folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    (folder / "request.yaml").write_text(yaml.safe_dump(document))
    return subprocess.run(
        [sys.executable, "-m", "embedstep", command, "request.yaml", *words],
        cwd=folder, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip


def test_a_model_s_way_through_the_registry(
    evaluated: Build, blind: Path, minilm: Path, uri: str, tmp_path: Path
) -> None:
    """The first one has to beat the model that it started from; then each has to beat the one that serves."""
    tracking = {"kind": "mlflow", "uri": uri, "experiment": "gates", "register_as": "way"}
    document = evaluated(model=str(blind), tracking=tracking)
    seen = [row["anchor"].upper() for row in pair_rows(37, 2000)]
    good = finished(tmp_path / "good", minilm, uri=uri, register_as="way", anchors=[*seen, "others"])
    process = embedstep("promote", document, tmp_path, str(good), "--json")
    assert process.returncode == 0, process.stderr
    found = json.loads(process.stdout)
    assert found == json.loads((good / "verdict.json").read_text())
    assert (found["verdict"], found["champion"]["is_base"]) == ("promote", True)
    assert found["metric"] == "docs_cosine_ndcg@10"
    assert found["gain"]["low"] > 0
    assert found["gain"]["queries"] == 40
    assert found["gains"]["docs_cosine_ndcg@10"]["gain"] == found["gain"]["gain"]
    assert found["reindex"] is None
    assert found["seen"] == {"challenger": {"docs": {"anchors": 40, "seen": 37}}}
    assert found["reasons"][-1] == f"the challenger was trained on {SEEN}"
    won = found["examples"]["won"]
    assert [one["challenger"] > one["champion"] for one in won] == [True] * 10
    assert {"query", "relevant", "champion_found", "challenger_found"} < set(won[0])
    client = open_client(uri)
    first = client.get_model_version_by_alias("way", "champion")
    assert (str(first.version), first.tags["embedstep.verdict"]) == (found["challenger"]["version"], "promote")
    assert client.get_run(first.run_id).data.tags["embedstep.verdict"] == "promote"

    again = embedstep("promote", document, tmp_path, str(good))
    assert again.returncode == 0
    assert again.stdout.splitlines()[0] == "promote"
    (good / "verdict.json").unlink()
    again = embedstep("promote", document, tmp_path, str(good))
    assert again.stdout.splitlines() == ["hold", "  the challenger is already the champion"]

    bad = finished(tmp_path / "bad", blind, uri=uri, register_as="way")
    process = embedstep("promote", document, tmp_path, str(bad))
    assert process.returncode == 0, process.stderr
    assert process.stdout.splitlines()[0] == "reject"
    assert process.stdout.splitlines()[1].endswith("; the challenger is worse")
    assert process.stdout.splitlines()[2] == f"  the champion was trained on {SEEN}"
    assert client.get_model_version_by_alias("way", "champion").version == first.version

    process = embedstep("rollback", document, tmp_path)
    assert process.returncode == 2
    assert "way has no previous champion" in process.stderr
    registry = Registry(uri, "way")
    serving = registry.champion()
    assert serving is not None
    second = registry.find_version(json.loads((bad / "result.json").read_text())["run_id"])
    assert second is not None
    assert registry.promote(second, serving)
    process = embedstep("rollback", document, tmp_path)
    assert process.stdout == f"way: version {serving.number} is the champion again\n"
    assert registry.champion() == serving


def test_slices_decide_too(evaluated: Build, tiny_model: Path, minilm: Path, tmp_path: Path) -> None:
    document = evaluated(promotion={"slices": "class", "max_slice_loss": 0.0, "metric": "docs_cosine_mrr@10"})
    output = finished(tmp_path / "good", minilm)
    process = embedstep("promote", document, tmp_path, str(output), "--champion", str(tiny_model), "--json")
    assert process.returncode == 0, process.stderr
    found = json.loads(process.stdout)
    assert found["metric"] == "docs_cosine_mrr@10"
    assert {name: gain["queries"] for name, gain in found["slices"].items()} == {"0": 20, "1": 20}
    assert (tmp_path / "good/verdict.json").exists()
    index = found["reindex"]
    assert index["needed"]
    assert index["reasons"][0] == "vectors have 384 dimensions in place of 32, so the index must be rebuilt"
    assert 0 < index["neighbours"] < 1
    assert index["documents"] == 40


def test_limits_and_changed_data_are_reported(evaluated: Build, tiny_model: Path, minilm: Path, tmp_path: Path) -> None:
    document = evaluated(promotion={"max_megabytes": 10, "max_milliseconds": 0.001, "index_size": 9000})
    output = finished(tmp_path / "good", minilm)
    plan = plan_step(load_request(yaml.safe_dump(document)))
    before = [replace(item, fingerprint="other") if item.split == "eval" else item for item in plan.datasets]
    write_json(output / "plan.json", replace(plan, datasets=tuple(before)).to_json())
    process = embedstep("promote", document, tmp_path, str(output), "--champion", str(tiny_model))
    assert process.returncode == 0, process.stderr
    lines = process.stdout.splitlines()
    assert lines[0] == "reject"
    assert lines[1] == "  the weights take 90.9 MB, more than promotion.max_megabytes (10)"
    assert lines[2].endswith(" ms, more than promotion.max_milliseconds (0.001)")
    assert lines[4] == "  data.eval.docs has changed since the run; both models were scored on the current rows"
    assert lines[-1].startswith("  9,000 documents, about ")
    report = (output / "report.html").read_text()
    assert "more than promotion.max_megabytes (10)" in report
    assert "Queries won" in report


def test_a_model_that_loses_what_it_could_before_is_rejected(
    evaluated: Build, tiny_model: Path, blind: Path, data_folder: Path, minilm: Path, tmp_path: Path
) -> None:
    """The new questions are better answered and the old ones worse; `eval_` before a metric is no other."""
    request = evaluated(promotion={"metric": "eval_new_cosine_ndcg@10"})
    columns = {"anchor": "anchor", "positive": "positive"}
    for name in ("train", "more"):
        request["data"]["eval"][name] = {"path": str(data_folder / f"{name}.jsonl"), "columns": columns}
    request["evaluators"] = [
        {"kind": "information_retrieval", "name": name, "dataset": dataset}
        for name, dataset in (("new_old", "more"), ("new", "docs"))
    ]
    loaded = load_request(yaml.safe_dump(request))
    rng = np.random.default_rng(0).random(50) / 100

    def scores(new: float, old: float) -> Scores:
        of_queries = {"new_cosine_ndcg@10": new + rng, "new_old_cosine_ndcg@10": old + rng}
        texts = [{"query": f"q{n}", "relevant": "r", "found": "f"} for n in range(50)]
        return Scores(metrics={}, of_queries=of_queries, dimension=2, bytes=1, seconds=1.0, texts={"new": texts})

    scored = ScoredModels(models={"challenger": scores(0.9, 0.3), "champion": scores(0.5, 0.5)}, data={})
    output = finished(tmp_path / "one", tiny_model)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("embedstep.promotion.gate.score_models", lambda *given: scored)
        decision = promote(loaded, output, champion="any")
    assert decision.metric == "new_cosine_ndcg@10"
    assert decision.action == "reject"
    assert decision.reasons[0] == (
        "new_old_cosine_ndcg@10 0.3053 against 0.5053 on 50 queries, -0.2000; more than the allowed loss of 0.02"
    )
    assert decision.examples["won"][0]["query"].startswith("q")
    assert decision_from_json(json.loads(json.dumps(decision.to_json()))) == decision


def test_a_gate_that_was_overtaken_decides_again(
    evaluated: Build, tiny_model: Path, minilm: Path, uri: str, tmp_path: Path
) -> None:
    """Another client moves the alias while the models are scored."""
    tracking = {"kind": "mlflow", "uri": uri, "experiment": "gates", "register_as": "overtaken"}
    request = load_request(yaml.safe_dump(evaluated(tracking=tracking)))
    output = finished(tmp_path / "one", minilm, uri=uri, register_as="overtaken")
    other = finished(tmp_path / "two", tiny_model, uri=uri, register_as="overtaken")
    registry = Registry(uri, "overtaken")
    second = registry.find_version(json.loads((other / "result.json").read_text())["run_id"])
    assert second is not None
    times: list[int] = []

    def scored(*given: Any) -> ScoredModels:
        times.append(1)
        if len(times) == 1:
            open_client(uri).set_registered_model_alias("overtaken", "champion", second.number)
        good = {"docs_cosine_ndcg@10": np.linspace(0.5, 0.9, 40)}
        models = {
            name: Scores(metrics={}, of_queries={key: values * share for key, values in good.items()}, dimension=2,
                         bytes=1, seconds=1.0, texts={"docs": [{"query": "q", "relevant": "r", "found": "f"}] * 40})
            for name, share in (("challenger", 1.0), ("champion", 0.5))
        }  # fmt: skip
        return ScoredModels(models=models, data={})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("embedstep.promotion.gate.score_models", scored)
        decision = promote(request, output)
        assert (len(times), decision.action, decision.champion["version"]) == (2, "promote", second.number)
        # The call that broke off after the alias had moved has not returned its verdict; the next one does.
        again = promote(request, output)
    assert (len(times), again.action, again.to_json()) == (2, "promote", decision.to_json())
    assert (
        open_client(uri).get_model_version("overtaken", decision.challenger["version"]).tags["embedstep.verdict"]
        == "promote"
    )


def test_a_verdict_stands_though_nobody_takes_its_record(
    evaluated: Build, tiny_model: Path, nobody: str, uri: str, tmp_path: Path
) -> None:
    output = finished(tmp_path / "one", tiny_model, uri=uri, register_as="gone")
    tracking = {"kind": "mlflow", "uri": nobody, "experiment": "gates", "register_as": "gone"}
    process = embedstep(
        "promote", evaluated(tracking=tracking), tmp_path, str(output), "--champion", str(tiny_model)
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    assert process.stdout.splitlines()[0] == "hold"
    assert "not recorded: the verdict: tracking: MLflow at" in process.stdout
    assert json.loads((output / "verdict.json").read_text())["verdict"] == "hold"


def test_the_same_model_twice_keeps_champion_and_index(evaluated: Build, tiny_model: Path, tmp_path: Path) -> None:
    output = finished(tmp_path / "one", tiny_model)
    process = embedstep("promote", evaluated(), tmp_path, str(output), "--champion", str(tiny_model))
    assert process.stdout.splitlines()[0] == "hold"
    assert process.stdout.splitlines()[-1] == "  can be kept: both models have the same embedding space"


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"promotion": {"metric": "docs_cosine_ndcg@11"}},
         "promotion.metric: is docs_cosine_ndcg@11, which has no score for each query; use a metric of "
         "information_retrieval: docs_cosine_accuracy@1, "),
        ({"promotion": {"slices": "nothing"}}, "promotion.slices: "),
    ],
)  # fmt: skip
def test_what_cannot_decide_is_refused(
    evaluated: Build, tiny_model: Path, tmp_path: Path, sections: dict[str, Any], message: str
) -> None:
    output = finished(tmp_path / "one", tiny_model)
    process = embedstep("promote", evaluated(**sections), tmp_path, str(output))
    assert process.returncode == 2
    assert message in process.stderr
    assert "Traceback" not in process.stderr


def test_a_gate_needs_a_finished_run(evaluated: Build, tmp_path: Path) -> None:
    process = embedstep("promote", evaluated(), tmp_path, "nowhere")
    assert process.returncode == 2
    assert "nowhere: contains no finished model; promote needs a successful run" in process.stderr
