"""The model as MLflow gets it, beside what MLflow's own flavor writes of the same model."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from embedstep.tracking.sender import Sender
from tests.tracking.conftest import Started, client_of

TEXTS = ["read a file", "write a file"]


def entry(model: Path, **more: Any) -> dict[str, Any]:
    return {
        "path": str(model), "dimension": 32, "example": TEXTS, "step": 4, "register_as": None, "aliases": [],
        "tags": {"a": "b"}, "requirements": [f"{name}=={version(name)}" for name in ("sentence-transformers", "numpy")],
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
    """Case 3.17: log, load by its address, encode two texts."""
    import mlflow

    server: str = request.getfixturevalue(where)
    folder, spool = started()
    expected = loaded.encode(TEXTS)
    name = f"tiny-{where}"
    given = entry(tiny_model, dimension=expected.shape[1], register_as=name, aliases=["challenger", "weekly"])
    spool.add("model", **given)
    spool.end("FINISHED", patience=1)
    for _ in range(2):
        Sender(folder, server).forward()
        run_id = folder.sent.run_id
        assert (folder.sent.complaints, folder.sent.later) == ((), ())
        (folder.path / "sent.json").unlink()
    client = client_of(server)
    (found,) = client.search_model_versions(f"name = '{name}'")
    assert (found.run_id, found.tags["a"]) == (run_id, "b")
    assert {client.get_model_version_by_alias(name, one).version for one in given["aliases"]} == {found.version}
    monkeypatch.setattr(mlflow.tracking._tracking_service.utils, "_tracking_uri", server)
    by_flavor = mlflow.sentence_transformers.load_model(f"models:/{name}@challenger")
    np.testing.assert_array_equal(by_flavor.encode(TEXTS), expected)
    by_function = mlflow.pyfunc.load_model(f"models:/{name}@weekly")
    assert by_function.predict(TEXTS).shape == expected.shape
    assert by_function.metadata.signature.outputs.inputs[0].shape == (-1, expected.shape[1])
    assert not (folder.path / "mlflow_model").exists()
