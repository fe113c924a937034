"""Hub, trackers and several processes: what an argument does elsewhere, seen by what receives it.

No test reaches the hub: a stand-in takes the calls that the library makes to `huggingface_hub.HfApi`, with its names
and parameters.
"""

import os
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from embedstep.request.arguments.table import CONTRACT
from tests.effects import test_data, test_measuring, test_training
from tests.effects.conftest import Proof, Train

Check = Callable[[Proof], bool]
PROCESSES: dict[str, tuple[dict[str, Any], Check]] = {
    "ddp_find_unused_parameters": (
        {"ddp_find_unused_parameters": False},
        lambda seen: seen.trainer.accelerator.ddp_handler.find_unused_parameters is False,
    ),
    "ddp_bucket_cap_mb": (
        {"ddp_bucket_cap_mb": 7},
        lambda seen: seen.trainer.accelerator.ddp_handler.bucket_cap_mb == 7,
    ),
    "ddp_static_graph": (
        {"ddp_static_graph": True},
        lambda seen: seen.trainer.accelerator.ddp_handler.static_graph is True,
    ),
    "eval_use_gather_object": (
        {"eval_use_gather_object": True},
        lambda seen: seen.trainer.gather_function.keywords["use_gather_object"] is True,
    ),
}


@pytest.mark.parametrize("name", PROCESSES)
def test_processes(prove: Train, name: str) -> None:
    given, check = PROCESSES[name]
    assert check(prove(**given))


class Upload(Future[None]):
    """A job that has ended, and may say that it has not."""

    is_busy = False

    def done(self) -> bool:
        """What a trainer asks before it starts the next one."""
        return not self.is_busy


@dataclass
class FakeHub:
    """The hub's API as far as a trainer calls it."""

    repositories: list[dict[str, Any]] = field(default_factory=list)
    uploads: list[dict[str, Any]] = field(default_factory=list)
    is_busy: bool = False

    def create_repo(self, repo_id: str, **options: Any) -> Any:
        """Note the repository."""
        self.repositories.append({"repo_id": repo_id, **options})
        return SimpleNamespace(repo_id=repo_id)

    def upload_folder(self, **options: Any) -> Any:
        """Note the upload, and what training arguments lay in the folder."""
        self.uploads.append(options)
        job = Upload()
        job.is_busy = self.is_busy
        job.set_result(None)
        return job


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    """A hub that the trainer talks to instead of the real one."""
    from transformers import trainer as library

    fake = FakeHub()
    monkeypatch.setattr(library, "hf_api", lambda: fake)
    return fake


SAVES = {"max_steps": 6, "save_strategy": "steps", "save_steps": 2}


def test_push_to_hub(prove: Train, hub: FakeHub) -> None:
    prove(push_to_hub=True, hub_model_id="org/m", hub_strategy="end", **SAVES)
    assert [repository["repo_id"] for repository in hub.repositories] == ["org/m"]
    assert [upload["repo_id"] for upload in hub.uploads] == ["org/m"]


def test_without_a_name_the_repository_has_that_of_the_output_folder(prove: Train, hub: FakeHub) -> None:
    prove(push_to_hub=True, output_dir="models/docs")
    assert {repository["repo_id"] for repository in hub.repositories} == {"docs"}


def test_hub_model_id(prove: Train, hub: FakeHub) -> None:
    prove(push_to_hub=True, hub_model_id="org/name")
    assert hub.repositories[0]["repo_id"] == "org/name"


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"push_to_hub_model_id": "m", "push_to_hub_organization": "org"}, "org/m"),
        ({"push_to_hub_model_id": "m"}, "m"),
        ({"push_to_hub_organization": "org", "output_dir": "models/docs"}, "org/docs"),
    ],
    ids=["push_to_hub_model_id", "alone", "push_to_hub_organization"],
)
def test_older_names_of_the_repository(prove: Train, hub: FakeHub, given: dict[str, Any], name: str) -> None:
    prove(push_to_hub=True, **given)
    assert hub.repositories[0]["repo_id"] == name


@pytest.mark.parametrize(
    ("strategy", "uploads"), [("end", 1), ("every_save", 4), ("checkpoint", 7), ("all_checkpoints", 7)]
)
def test_hub_strategy(prove: Train, hub: FakeHub, strategy: str, uploads: int) -> None:
    """Three saves on the way, two folders each with the checkpoints, and the model at the end."""
    prove(push_to_hub=True, hub_model_id="org/m", hub_strategy=strategy, **SAVES)
    assert len(hub.uploads) == uploads


@pytest.mark.parametrize(("always", "uploads"), [(False, 2), (True, 4)])
def test_hub_always_push(prove: Train, hub: FakeHub, always: bool, uploads: int) -> None:
    """An upload that is still running keeps the next ones back, unless asked not to."""
    hub.is_busy = True
    prove(push_to_hub=True, hub_model_id="org/m", hub_always_push=always, **SAVES)
    assert len(hub.uploads) == uploads


@pytest.mark.parametrize(("given", "private"), [({}, None), ({"hub_private_repo": True}, True)])
def test_hub_private_repo(prove: Train, hub: FakeHub, given: dict[str, Any], private: object) -> None:
    prove(push_to_hub=True, hub_model_id="org/m", **given)
    assert hub.repositories[0]["private"] is private


def test_hub_revision(prove: Train, hub: FakeHub) -> None:
    prove(push_to_hub=True, hub_model_id="org/m", hub_revision="v2")
    assert {upload["revision"] for upload in hub.uploads} == {"v2"}


@pytest.mark.parametrize("name", ["hub_token", "push_to_hub_token"])
def test_a_token_is_passed_by_its_variable_and_is_in_no_file(
    prove: Train, hub: FakeHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, own_uri: str, name: str
) -> None:
    monkeypatch.setenv("MY_TOKEN", "planted-token-of-nobody")
    monkeypatch.setenv("HF_TOKEN", "")
    tracked = {"tracking": {"kind": "mlflow", "uri": own_uri}}
    seen = prove(push_to_hub=True, hub_model_id="org/m", **{name: {"from_env": "MY_TOKEN"}}, **SAVES, sections=tracked)
    assert os.environ["HF_TOKEN"] == "planted-token-of-nobody"
    assert list(seen.output.glob("checkpoints/checkpoint-*/training_args.bin"))
    holding = [path for path in tmp_path.rglob("*") if path.is_file() and b"planted-token" in path.read_bytes()]
    assert holding == []


@pytest.mark.parametrize("name", ["hub_token", "push_to_hub_token"])
def test_a_token_in_an_exception_is_shown_to_nobody(
    prove: Train, hub: FakeHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture, own_uri: str, name: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("MY_TOKEN", "planted-token-of-nobody")
    monkeypatch.setenv("HF_TOKEN", "")

    def create_repo(repo_id: str, **options: Any) -> Any:
        raise RuntimeError(f"401 for {os.environ['HF_TOKEN']}")

    monkeypatch.setattr(hub, "create_repo", create_repo)
    seen = prove(
        push_to_hub=True, hub_model_id="org/m", **{name: {"from_env": "MY_TOKEN"}}, expect=1,
        sections={"tracking": {"kind": "mlflow", "uri": own_uri}},
    )  # fmt: skip
    assert seen.result.failure is not None
    assert seen.result.failure.message == "401 for ***"
    holding = [path for path in tmp_path.rglob("*") if path.is_file() and b"planted-token" in path.read_bytes()]
    assert holding == []
    shown = capfd.readouterr()
    assert "401 for ***" in shown.err
    assert "planted-token" not in shown.out + shown.err + caplog.text + repr(seen.result)


def test_a_token_whose_variable_is_not_set_cannot_start(prove: Train) -> None:
    seen = prove(hub_token={"from_env": "NO_SUCH_VARIABLE"}, expect=3)
    assert seen.result.failure is not None
    assert "the environment variable NO_SUCH_VARIABLE is not set" in seen.result.failure.message


def test_logging_dir_and_report_to(prove: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TENSORBOARD_LOGGING_DIR", raising=False)
    prove(report_to="tensorboard", logging_dir=str(tmp_path / "events"))
    monkeypatch.delenv("TENSORBOARD_LOGGING_DIR")
    assert list((tmp_path / "events").glob("events.out.tfevents.*"))


@pytest.mark.parametrize(
    ("given", "fsdp", "config"),
    [
        ({"fsdp": "full_shard auto_wrap"}, True, {"reshard_after_forward": True}),
        ({"fsdp": "shard_grad_op"}, True, {"reshard_after_forward": False, "auto_wrap_policy": "NO_WRAP"}),
        ({"fsdp": ["full_shard", "offload", "auto_wrap"], "fsdp_min_num_params": 100}, True,
         {"reshard_after_forward": True, "cpu_offload": True, "min_num_params": 100,
          "auto_wrap_policy": "SIZE_BASED_WRAP"}),
        ({"fsdp": "full_shard auto_wrap", "fsdp_transformer_layer_cls_to_wrap": "BertLayer"}, True,
         {"reshard_after_forward": True, "transformer_layer_cls_to_wrap": ["BertLayer"]}),
        ({"fsdp": "full_shard auto_wrap", "fsdp_config": {"cpu_offload": True}}, True,
         {"reshard_after_forward": True, "cpu_offload": True}),
    ],
    ids=str,
)  # fmt: skip
def test_fsdp_in_today_s_words(given: dict[str, Any], fsdp: object, config: dict[str, Any]) -> None:
    """Sharding needs GPUs, so this is proved on the plan: what the installed class is given, and that it takes it."""
    from sentence_transformers import SentenceTransformerTrainingArguments

    from embedstep.request.arguments.ledger import ledger, trainer_arguments
    from embedstep.request.arguments.schema import Arguments

    entries = ledger(Arguments.model_validate(given), gpus=2, world_size=2, has_evaluation=False)
    found = trainer_arguments(entries, warmup_steps=0)
    assert (found["fsdp"], found["fsdp_config"]) == (fsdp, config)
    built = SentenceTransformerTrainingArguments(output_dir="x", **{**found, "ddp_backend": None, "use_cpu": True})
    assert built.fsdp_plugin_args is not None


_OF_MEASURING = """do_train do_predict prediction_loss_only eval_accumulation_steps bf16_full_eval fp16_full_eval
    save_safetensors resume_from_checkpoint ignore_data_skip overwrite_output_dir logging_nan_inf_filter
    include_num_input_tokens_seen debug disable_tqdm"""
_OF_TRAINING = """label_smoothing_factor max_grad_norm gradient_checkpointing_kwargs activation_checkpointing_kwargs
    auto_find_batch_size neftune_noise_alpha"""
_OF_DATA = """seed data_seed group_by_length length_column_name train_sampling_strategy remove_unused_columns
    batch_sampler multi_dataset_batch_sampler prompts router_mapping full_determinism bf16 torch_empty_cache_steps
    run_name"""
_ON_THE_PLAN = """fsdp fsdp_config fsdp_min_num_params fsdp_transformer_layer_cls_to_wrap torch_compile
    torch_compile_mode dataloader_pin_memory use_cpu no_cuda"""
PROVED_BY_NAME = {
    "output_dir": "tests/cli/test_train.py: the default output is named by the request",
    "tpu_metrics_debug": "tests/planning/test_rules.py: refused under today's name",
    "report_to": "here",
    "logging_dir": "here",
    "save_on_each_node": "tests/distributed/test_nodes.py",
    "ddp_broadcast_buffers": "the DDP module of the trainer never gets another value: refused when true",
    "remove_unused_columns": "test_data.py",
    **dict.fromkeys(_OF_MEASURING.split(), "test_measuring.py"),
    **dict.fromkeys(_OF_TRAINING.split(), "test_training.py"),
    **dict.fromkeys(_OF_DATA.split(), "test_data.py"),
    **dict.fromkeys(_ON_THE_PLAN.split(), "here, on the plan: it needs GPUs or a compiler"),
    **dict.fromkeys([name for name in CONTRACT if name.startswith(("hub_", "push_to_hub"))], "here"),
}
"""Where an argument is proved that has a test of its own rather than a row of a table."""


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"use_cpu": True}, {"use_cpu": True, "dataloader_pin_memory": False}),
        ({"no_cuda": True}, {"use_cpu": True, "dataloader_pin_memory": False}),
        ({"dataloader_pin_memory": False}, {"use_cpu": False, "dataloader_pin_memory": False}),
        ({}, {"use_cpu": False, "dataloader_pin_memory": True}),
    ],
    ids=str,
)
def test_what_a_machine_with_gpus_is_given(given: dict[str, Any], found: dict[str, Any]) -> None:
    """A machine without GPUs forces all three, so this is proved on the plan of one that has them."""
    from embedstep.request.arguments.ledger import ledger, trainer_arguments
    from embedstep.request.arguments.schema import Arguments

    entries = ledger(Arguments.model_validate(given), gpus=1, world_size=1, has_evaluation=False)
    planned = trainer_arguments(entries, warmup_steps=0)
    assert {name: planned[name] for name in found} == found


def test_torch_compile_is_given_to_the_class() -> None:
    """The default backend needs a compiler."""
    from sentence_transformers import SentenceTransformerTrainingArguments

    from embedstep.request.arguments.ledger import ledger, trainer_arguments
    from embedstep.request.arguments.schema import Arguments

    entries = ledger(Arguments(torch_compile=True, use_cpu=True), gpus=0, world_size=1, has_evaluation=False)
    built = SentenceTransformerTrainingArguments(output_dir="x", **trainer_arguments(entries, warmup_steps=0))
    assert (built.torch_compile, built.torch_compile_backend) == (True, "inductor")


def test_torch_compile_mode_is_given_to_the_class() -> None:
    """The backend that runs without a compiler ignores the mode, so this is proved on the plan."""
    from sentence_transformers import SentenceTransformerTrainingArguments

    from embedstep.request.arguments.ledger import ledger, trainer_arguments
    from embedstep.request.arguments.schema import Arguments

    given = Arguments.model_validate({"torch_compile_mode": "reduce-overhead", "use_cpu": True})
    found = trainer_arguments(ledger(given, gpus=0, world_size=1, has_evaluation=False), warmup_steps=0)
    built = SentenceTransformerTrainingArguments(output_dir="x", **found)
    assert (built.torch_compile, built.torch_compile_mode) == (True, "reduce-overhead")


def test_every_argument_that_does_something_is_proved() -> None:
    tables = [
        test_training.SCHEDULE, test_training.BATCH, test_training.OPTIMIZER, test_measuring.EVALUATION,
        test_measuring.SAVING, test_measuring.LOGGING, test_data.LOADER, PROCESSES,
    ]  # fmt: skip
    proved = {name for table in tables for name in table} | PROVED_BY_NAME.keys()
    does_something = {name for name, row in CONTRACT.items() if row.support in ("used", "translated", "implemented")}
    assert does_something - proved == set()
    assert proved - set(CONTRACT) == set()
