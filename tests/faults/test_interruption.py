"""A signal at any moment: all ranks stop at one place and save, and the next attempt ends as if nothing had been."""

import json
import random
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from embedstep.output.result import StepResult
from tests.faults.compared import lost
from tests.faults.conftest import Fault
from tests.faults.looking import interrupt, uninterrupted

Build = Callable[..., dict[str, Any]]
Train = Callable[..., StepResult]
STEPS = 6
BY_STEPS = {
    "max_steps": STEPS, "save_strategy": "steps", "save_steps": 4, "eval_strategy": "steps", "eval_steps": 3,
    "logging_steps": 4, "gradient_accumulation_steps": 2, "per_device_train_batch_size": 8,
    "per_device_eval_batch_size": 16,
}  # fmt: skip
BY_EPOCHS = {
    **BY_STEPS, "max_steps": -1, "num_train_epochs": 2, "save_strategy": "epoch", "eval_strategy": "epoch",
    "logging_strategy": "epoch", "per_device_train_batch_size": 24,
}  # fmt: skip


STRATEGIES: dict[str, dict[str, Any]] = {
    "steps": BY_STEPS,
    "epoch": BY_EPOCHS,
    # At this learning rate the last epoch is the best one, which only its own evaluation shows.
    "best of epochs": {**BY_EPOCHS, "load_best_model_at_end": True, "metric_for_best_model": "eval_loss",
                       "save_total_limit": 1},
}  # fmt: skip


@pytest.mark.fault("SIGTERM at each place where the ranks look, {strategy}", "training and evaluation")
@pytest.mark.parametrize("strategy", ["steps", "epoch", "best of epochs"])
@pytest.mark.slow
def test_cut_anywhere(
    train_here: Train, evaluated: Build, at_look: Callable[[int | None], list[str]], fault: Fault, strategy: str,
    tmp_path: Path,
) -> None:  # fmt: skip
    request = evaluated(arguments=STRATEGIES[strategy])
    places = at_look(None)
    whole = uninterrupted(train_here, request)
    assert set(places) == {"step", "evaluation", "evaluator"}
    found: list[str] = []
    count = len(places)
    for number in range(1, count + 1):
        output = f"cut-{number}"
        at_look(number)
        result = train_here(request, output)
        assert result.exit_code == 75, (number, result.failure)
        assert result.failure is not None
        message = result.failure.message
        assert message.startswith("interrupted by SIGTERM after train step ")
        at_look(None)
        result = train_here(request, output)
        assert result.exit_code == 0, (number, result.failure)
        # In the evaluation of the base there is nothing to resume from.
        began = "after train step 0 of" not in message
        found += [f"{number}: {what}" for what in lost(whole, tmp_path / output, resumed=began)]
    fault.came_to(f"interrupted, 75, {count} times", found)


# A signal may come between the opening of a file and its `with`.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
@pytest.mark.fault("50 signals at random moments", "all of a step, from reading the request to the model's name")
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_soak(train_here: Train, evaluated: Build, fault: Fault, tmp_path: Path) -> None:
    """Whatever is being done when the signal comes, the weights are those of the training that nobody disturbed."""
    arguments = {**BY_STEPS, "max_steps": 24, "save_steps": 4, "eval_steps": 5, "save_total_limit": 2}
    request = evaluated(arguments=arguments)
    train_here(request, "first")  # which imports, and takes longer than all others
    started = time.monotonic()
    whole = uninterrupted(train_here, request)
    longest = time.monotonic() - started
    chosen = random.Random(20)
    count, trainings, places = 0, 0, Counter[bool]()
    found: list[str] = []
    with hearing_nothing():
        while count < 50:
            trainings += 1
            result = StepResult(exit_code=75, output="")
            while result.exit_code == 75:
                with a_signal_within(chosen.uniform(0.0, longest)):
                    result = train_here(request, f"cut-{trainings}")
                if result.failure is not None:
                    count += 1
                    places["after train step" in result.failure.message] += 1
            assert result.exit_code == 0, result.failure
            found += lost(whole, tmp_path / f"cut-{trainings}")
    assert set(places) == {True, False}, "the signals came inside or outside of the training only"
    fault.came_to(f"interrupted, 75, {count} times", found)


@contextmanager
def hearing_nothing() -> Iterator[None]:
    """Let a signal between two attempts pass."""
    before = signal.signal(signal.SIGTERM, lambda number, frame: None)
    yield
    signal.signal(signal.SIGTERM, before)


@contextmanager
def a_signal_within(seconds: float) -> Iterator[None]:
    """Have SIGTERM come after so many seconds, unless what follows takes less."""
    timer = threading.Timer(seconds, interrupt)
    timer.start()
    yield
    timer.cancel()
    timer.join()


ROWS = {"anchor": "anchor", "positive": "positive"}
LABELS = {"anchor": "anchor", "label": "class"}


@pytest.mark.fault("SIGTERM, with {sampler} and {mixing}", "three places of an epoch")
@pytest.mark.parametrize(
    ("sampler", "mixing"),
    [
        ("batch_sampler", "proportional"),
        ("batch_sampler", "round_robin"),
        ("no_duplicates", "proportional"),
        ("no_duplicates", "round_robin"),
        ("group_by_label", "proportional"),
    ],
)
@pytest.mark.slow
def test_every_sampler_resumes_where_it_was(
    train_here: Train, request_of: Build, data_folder: Path, at_look: Callable[[int | None], list[str]], fault: Fault,
    sampler: str, mixing: str, tmp_path: Path,
) -> None:  # fmt: skip
    """Two datasets, an epoch and a half; cut at its beginning, in the middle, and in the second epoch."""
    arguments = {
        "batch_sampler": sampler, "multi_dataset_batch_sampler": mixing, "num_train_epochs": 2, "max_steps": -1,
        "per_device_train_batch_size": 16, "gradient_accumulation_steps": 2, "logging_steps": 1,
    }  # fmt: skip
    is_labelled = sampler == "group_by_label"
    columns, loss = (LABELS, "batch_all_triplet") if is_labelled else (ROWS, "multiple_negatives_ranking")
    train = {name: {"path": str(data_folder / f"{file}.jsonl"), "columns": columns}
             for name, file in (("docs", "train"), ("more", "more"))}  # fmt: skip
    request = request_of(arguments=arguments, data={"train": train}, loss=loss)
    places = at_look(None)
    whole = uninterrupted(train_here, request)
    steps = places.count("step")
    found: list[str] = []
    for number in (1, steps // 4 + 1, steps // 2 + 1):
        at_look(number)
        assert train_here(request, f"cut-{number}").exit_code == 75
        at_look(None)
        result = train_here(request, f"cut-{number}")
        assert (result.exit_code, result.train_steps) == (0, steps - number)
        found += [f"{number}: {what}" for what in lost(whole, tmp_path / f"cut-{number}", resumed=True)]
    fault.came_to("75, three times", found)


@pytest.mark.parametrize(
    "name",
    [
        "softmax", "denoising_auto_encoder", "denoising_auto_encoder, untied",
        # Six steps are two epochs, each with noise of its own, which persistent workers draw.
        pytest.param("denoising_auto_encoder, noise", marks=pytest.mark.slow),
    ],
)  # fmt: skip
@pytest.mark.fault("SIGTERM, with layers that {name} trains", "three places")
def test_layers_of_a_loss_resume(
    train_here: Train, request_of: Build, data_folder: Path, at_look: Callable[[int | None], list[str]], fault: Fault,
    tmp_path: Path, tiny_model: Path, name: str,
) -> None:  # fmt: skip
    """The library's own checkpoints do not hold them. Those of a decoder share tensors with each other."""
    options = {
        "softmax": {"num_labels": 2},
        "denoising_auto_encoder": {},
        "denoising_auto_encoder, untied": {"tie_encoder_decoder": False, "decoder_name_or_path": str(tiny_model)},
        "denoising_auto_encoder, noise": {},
    }[name]
    has_noise = name.endswith("noise")
    workers = {"dataloader_num_workers": 2, "dataloader_persistent_workers": True, "per_device_train_batch_size": 48}
    noise = {"transform": {"kind": "delete_words", "options": {"ratio": 0.5}}} if has_noise else {}
    label = {"label": "class"} if name == "softmax" else {}
    columns = {"anchor": "anchor", "positive": "positive", **label}
    request = request_of(
        arguments={"max_steps": 6, "logging_steps": 1, **(workers if has_noise else {})},
        data={"train": {"docs": {"path": str(data_folder / "train.jsonl"), "columns": columns, **noise}}},
        loss={"kind": name.partition(",")[0], "options": options},
    )
    whole = uninterrupted(train_here, request)
    found: list[str] = []
    for number in (1, 3, 5):
        at_look(number)
        assert train_here(request, f"cut-{number}").exit_code == 75
        at_look(None)
        assert train_here(request, f"cut-{number}").exit_code == 0
        found += [f"{number}: {what}" for what in lost(whole, tmp_path / f"cut-{number}", resumed=True)]
    fault.came_to("75, three times", found)


@pytest.mark.fault("SIGTERM under the optimizer that was the default of 0.1.0", "at train step 3")
def test_a_resumed_training_keeps_its_optimizer(
    train_here: Train, request_of: Build, at_look: Callable[[int | None], list[str]], fault: Fault, tmp_path: Path
) -> None:
    """Its state names the implementation, which differs in the last bits from today's default."""
    arguments = {"max_steps": 6, "logging_steps": 1}
    former = request_of(arguments={**arguments, "optim": "adamw_torch"})
    whole = uninterrupted(train_here, former)
    at_look(3)
    assert train_here(former, "cut").exit_code == 75
    at_look(None)
    assert train_here(request_of(arguments=arguments), "cut").exit_code == 0
    fault.came_to("75", lost(whole, tmp_path / "cut", resumed=True))


OWN_CODE = """
import json
from pathlib import Path

import torch
from sentence_transformers.base.modules import Module


class Scaled(Module):
    config_keys = []

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1))

    def forward(self, features, **options):
        features["sentence_embedding"] = features["sentence_embedding"] * self.scale
        return features

    def save(self, output_path, *arguments, **options):
        Path(output_path, "scale.json").write_text(json.dumps(self.scale.item()))

    @classmethod
    def load(cls, model_name_or_path, subfolder="", **options):
        made, file = cls(), Path(model_name_or_path, subfolder, "scale.json")
        if file.exists():
            made.scale.data.fill_(json.loads(file.read_text()))
        return made
"""


@pytest.mark.fault("SIGTERM, with a model that brings code of its own", "training")
def test_a_model_with_code_of_its_own_resumes(
    train_here: Train, request_of: Build, tiny_model: Path, at_look: Callable[[int | None], list[str]], fault: Fault,
    tmp_path: Path,
) -> None:  # fmt: skip
    """Without `trust_remote_code` it is not loaded."""
    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    (model / "scaling.py").write_text(OWN_CODE)
    (model / "9_Scaled").mkdir()
    modules = json.loads((model / "modules.json").read_text())
    own = {"idx": len(modules), "name": str(len(modules)), "path": "9_Scaled", "type": "scaling.Scaled"}
    (model / "modules.json").write_text(json.dumps([*modules, own]))
    arguments = {"max_steps": 4, "logging_steps": 1, "learning_rate": 0.1}
    untrusted = request_of(arguments=arguments, model=str(model))
    assert train_here(untrusted, "untrusted").exit_code != 0
    request = {**untrusted, "model": {"path": str(model), "trust_remote_code": True}}
    whole = uninterrupted(train_here, request)
    at_look(2)
    assert train_here(request, "cut").exit_code == 75
    at_look(None)
    assert train_here(request, "cut").exit_code == 0
    scale, *_ = (tmp_path / "cut" / "model").glob("*/scale.json")
    assert json.loads(scale.read_text()) != 1.0
    fault.came_to("75, then the same weights", lost(whole, tmp_path / "cut", resumed=True))
