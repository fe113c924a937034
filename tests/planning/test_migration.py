import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from embedstep.cli.program import main
from embedstep.planning.rules import check_rules
from embedstep.request.arguments.table import CONTRACT
from embedstep.request.loading import load_request
from tests.places import RECORDED_3_0

SCRIPT = """
from sentence_transformers import SentenceTransformerTrainingArguments
from sentence_transformers.training_args import BatchSamplers
raise SystemExit("this script is never run")
args = SentenceTransformerTrainingArguments(
    output_dir="models/mpnet",
    num_train_epochs=1,
    per_device_train_batch_size=16,
    warmup_ratio=0.1,
    fp16=False,
    batch_sampler=BatchSamplers.NO_DUPLICATES,
    evaluation_strategy="steps",
    eval_steps=100,
    save_total_limit=2,
    run_name="mpnet",
)
"""


def migrate(path: Path, *options: str) -> tuple[int, str, str]:
    """Run the command; return code, standard output, standard error."""
    result = CliRunner().invoke(main, ["migrate", str(path), *options])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def test_a_script_is_read_and_never_run(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(SCRIPT)
    code, out, table = migrate(tmp_path / "train.py")
    assert code == 0
    assert yaml.safe_load(out)["arguments"] == {
        "output_dir": "models/mpnet", "num_train_epochs": 1.0, "per_device_train_batch_size": 16, "warmup_ratio": 0.1,
        "fp16": False, "batch_sampler": "no_duplicates", "eval_strategy": "steps", "eval_steps": 100,
        "save_total_limit": 2, "run_name": "mpnet",
    }  # fmt: skip
    rows = [line.split() for line in table.splitlines()]
    assert ["evaluation_strategy", "renamed", "eval_strategy"] in rows
    assert ["run_name", "translated", "tracking.run_name"] in rows
    assert ["save_total_limit", "kept"] in rows


def test_a_dump_becomes_what_was_chosen(tmp_path: Path) -> None:
    dump = {
        **RECORDED_3_0["defaults"]["to_dict"],
        "learning_rate": 3e-4, "group_by_length": True, "evaluation_strategy": "epoch", "do_eval": True,
        "hub_token": "<HUB_TOKEN>", "local_rank": 0,
    }  # fmt: skip
    (tmp_path / "args.json").write_text(json.dumps(dump))
    target = tmp_path / "request.yaml"
    code, out, _ = migrate(tmp_path / "args.json", "-o", str(target))
    assert code == 0
    found = yaml.safe_load(target.read_text())["arguments"]
    assert {name: found[name] for name in ("learning_rate", "eval_strategy", "train_sampling_strategy")} == {
        "learning_rate": 3e-4, "eval_strategy": "epoch", "train_sampling_strategy": "group_by_length",
    }  # fmt: skip
    assert set(found) <= {"learning_rate", "eval_strategy", "train_sampling_strategy", "output_dir", "logging_dir",
                          "prediction_loss_only"}  # fmt: skip
    assert "group_by_length" in out


def test_the_full_list_of_a_model_card_becomes_what_was_chosen(tmp_path: Path) -> None:
    # As the library writes it: the whole dump without what depends on the data and the machine.
    dump = {
        name: value
        for name, value in RECORDED_3_0["defaults"]["to_dict"].items()
        if name not in ("output_dir", "logging_dir", "run_name", "report_to", "seed", "hub_token", "push_to_hub_token")
    }
    lines = "".join(f"- `{name}`: {value}\n" for name, value in {**dump, "learning_rate": 3e-4, "bf16": True}.items())
    card = f"# Model\n#### Non-Default Hyperparameters\n\n- `bf16`: True\n\n#### All Hyperparameters\n\n{lines}\n"
    (tmp_path / "README.md").write_text(card)
    code, out, _ = migrate(tmp_path / "README.md")
    assert code == 0
    found = load_request(out).arguments.model_dump(exclude_unset=True)
    assert found == {"learning_rate": 3e-4, "bf16": True, "prediction_loss_only": True}


def test_what_has_no_meaning_is_reported_and_left_out(tmp_path: Path) -> None:
    (tmp_path / "old.yaml").write_text("use_ipex: true\nlearning_rate: fast\nhub_token: hf_plantedplanted\nseed: 7\n")
    target = tmp_path / "request.yaml"
    code, out, err = migrate(tmp_path / "old.yaml", "-o", str(target))
    assert code == 2
    assert "arguments.use_ipex: is refused: the libraries no longer use this extension" in err
    assert "arguments.learning_rate: needs a number" in err
    assert yaml.safe_load(target.read_text())["arguments"] == {"seed": 7}
    assert "planted" not in out + err + target.read_text()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x80\x04\x95", "is a pickle, which may run any code"),
        (b"PK\x03\x04rest", "is a pickle, which may run any code"),
        (b"\xff\xfe", "is not text in UTF-8"),
        (b"colour: blue\n", "holds no training arguments"),
        (b"- a\n", "holds no training arguments"),
        (None, "cannot be read: No such file or directory"),
    ],
)
def test_what_is_no_file_of_arguments_is_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "training_args.bin").write_bytes(content)
    code, _, err = migrate(tmp_path / "training_args.bin")
    assert code == 2
    assert message in err


@pytest.mark.parametrize(
    ("script", "message"),
    [("train(", "is no Python: '(' was never closed"), ("train(1)\n", "calls no SentenceTransformerTrainingArguments")],
)
def test_a_script_without_arguments_is_refused(tmp_path: Path, script: str, message: str) -> None:
    (tmp_path / "train.py").write_text(script)
    code, _, err = migrate(tmp_path / "train.py")
    assert code == 2
    assert message in err


def test_what_a_script_computes_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(
        "SentenceTransformerTrainingArguments(os.path.join(ROOT, 'x'), run_name=f'run-{now}', hub_model_id=cfg.HUB_ID,"
        " seed=7, resume_from_checkpoint=last, lr_scheduler_type=SchedulerType.COSINE, **extra)"
    )
    code, out, err = migrate(tmp_path / "train.py")
    assert code == 2
    assert yaml.safe_load(out)["arguments"] == {
        "seed": 7, "lr_scheduler_type": "cosine", "output_dir": "<value>", "run_name": "<value>",
        "hub_model_id": "<value>", "resume_from_checkpoint": "<value>",
    }  # fmt: skip
    for name in ("output_dir", "run_name", "hub_model_id", "resume_from_checkpoint", "**"):
        assert f"arguments.{name}: is computed in line 1 of the script; write the value" in err


def test_what_is_left_open_is_refused_by_the_check(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("SentenceTransformerTrainingArguments(output_dir=out, seed=7)")
    assert migrate(tmp_path / "train.py", "-o", str(tmp_path / "request.yaml"))[0] == 2
    result = CliRunner().invoke(main, ["check", str(tmp_path / "request.yaml")])
    assert result.exit_code == 2
    assert [line.strip() for line in result.stderr.splitlines()[1:7]] == [
        "model: is still <model>; fill in the folder of a saved model, or the id of a model on the hub",
        "data.train.docs.path: is still <train.parquet>; fill in the file with the rows for training",
        "data.train.docs.columns.anchor: is still <anchor column>; fill in the column with the anchors; name the "
        "columns that the loss takes",
        "data.train.docs.columns.positive: is still <positive column>; fill in the column with the positives; name the "
        "columns that the loss takes",
        "loss: is still <loss>; fill in the name of a loss (docs/losses.md)",
        "arguments.output_dir: is still <value>; fill in the value",
    ]
    assert "<train.parquet> does not exist" not in result.stderr


def test_a_number_that_is_left_open_is_refused_by_the_check(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("SentenceTransformerTrainingArguments(per_device_train_batch_size=size)")
    migrate(tmp_path / "train.py", "-o", str(tmp_path / "request.yaml"))
    result = CliRunner().invoke(main, ["check", str(tmp_path / "request.yaml")])
    assert result.exit_code == 2
    assert "arguments.per_device_train_batch_size: needs an integer; '<value>' was given" in result.stderr


def test_model_and_loss_of_a_script_are_carried_over(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(
        "name = 'microsoft/mpnet-base'\nmodel = SentenceTransformer(name)\ninner = CoSENTLoss(model, scale=10.0)\n"
        "loss = MatryoshkaLoss(model, inner, matryoshka_dims=[768, 256])\n"
        "args = SentenceTransformerTrainingArguments(eval_strategy='epoch')\n"
        "trainer = SentenceTransformerTrainer(model=model, args=args, train_dataset=data, loss=loss, callbacks=[x])\n"
    )
    code, out, table = migrate(tmp_path / "train.py")
    assert code == 0
    found = yaml.safe_load(out)
    docs = {"columns": {"anchor": "<anchor column>", "positive": "<positive column>"}}
    assert found == {
        "model": "microsoft/mpnet-base",
        "data": {
            "train": {"docs": {"path": "<train.parquet>", **docs}},
            "eval": {"docs": {"path": "<eval.parquet>", **docs}},
        },
        "loss": {
            "kind": "matryoshka",
            "options": {"matryoshka_dims": [768, 256]},
            "loss": {"kind": "cosent", "options": {"scale": 10.0}},
        },
        "arguments": {"eval_strategy": "epoch"},
    }
    assert "trainer.callbacks left out line 6; see the section early_stopping" in " ".join(table.split())


def test_of_several_calls_in_a_script_one_is_chosen(tmp_path: Path) -> None:
    call = "SentenceTransformerTrainingArguments"
    (tmp_path / "train.py").write_text(f"{call}(seed=1)\n{call}(seed=2)\n")
    code, out, err = migrate(tmp_path / "train.py")
    assert (code, out) == (2, "")
    assert f"calls {call} in lines 1 and 2, and a request is one training; choose one with --line" in " ".join(
        err.split()
    )
    code, out, _ = migrate(tmp_path / "train.py", "--line", "2")
    assert (code, yaml.safe_load(out)["arguments"]) == (0, {"seed": 2})


def test_a_model_card_is_migrated(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(
        "---\ntags: [a]\n---\n# Model\n#### Non-Default Hyperparameters\n\n- `eval_strategy`: steps\n"
        "- `per_device_train_batch_size`: 16\n- `learning_rate`: 2e-05\n- `bf16`: True\n"
        "- `batch_sampler`: no_duplicates\n"
    )
    code, out, _ = migrate(tmp_path / "README.md")
    assert code == 0
    assert load_request(out).arguments.model_dump(exclude_unset=True) == {
        "eval_strategy": "steps", "per_device_train_batch_size": 16, "learning_rate": 2e-5, "bf16": True,
        "batch_sampler": "no_duplicates",
    }  # fmt: skip
    code, _, err = migrate(tmp_path / "README.md", "--line", "2")
    assert (code, "is no Python script; remove --line" in err) == (2, True)


@pytest.mark.parametrize(
    ("changed", "left_out"),
    [
        ({"warmup_ratio": 0.1, "warmup_steps": 50}, set()),
        ({"fsdp_config": {"min_num_params": 5, "xla": False, "xla_fsdp_grad_ckpt": False}}, {"fsdp_config"}),
        ({"evaluation_strategy": "epoch", "do_eval": True, "report_to": ["wandb"]}, set()),
    ],
    ids=str,
)
def test_what_a_dump_becomes_passes_the_check(tmp_path: Path, changed: dict[str, Any], left_out: set[str]) -> None:
    (tmp_path / "args.json").write_text(json.dumps({**RECORDED_3_0["defaults"]["to_dict"], **changed}))
    code, out, table = migrate(tmp_path / "args.json")
    assert code == 0
    request = load_request(out)
    assert check_rules(request) == []
    assert {line.split()[0] for line in table.splitlines() if "left out" in line} >= left_out
    assert "report_to left out it is derived from others or from the machine" in " ".join(table.split())


def test_what_the_rules_refuse_is_reported(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"fp16": true, "bf16": true, "warmup_ratio": 3, "seed": 7}')
    code, out, err = migrate(tmp_path / "a.json")
    assert code == 2
    assert "arguments.warmup_ratio: must be a share from 0 to 1, not 3" in err
    assert "arguments.fp16: and bf16 are both true; keep one" in err
    assert yaml.safe_load(out)["arguments"] == {"bf16": True, "seed": 7}


def test_no_token_is_written_down(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(
        json.dumps({"run_name": "hf_" + "p" * 20, "my.token": "hf_" + "p" * 24, "seed": 7})
    )
    code, out, err = migrate(tmp_path / "a.json")
    assert code == 2
    assert "arguments.run_name: contains a password, token or signature" in err
    assert "my.token" in err
    assert "pppp" not in out + err


def test_a_target_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"seed": 7}')
    code, _, err = migrate(tmp_path / "a.json", "-o", str(tmp_path / "no/such/x.yaml"))
    assert code == 2
    assert "cannot be written: No such file or directory" in err


def test_a_migrated_request_runs(
    tmp_path: Path, request_of: Callable[..., dict[str, Any]], embedstep_run: Callable[..., Any]
) -> None:
    (tmp_path / "train.py").write_text(SCRIPT.replace('evaluation_strategy="steps",', "max_steps=2,"))
    code, out, _ = migrate(tmp_path / "train.py")
    assert code == 0
    document = {**request_of(), "arguments": yaml.safe_load(out)["arguments"]}
    outcome = embedstep_run(document)
    assert outcome.code == 0, outcome.err
    ledger = {entry["name"]: entry for entry in outcome.json("plan.json")["ledger"]}
    assert (ledger["warmup_ratio"]["value"], ledger["warmup_ratio"]["source"]) == (0.1, "request")


def test_the_arguments_are_listed_with_one_level_of_support_each() -> None:
    records = json.loads(CliRunner().invoke(main, ["arguments", "--json"]).stdout)
    assert [record["name"] for record in records] == list(CONTRACT)
    assert len(records) == 151
    needed = {"name", "support", "type", "default", "current_name", "since", "description"}
    for record in records:
        assert needed <= record.keys()
        assert record["support"] in ("used", "translated", "implemented", "environment", "refused")


def test_one_argument_is_shown_in_lines() -> None:
    out = CliRunner().invoke(main, ["arguments", "evaluation_strategy"]).stdout
    assert out.splitlines()[:3] == [
        "what          Older name of eval_strategy.",
        "type          one of no, steps, epoch",
        'default       "no"',
    ]
    assert "current name  eval_strategy" in out
    result = CliRunner().invoke(main, ["arguments", "learning_rat"])
    assert result.exit_code == 2
    assert "is not a training argument; did you mean learning_rate?" in result.stderr
