"""The code of other packages that a training depends on."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embedstep.planning.extensions import code_of
from embedstep.planning.plan import Plan
from embedstep.request.loading import load_request


def test_other_code_is_another_training(
    plan_request: Callable[..., Plan],
    scored: Callable[..., dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    declaration = (
        "from embedstep import Label, LossKind, Takes\n"
        "label = Label(words='', kinds=('integer', 'number'))\n"
        "x = LossKind(name='x', class_name='edited_heavy:X', takes=(Takes(least=2, most=2, label=label),))"
    )
    (tmp_path / "edited_song.py").write_text(declaration)
    monkeypatch.syspath_prepend(tmp_path)
    prints = []
    for text in ("one = 1", "one = 1", "two = 2"):
        (tmp_path / "edited_heavy.py").write_text(text)
        prints.append(plan_request(loss="edited_song:x", data=scored()).training_fingerprint)
    assert prints[0] == prints[1] != prints[2]


@pytest.mark.usefixtures("birdsong")
def test_what_is_declared_elsewhere_is_found_wherever_it_stands(
    request_of: Callable[..., dict[str, Any]], scored: Callable[..., dict[str, Any]]
) -> None:
    """Inside a wrapper and a route too; not a row function, whose rows have a fingerprint themselves."""
    routes = {"query": ["static_embedding", "scaling"], "document": ["clip"]}
    request = request_of(
        model={"modules": [{"kind": "router", "routes": routes}]},
        loss={"kind": "matryoshka", "options": {"matryoshka_dims": [8]}, "loss": "birdsong:margin_cosine"},
        data=scored(),
        evaluators=[{"kind": "mean_cosine", "name": "near", "dataset": "docs"}],
        arguments={"batch_sampler": "blocks"},
    )
    request["data"]["train"]["docs"]["row_function"] = "sentences"
    found = code_of(load_request(json.dumps(request)))
    assert sorted(found) == [
        "birdsong.heavy:MarginCosineLoss", "birdsong.heavy:MeanCosineEvaluator", "birdsong.heavy:Scaling", "blocks",
    ]  # fmt: skip
    assert all(len(digest) == 64 for digest in found.values())
    assert code_of(load_request(json.dumps(request_of()))) == {}
