"""The model as MLflow gets it, compared with what MLflow's own flavor writes of the same model."""

import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from embedstep.errors import CannotStartError
from embedstep.output.weights import weights_digest
from embedstep.tracking.sender import Sender
from tests.gateway import Gateway
from tests.tracking.conftest import Started, open_client

TEXTS = ["read a file", "write a file"]


def entry(model: Path, **more: Any) -> dict[str, Any]:
    return {
        "path": str(model), "published": str(model), "dimension": 32, "example": TEXTS, "step": 4,
        "requirements": [f"{name}=={version(name)}" for name in ("sentence-transformers", "numpy")],
        **more,
    }  # fmt: skip


@pytest.fixture(scope="module")
def loaded(tiny_model: Path) -> Any:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(tiny_model), device="cpu")


@pytest.mark.filterwarnings("ignore:Importing from 'sentence_transformers:DeprecationWarning")
def test_the_files_are_those_of_mlflow_s_own_flavor(tiny_model: Path, loaded: Any, tmp_path: Path) -> None:
    from mlflow import sentence_transformers as flavor
    from mlflow.models import Model, infer_signature

    from embedstep.tracking.mlflow_model import write_model

    dimension = loaded.encode("a").shape[0]
    given = entry(tiny_model, dimension=dimension)
    flavor.save_model(
        loaded, str(tmp_path / "theirs"), input_example=TEXTS, pip_requirements=given["requirements"],
        signature=infer_signature(TEXTS, loaded.encode(TEXTS)),
    )  # fmt: skip
    write_model(tmp_path / "ours", Model(), given)
    ours, theirs = (yaml.safe_load((tmp_path / name / "MLmodel").read_text()) for name in ("ours", "theirs"))
    # Which transformers class it is made of, nothing reads; the rest is another in each saving.
    for name in ("pipeline_model_type", "source_model_name"):
        theirs["flavors"]["sentence_transformers"].pop(name, None)
    differ = {"model_uuid", "utc_time_created", "model_size_bytes", "model_id"}
    assert {k: v for k, v in ours.items() if k not in differ} == {k: v for k, v in theirs.items() if k not in differ}
    files = [
        {str(f.relative_to(tmp_path / n)) for f in (tmp_path / n).rglob("*") if f.is_file()} for n in ("ours", "theirs")
    ]
    assert {name for name in files[1] if "/" not in name} == {name for name in files[0] if "/" not in name}
    for name in ("requirements.txt", "input_example.json", "serving_input_example.json"):
        assert (tmp_path / "ours" / name).read_text().split() == (tmp_path / "theirs" / name).read_text().split()


@pytest.mark.parametrize("where", ["uri", "server"])
def test_the_model_is_registered_once_and_both_flavors_load_it(
    where: str,
    request: pytest.FixtureRequest,
    started: Started,
    tiny_model: Path,
    loaded: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Log, load by its address, encode two texts."""
    import mlflow

    server: str = request.getfixturevalue(where)
    folder, spool = started()
    expected = loaded.encode(TEXTS)
    name = f"tiny-{where}"
    aliases = ["challenger", "weekly"]
    spool.add("model", **entry(tiny_model, dimension=expected.shape[1]))
    spool.add("register", weights=weights_digest(tiny_model), register_as=name, aliases=aliases, tags={"a": "b"})
    spool.end("FINISHED", patience=1)
    for _ in range(2):
        Sender(folder, server).forward()
        run_id = folder.sent.run_id
        assert (folder.sent.not_recorded, folder.sent.deferred) == ((), ())
        (folder.path / "sent.json").unlink()
    client = open_client(server)
    (found,) = client.search_model_versions(f"name = '{name}'")
    assert (found.run_id, found.tags["a"]) == (run_id, "b")
    assert {client.get_model_version_by_alias(name, one).version for one in aliases} == {found.version}
    monkeypatch.setattr(mlflow.tracking._tracking_service.utils, "_tracking_uri", server)
    by_flavor = mlflow.sentence_transformers.load_model(f"models:/{name}@challenger")
    np.testing.assert_array_equal(by_flavor.encode(TEXTS), expected)
    by_function = mlflow.pyfunc.load_model(f"models:/{name}@weekly")
    assert by_function.predict(TEXTS).shape == expected.shape
    assert by_function.metadata.signature.outputs.inputs[0].shape == (-1, expected.shape[1])
    assert not (folder.path / "mlflow_model").exists()
    assert client.get_logged_model(found.source.removeprefix("models:/")).status == "READY"


@pytest.mark.parametrize("status", ["FAILED", "KILLED"])
@pytest.mark.parametrize("is_sent_before", [True, False])
def test_a_model_that_has_not_turned_out_well_is_none(
    status: Any, is_sent_before: bool, started: Started, tiny_model: Path, uri: str
) -> None:
    """Its files may have been sent before that was known; it is not registered, and not ready to be used."""
    folder, spool = started()
    spool.add("model", **entry(tiny_model))
    if is_sent_before:
        assert not Sender(folder, uri).forward()
    spool.end(status, patience=1)
    assert Sender(folder, uri).forward()
    client = open_client(uri)
    run = client.get_run(folder.sent.run_id)
    models = client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'")
    assert [model.status for model in models] == ["FAILED"] * is_sent_before
    assert (folder.sent.not_recorded, folder.sent.deferred) == ((), ())


def test_a_model_whose_files_have_not_arrived_is_not_registered(
    started: Started, tiny_model: Path, server: str
) -> None:
    """It starts over when the server is back, in the logged model that is there, and registered once."""
    folder, spool = started()
    spool.add("model", **entry(tiny_model))
    spool.add("register", weights=weights_digest(tiny_model), register_as="cut", aliases=[], tags={})
    spool.end("FINISHED", patience=1)
    with Gateway(server, closed_after=12).open() as gateway:
        sender = Sender(folder, gateway.url)
        with pytest.raises(CannotStartError):
            sender.forward()
        assert open_client(server).search_model_versions("name = 'cut'") == []
        gateway.closed_after = None
        assert sender.forward()
    client = open_client(server)
    (version,) = client.search_model_versions("name = 'cut'")
    run = client.get_run(folder.sent.run_id)
    (model,) = client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'")
    assert (version.source, model.status) == (f"models:/{model.model_id}", "READY")
    assert (folder.sent.not_recorded, folder.sent.deferred) == ((), ())


@pytest.mark.parametrize("is_there", [True, False])
def test_another_sender_resumes_between_the_files_and_the_registry(
    is_there: bool, started: Started, tiny_model: Path, uri: str, tmp_path: Path
) -> None:
    """What has arrived is registered, and not sent twice; what was gone before is reported once."""
    folder, spool = started()
    spool.add("model", **entry(tiny_model if is_there else tmp_path / "gone"))
    assert not Sender(folder, uri).forward()
    name = f"in-two-{is_there}"
    spool.add("register", weights=weights_digest(tiny_model), register_as=name, aliases=[], tags={})
    spool.end("FINISHED", patience=1)
    assert Sender(folder, uri).forward()
    assert len(open_client(uri).search_model_versions(f"name = '{name}'")) == is_there
    assert (len(folder.sent.not_recorded), folder.sent.deferred) == (not is_there, ())


def test_a_model_is_sent_from_where_it_lies_by_now(
    started: Started, tiny_model: Path, uri: str, tmp_path: Path
) -> None:
    """The one that was recorded, though: the folder may hold that of a later attempt."""
    weights = weights_digest(tiny_model)
    for known, lost in ((weights, 0), ("0" * 64, 1)):
        folder, spool = started(key=known)
        spool.add("model", **entry(tmp_path / "gone", published=str(tiny_model)))
        spool.add("register", weights=known, register_as=None, aliases=[], tags={})
        spool.end("FINISHED", patience=1)
        Sender(folder, uri).forward()
        shown = folder.sent.not_recorded
        assert [line for line in shown if "was removed or replaced" in line] == list(shown[:lost])
        assert len(shown) == lost
        assert folder.sent.deferred == ()


def test_a_gate_leaves_the_environment_as_it_was(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow's default, which it keeps in a variable, is another's: of the pipeline step that calls the gate."""
    from embedstep.tracking.mlflow_model import default_uri

    for before in (None, "http://their.server"):
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
        if before:
            monkeypatch.setenv("MLFLOW_TRACKING_URI", before)
        with default_uri(uri):
            assert os.environ["MLFLOW_TRACKING_URI"] == uri
        assert os.environ.get("MLFLOW_TRACKING_URI") == before
