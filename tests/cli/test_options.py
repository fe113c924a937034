"""What all commands share: `--set`, and the display of everything that is wrong."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import embedstep


def test_set_is_on_each_command(request_file: Callable[..., str]) -> None:
    path = request_file()
    assert "7 train steps" in embedstep("check", path, "--set", "arguments.max_steps=7")[1]
    assert "7 (" in embedstep("plan", path, "--set", "arguments.max_steps=7")[1]
    code, _, err = embedstep("run", path, "--set", "arguments.max_stepz=7")
    assert code == 2
    assert "did you mean max_steps?" in err


BAD = [
    ({"model": "./none"}, 2, ["model.path: none does not exist"]),
    ({"loss": "multiple_negative_ranking"}, 2, ["loss.kind: no loss is named 'multiple_negative_ranking'"]),
    ({"arguments": {"per_device_train_batch_size": 0}}, 2, ["arguments.per_device_train_batch_size: must be 1"]),
    ({"arguments": {"use_ipex": True}}, 2, ["arguments.use_ipex: is refused:"]),
    ({"arguments": {"hub_token": "x"}}, 2, ["arguments.hub_token: a secret has no place in a request;"]),
    ({"arguments": {"report_to": "mlflow"}}, 2, ["arguments.report_to: names mlflow, and tracking.kind is none"]),
    ({"launch": {"processes_per_node": 200}}, 2, ["data.train: gives 0 steps an epoch: 130 rows are 16 batches of 8"]),
    (
        {"loss": "bogus", "model": "./none", "arguments": {"warmup_ratio": 2, "learning_rate": -1}},
        2,
        ["arguments.warmup_ratio: must be a share from 0 to 1", "arguments.learning_rate: must be 0 or more",
         "loss.kind: no loss is named 'bogus'", "model.path: none does not exist"],
    ),
]  # fmt: skip


@pytest.mark.parametrize("name", ["check", "plan", "run"])
@pytest.mark.parametrize(("sections", "code", "messages"), BAD, ids=lambda value: "")
def test_a_bad_request_is_refused_with_everything_wrong(
    request_file: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    sections: dict[str, Any],
    code: int,
    messages: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    found, out, err = embedstep(name, request_file(**sections))
    assert found == code
    assert out == ""
    for message in messages:
        assert message in err
    assert "Traceback" not in err
    assert not (tmp_path / "outputs" / "request" / "model").exists()
