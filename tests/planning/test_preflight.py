"""What a run needs of the machine, checked before a process starts."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from embedstep.errors import CANNOT_START, CannotStartError, InvalidRequestError
from embedstep.output.folder import OutputFolder
from embedstep.planning import preflight
from embedstep.planning.preflight import check_environment, check_machine, disk_space_needed, model_size
from embedstep.request.loading import load_request
from tests.planning.test_checks import planned, request


class Usage(NamedTuple):
    """What shutil.disk_usage returns."""

    total: int
    used: int
    free: int


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Return the function that says how many bytes the disk has free."""
    return lambda amount: monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(amount, 0, amount))


@pytest.fixture
def million(tmp_path: Path) -> Path:
    """A model folder with a million bytes of weights."""
    folder = tmp_path / "model"
    (folder / "inner").mkdir(parents=True)
    (folder / "modules.json").write_text("[]")
    (folder / "model.safetensors").write_bytes(bytes(900_000))
    (folder / "inner" / "model.safetensors").write_bytes(bytes(100_000))
    return folder


@pytest.mark.parametrize(
    ("arguments", "millions"),
    [
        ({"save_strategy": "no"}, 1),
        ({"max_steps": 40, "save_steps": 10}, 13),
        ({"max_steps": 40, "save_steps": 10, "save_total_limit": 2}, 9),
        ({"max_steps": 40, "save_steps": 10, "save_total_limit": 1}, 6),
        ({"max_steps": 40, "save_steps": 10, "save_total_limit": 9}, 13),
        ({"max_steps": 40, "save_steps": 10, "save_only_model": True}, 5),
    ],
    ids=str,
)
def test_a_checkpoint_takes_three_times_the_weights(million: Path, arguments: dict[str, Any], millions: int) -> None:
    asked = request(model=str(million), arguments=arguments)
    assert disk_space_needed(asked, planned(asked)) == millions * 1_000_000


def test_a_model_on_the_hub_counts_as_nothing() -> None:
    asked = request()
    assert disk_space_needed(asked, planned(asked)) == 0


def test_a_static_model_counts_with_its_word_vectors(minilm: Path) -> None:
    """Not with the transformer that they are taken from: 30,522 words of 384 numbers."""
    asked = request(model={"static": str(minilm), "initial_vectors": "word_embeddings"})
    assert model_size(asked, planned(asked)) == 30_522 * 384 * 4


def test_too_little_disk_cannot_start(million: Path, tmp_path: Path, free: Callable[[int], None]) -> None:
    asked = request(model=str(million), arguments={"save_strategy": "no"}, tracking={"kind": "none"})
    free(1_000_000)
    check_machine(asked, planned(asked), OutputFolder(tmp_path), resumes=False)
    free(999_999)
    with pytest.raises(CannotStartError) as caught:
        check_machine(asked, planned(asked), OutputFolder(tmp_path), resumes=False)
    assert str(caught.value) == (
        f"{tmp_path} has 1.0 MB free, and the model needs about 1.0 MB; choose another --output"
    )
    assert caught.value.exit_code == CANNOT_START


def test_checkpoints_that_are_there_need_no_place(million: Path, tmp_path: Path, free: Callable[[int], None]) -> None:
    """A retry would be refused for what the attempt before has saved."""
    arguments = {"max_steps": 40, "save_steps": 10, "save_total_limit": 2}
    asked = request(model=str(million), arguments=arguments, tracking={"kind": "none"})
    checkpoint = tmp_path / "checkpoints" / "checkpoint-10"
    checkpoint.mkdir(parents=True)
    (checkpoint / "optimizer.pt").write_bytes(bytes(3_000_000))
    free(6_000_000)
    check_machine(asked, planned(asked), OutputFolder(tmp_path), resumes=True)
    remedy = r"needs about 9\.0 MB; choose another --output, or write save_total_limit or save_strategy: no$"
    with pytest.raises(CannotStartError, match=remedy):
        check_machine(asked, planned(asked), OutputFolder(tmp_path), resumes=False)


@pytest.mark.parametrize(
    ("missing", "tracking", "message"),
    [
        ("sentence_transformers", "none", "sentence_transformers is not installed; pip install 'embedstep[train]'"),
        ("mlflow", "mlflow", "mlflow is not installed; pip install 'embedstep[mlflow]'"),
        ("mlflow", "none", None),
    ],
)
def test_a_missing_package_cannot_start(
    monkeypatch: pytest.MonkeyPatch, missing: str, tracking: str, message: str | None
) -> None:
    monkeypatch.setattr(preflight, "find_spec", lambda name: None if name == missing else object())
    asked = request(tracking={"kind": tracking})
    if message is None:
        check_environment(asked, {})
        return
    with pytest.raises(CannotStartError) as caught:
        check_environment(asked, {})
    assert str(caught.value) == message


def test_a_password_in_the_environment_s_tracking_address_is_refused() -> None:
    text = "{model: ./none, data: {train: {d: {path: x, columns: {anchor: a, positive: b}}}}, loss: cosent}"
    request = load_request(text)
    with pytest.raises(InvalidRequestError) as caught:
        check_environment(request, {"MLFLOW_TRACKING_URI": "http://user:planted@127.0.0.1:9"})
    assert "MLFLOW_TRACKING_URI: holds a password" in str(caught.value)
    assert "planted" not in str(caught.value)
