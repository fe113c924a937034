"""Commands that read no rows: the schema, the arguments, older arguments as a request, the cache."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from embedstep.cli.program import main
from embedstep.request.schema import TrainRequest


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def test_the_schema_is_that_of_a_request() -> None:
    assert json.loads(run("schema").stdout) == TrainRequest.model_json_schema()


def test_the_arguments_are_a_table_or_json() -> None:
    records = json.loads(run("arguments", "--json").stdout)
    assert len(records) == len(run("arguments").stdout.splitlines()) - 1
    assert json.loads(run("arguments", "seed", "--json").stdout) in records


def test_an_argument_that_does_not_exist_is_refused() -> None:
    ended = run("arguments", "learning_rte")
    assert (ended.exit_code, ended.stdout) == (2, "")
    assert "learning_rate" in ended.stderr


def test_a_script_becomes_a_request_in_a_file_or_on_standard_output(tmp_path: Path) -> None:
    script, target = tmp_path / "train.py", tmp_path / "request.yaml"
    script.write_text("SentenceTransformerTrainingArguments(output_dir='out', evaluation_strategy='epoch')\n")
    printed, written = run("migrate", str(script)), run("migrate", str(script), "-o", str(target))
    assert (printed.exit_code, written.exit_code) == (0, 0)
    # What is printed for a person goes to standard error when the request itself is on standard output.
    assert yaml.safe_load(printed.stdout) == yaml.safe_load(target.read_text())
    assert yaml.safe_load(target.read_text())["arguments"]["eval_strategy"] == "epoch"
    assert "evaluation_strategy" in printed.stderr
    assert "evaluation_strategy" in written.stdout


def test_a_target_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "args.json").write_text("{}")
    assert run("migrate", str(tmp_path / "args.json"), "-o", str(tmp_path / "none" / "request.yaml")).exit_code == 2


def test_schema_is_a_json_schema_with_a_description_everywhere() -> None:
    schema = json.loads(run("schema").stdout)
    assert set(schema["properties"]) == {
        "card",
        "early_stopping",
        "evaluate_base",
        "model",
        "data",
        "loss",
        "evaluators",
        "arguments",
        "launch",
        "tracking",
        "promotion",
        "schedule",
        "resume",
        "skip_if_unchanged",
    }
    for section in [schema, *schema["$defs"].values()]:
        # A section with a short form is a string or the mapping.
        mapping = section if "properties" in section else section["anyOf"][1]
        assert mapping["additionalProperties"] is False
        for name, field in mapping["properties"].items():
            # A section's own sentence stands at its definition.
            assert field.get("description") or "$ref" in field, name


def test_the_schema_takes_what_the_loader_takes(request_of: Callable[..., dict[str, Any]]) -> None:
    from jsonschema import Draft202012Validator

    validator = Draft202012Validator(json.loads(run("schema").stdout))
    for loss in ("cosent", {"kind": "cosent"}, {"docs": "cosent"}, {"docs": {"kind": "matryoshka", "loss": "cosent"}}):
        for model in ("folder", {"path": "folder"}, {"static": "folder", "dimension": 8}):
            assert list(validator.iter_errors(request_of(loss=loss, model=model))) == []
    assert list(validator.iter_errors(request_of(bogus=1)))


def test_the_cache_is_shown_and_cleared(
    request_of: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "cache"
    monkeypatch.setenv("EMBEDSTEP_CACHE", str(folder))
    monkeypatch.setattr("embedstep.data.unchanged._SETTLED_SECONDS", -1.0)  # the files of a test are new
    (tmp_path / "request.yaml").write_text(yaml.safe_dump(request_of()))
    assert run("cache").stdout.splitlines() == [f"folder   {folder}", "entries  0", "size     0.0 MB"]
    checked = [run("check", str(tmp_path / "request.yaml")) for _ in range(2)]
    assert [one.exit_code for one in checked] == [0, 0]
    assert checked[0].stdout == checked[1].stdout
    assert run("cache").stdout.splitlines()[1] == "entries  1"
    assert run("cache", "clear").stdout == "removed 0.0 MB\n"
    assert run("cache").stdout.splitlines()[1] == "entries  0"
    assert run("cache", "forget").exit_code == 2
