"""A training whose trainer can be looked at afterwards: the proof that an argument did something."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from embedstep import step
from embedstep.output.result import StepResult
from embedstep.request.loading import load_request
from embedstep.runtime.process import LaunchCommand, ProcessEnd
from embedstep.step import run_step
from tests.conftest import start_with


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What a training left.

    Attributes:
        trainer: the trainer, after the training.
        result: how the step ended.
        logs: the lines of metrics.jsonl.
        batches: for each batch that was trained on, the number of its rows.
        rates: learning rate after each train step.
    """

    trainer: Any
    result: StepResult
    logs: list[dict[str, Any]]
    batches: list[int]
    rates: list[float]

    @property
    def output(self) -> Path:
        """The output folder."""
        return Path(self.result.output)

    @property
    def plan(self) -> dict[str, Any]:
        """The plan of the run."""
        plan: dict[str, Any] = json.loads((self.output / "plan.json").read_text())
        return plan

    @property
    def group(self) -> dict[str, Any]:
        """The optimizer's first group of weights."""
        group: dict[str, Any] = self.trainer.optimizer.param_groups[0]
        return group

    @property
    def checkpoints(self) -> list[int]:
        """The steps of the checkpoints that are left."""
        return sorted(int(path.name.rpartition("-")[2]) for path in self.output.glob("checkpoints/checkpoint-*"))

    def steps_with(self, key: str) -> list[int]:
        """The steps at which a metric was logged."""
        return [log["train_step"] for log in self.logs if key in log]

    def weights(self) -> dict[str, bytes]:
        """The saved tensors as bytes."""
        from safetensors.numpy import load_file

        return {name: tensor.tobytes() for name, tensor in load_file(self.output / "model/model.safetensors").items()}


Train = Callable[..., Proof]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Threads that wait for a busy core are many times slower than one."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def prove(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, evaluated: Callable[..., dict[str, Any]]
) -> Callable[..., Proof]:
    """Train the small request with these arguments in this process, and return what can be seen of it."""
    from embedstep.worker import __main__ as worker
    from embedstep.worker import train as training
    from embedstep.worker.trainer import build

    monkeypatch.chdir(tmp_path)
    # The arguments of a training that compiles set it, and later ones in this process would compile, too.
    monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", "no")
    start_with(monkeypatch, lambda plan: ProcessEnd(code=worker.main([_output(plan)])))
    # The report takes another process and as long as the training; tests/report and whole runs look at it.
    monkeypatch.setattr(step, "write_report_in_subprocess", lambda output: ())
    build_real = build.build_trainer
    seen: list[tuple[Any, list[int], list[float]]] = []

    def build_trainer(*arguments: Any) -> Any:
        trainer = build_real(*arguments)
        batches: list[int] = []
        rates: list[float] = []
        make = trainer.training_step

        def training_step(model: Any, inputs: Mapping[str, Any], *more: Any, **options: Any) -> Any:
            found = make(model, inputs, *more, **options)
            batches.append(len(next(value for name, value in inputs.items() if name.endswith("input_ids"))))
            rates.append(trainer.lr_scheduler.get_last_lr()[0])
            return found

        trainer.training_step = training_step  # type: ignore[method-assign]
        seen.append((trainer, batches, rates))
        return trainer

    monkeypatch.setattr(training, "build_trainer", build_trainer)
    number = iter(range(100))

    def train(*, expect: int = 0, evaluate: bool = False, **given: Any) -> Proof:
        sections = given.pop("sections", {})
        document = evaluated(**sections, arguments=given)
        if not evaluate:
            document["data"].pop("eval")
            document["evaluators"] = []
        output = tmp_path / f"output-{next(number)}"
        result = run_step(load_request(json.dumps(document)), output)
        assert result.exit_code == expect, result.failure
        trainer, batches, rates = seen[-1] if seen else (None, [], [])
        lines = (output / "metrics.jsonl").read_text().splitlines() if (output / "metrics.jsonl").exists() else []
        logs = [json.loads(line) for line in lines]
        return Proof(trainer=trainer, result=result, logs=logs, batches=batches, rates=rates)

    return train


@pytest.fixture
def uneven(tmp_path: Path) -> dict[str, Any]:
    """A data section with 64 rows, whose texts are of 1 to 16 words."""
    rows = [
        {"anchor": " ".join(["word"] * (1 + number * 7 % 16)), "positive": f"number {number}"} for number in range(64)
    ]
    file = tmp_path / "uneven.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in rows))
    docs = {"path": str(file), "columns": {"anchor": "anchor", "positive": "positive"}}
    return {"train": {"docs": docs}}


def _output(plan: LaunchCommand) -> str:
    return plan.argv[-1]
