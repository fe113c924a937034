"""The steps on a real ZenML store: offline, on the local stack, with real trainings."""

import re
import textwrap
from pathlib import Path
from typing import Any

import pytest

from tests.orchestration.running import Build, Zen

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_a_retraining_runs_and_the_next_one_on_the_same_rows_is_cached(zen: Zen, document: Build) -> None:
    found = zen(
        document(),
        """
        from pipelines.zenml_retrain.pipeline import retraining
        import yaml
        rows = Path("rows.jsonl")
        document = yaml.safe_load(request)
        dataset = document["data"]["train"]["docs"]
        rows.write_text(Path(dataset["path"]).read_text())
        dataset["path"] = str(rows.resolve())
        request = json.dumps(document)

        runs = [shown(retraining(request=request)) for _ in range(2)]
        run = last()
        model = run.steps["train_embedder"].outputs["model"][0]
        from sentence_transformers import SentenceTransformer
        embedder = model.load()
        vector = SentenceTransformer(os.fspath(embedder), device="cpu").encode("a text")
        metadata = {name: str(value) for name, value in model.run_metadata.items()}
        report = run.steps["train_embedder"].outputs["report"][0]
        ledger = run.steps["train_embedder"].outputs["ledger"][0].load()
        decision = run.steps["promote_embedder"].outputs["decision"][0].load()
        out(runs=runs, dimension=len(vector), status=embedder.status, metadata=metadata, type=str(model.type),
            visual=[str(item.type) for item in report.visualizations], ledger=ledger.splitlines()[:1],
            decision=decision["verdict"])

        @pipeline
        def again():
            given = {"request": request, "as_of": None}
            train_rows, eval_rows, prepared = prepare_data(**given, eval_share=0.0)
            train = train_embedder.with_options(enable_cache=True)
            train(**given, train_data=train_rows, eval_data=eval_rows, prepared=prepared, id="prepared")
            train_embedder(request=request, id="plain")

        out(before=shown(again()))
        rows.write_text("\\n".join(rows.read_text().splitlines()[:-1]))  # fewer rows at the same path
        out(after=shown(again()))
        """,
    )
    # The rows at a path are not in ZenML's key, so that a step is cached only after one that has read them.
    before, after = found["before"]["steps"], found["after"]["steps"]
    assert (before["prepared"], before["plain"]) == ("cached", "completed")
    assert (after["prepared"], after["plain"]) == ("completed", "completed")
    first, second = found["runs"]
    assert (first["status"], second["status"]) == ("completed", "completed")
    assert first["steps"]["train_embedder"] == "completed"
    assert second["steps"] == {
        "prepare_data": "completed", "train_embedder": "cached", "evaluate_embedder": "cached",
        "promote_embedder": "completed",
    }  # fmt: skip
    assert (found["dimension"], found["status"], found["type"]) == (32, "trained", "ModelArtifact")
    assert 0 < float(found["metadata"]["eval_docs_cosine_ndcg@10"]) <= 1
    assert len(found["metadata"]["weights_sha256"]) == 64
    assert found["visual"] == ["html"]
    assert found["ledger"] == ["name,value,source,support,effect"]
    assert found["decision"] in ("promote", "hold", "reject")


@pytest.fixture(scope="module")
def kept() -> dict[str, Any]:
    """Return what `configured` has found once."""
    return {}


@pytest.fixture
def configured(zen: Zen, document: Build, kept: dict[str, Any]) -> dict[str, Any]:
    """Return what one training shows whose arguments come from three places, in a pipeline that declares a model.

    YAML gives one of many arguments, and code and YAML set the same one. What is connected to is noted.
    """
    kept |= kept or zen(
        document(),
        """
        import socket
        from zenml import Model
        real = socket.socket.connect
        asked = []

        def connect(self, address):
            if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1", "localhost"):
                asked.append(str(address))
            return real(self, address)

        socket.socket.connect = connect
        names = []
        look = socket.getaddrinfo
        socket.getaddrinfo = lambda host, *rest, **more: (names.append(str(host)), look(host, *rest, **more))[1]
        Path("config.yaml").write_text(
            "steps: {train_embedder: {parameters: {arguments: {learning_rate: 3.0e-4, adam_beta1: 0.8}}}}"
        )

        @pipeline(enable_cache=False, model=Model(name="docs"))
        def once():
            train_embedder(request=request_with(request, learning_rate=1e-4, seed=7))

        once.with_options(config_path="config.yaml")()
        version = Client().get_model_version("docs")
        model = version.get_artifact("model").load()
        chosen = {item["name"]: item["value"] for item in model.result["ledger"] if item["source"] == "request"}
        out(number=version.number, metadata={name: str(value) for name, value in version.run_metadata.items()},
            status=model.status, chosen=chosen,
            asked=asked, names=[name for name in names if name not in ("127.0.0.1", "localhost")])
        """,
    )
    return kept


def test_yaml_wins_over_code_and_code_over_the_document_field_by_field(configured: dict[str, Any]) -> None:
    chosen = configured["chosen"]
    assert (chosen["learning_rate"], chosen["adam_beta1"], chosen["seed"]) == (3e-4, 0.8, 7)
    assert chosen["max_steps"] == 4


def test_a_pipeline_that_declares_a_model_gets_a_version_of_it(configured: dict[str, Any]) -> None:
    assert (configured["number"], configured["status"]) == (1, "trained")
    assert 0 < float(configured["metadata"]["eval_docs_cosine_ndcg@10"]) <= 1


def test_nothing_goes_to_the_network(configured: dict[str, Any]) -> None:
    assert (configured["asked"], configured["names"]) == ([], [])


def test_a_refused_request_fails_its_step_and_says_why(zen: Zen, document: Build) -> None:
    arguments = {"max_steps": 4, "per_device_train_batch_size": 0}
    refused = [{**document(), **change} for change in ({"loss": "no_such_loss"}, {"arguments": arguments})]
    found = zen(
        {"refused": refused},
        """
        import yaml
        steps = []
        for refused in yaml.safe_load(request)["refused"]:
            @pipeline(enable_cache=False)
            def once():
                train_embedder(request=json.dumps(refused))

            try:
                once()
            except Exception:
                steps.append(shown(last())["steps"])
        out(steps=steps)
        """,
    )
    assert found["steps"] == [{"train_embedder": "failed"}] * 2
    assert "no loss is named 'no_such_loss'" in found["output"]
    assert "per_device_train_batch_size" in found["output"]


def test_a_stack_without_what_a_step_needs_and_a_store_that_takes_nothing_are_reported_before_training(
    zen: Zen, document: Build
) -> None:
    found = zen(
        document(),
        """
        from embedstep.orchestration.zenml import on_kubernetes
        client = Client()
        errors = {}

        def run(name, **options):
            @pipeline(enable_cache=False)
            def once():
                train_embedder.with_options(**options)(request=request)

            try:
                once()
            except Exception as error:
                errors[name] = f"{type(error).__name__}: {error}"

        run("tracker", experiment_tracker="not_there")
        run("operator", step_operator="not_there", settings=on_kubernetes(pods=1))
        Path("store").mkdir()
        client.create_stack_component("full", "local", "artifact_store", {"path": str(Path("store").absolute())})
        client.create_stack("full", {"orchestrator": "default", "artifact_store": "full"})
        client.activate_stack("full")
        Path("store").rmdir()
        Path("store").write_text("a file is where the store was")
        try:
            run("store")
        finally:
            client.activate_stack("default")
            client.delete_stack("full")
            client.delete_stack_component("full", "artifact_store")
        out(errors=errors)
        """,
    )
    assert "not_there" in found["errors"]["tracker"]
    assert "not_there" in found["errors"]["operator"]
    assert "store" in found["errors"]["store"] + found["output"]
    assert set(found["errors"]) == {"tracker", "operator", "store"}
    assert "step 4/4" not in found["output"]


_INTERRUPTS = """
import psutil, signal, threading, time
from contextlib import suppress

def interrupt_the_training(number=signal.SIGTERM):
    def training():
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):  # one that has ended meanwhile
                command = process.cmdline()
                is_agent = "embedstep.worker.torchrun.agent" in command
                if is_agent and list(Path(command[3]).glob("checkpoints/checkpoint-*")):
                    return process

    def watch():
        while not (found := training()):
            time.sleep(0.1)
        found.send_signal(number)

    threading.Thread(target=watch, daemon=True).start()
"""


def test_an_interruption_fails_its_step_and_the_next_run_resumes(zen: Zen, document: Build, tmp_path: Path) -> None:
    """The code 75 as a state of ZenML; the checkpoints are in a folder that outlives the step."""
    request = document()
    request["arguments"] |= {
        "max_steps": 400, "eval_steps": 200, "save_strategy": "steps", "save_steps": 5,
        "output_dir": str(tmp_path / "kept"),
    }  # fmt: skip
    found = zen(
        request,
        _INTERRUPTS
        + textwrap.dedent(
            """
            @pipeline(enable_cache=False)
            def once():
                train_embedder(request=request)

            interrupt_the_training()
            try:
                once()
            except Exception:
                out(first=shown(last()))
            out(second=shown(once()))
            """
        ),
    )
    assert found["first"] == {"status": "failed", "steps": {"train_embedder": "failed"}}
    assert re.search(r"interrupted by SIGTERM after train step \d+ of \d+; the next attempt resumes", found["output"])
    assert found["second"]["status"] == "completed"
    assert "resuming after train step" in found["output"]


def test_rows_may_come_from_a_step_of_ones_own(zen: Zen, document: Build, data_folder: Path) -> None:
    """As a DataFrame, a Dataset, or a path; what is no rows fails the step and says what would be right."""
    held_out = {"path": "elsewhere.jsonl", "columns": {"anchor": "anchor", "positive": "positive"}}
    scored = {"kind": "information_retrieval", "name": "docs", "dataset": "docs"}
    train = {"path": "elsewhere.jsonl", "columns": held_out["columns"]}
    found = zen(
        document(data={"train": {"docs": train}, "eval": {"docs": held_out}}, evaluators=[scored]),
        f"""
        import datasets, pandas as pd
        from typing import Annotated
        from zenml import step
        train, held_out = {str(data_folder / "train.jsonl")!r}, {str(data_folder / "eval.jsonl")!r}

        @step
        def frame() -> Annotated[pd.DataFrame, "frame"]:
            return pd.read_json(train, lines=True)

        @step
        def dataset() -> Annotated[datasets.Dataset, "dataset"]:
            return datasets.Dataset.from_list([json.loads(line) for line in open(train)])

        @pipeline(enable_cache=False)
        def from_frame():
            model, _, _, _ = train_embedder(request=request, train_data=frame(), eval_data=held_out)
            evaluate_embedder(request=request, model=model, eval_data=held_out)

        @pipeline(enable_cache=False)
        def from_dataset():
            train_embedder(request=request, train_data=dataset(), eval_data=held_out)

        @pipeline(enable_cache=False)
        def from_number():
            train_embedder(request=request, train_data=5)

        weights = []
        for run in (from_frame, from_dataset):
            run()
            weights.append(last().steps["train_embedder"].outputs["model"][0].load().result["weights_sha256"])
        try:
            from_number()
        except Exception as error:
            out(error=str(error))
        out(weights=weights)
        """,
    )
    assert found["weights"][0] == found["weights"][1]
    assert "train_data: needs a DataFrame" in found["output"]
