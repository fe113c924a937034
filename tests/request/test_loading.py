import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedstep.errors import REFUSED, InvalidRequestError, Problem
from embedstep.request.arguments.renames import OLDER_NAMES
from embedstep.request.arguments.schema import Arguments
from embedstep.request.fingerprint import request_fingerprint
from embedstep.request.loading import load_request, read_request
from embedstep.request.schema import TrainRequest

MINIMAL = """
model: folder
data: {train: {docs: {path: pairs.parquet, columns: {anchor: q, positive: p}}}}
loss: multiple_negatives_ranking
"""


def with_arguments(text: str) -> TrainRequest:
    return load_request(f"{MINIMAL}\narguments: {{{text}}}")


def problems_of(text: str, overrides: tuple[str, ...] = ()) -> dict[str, str]:
    with pytest.raises(InvalidRequestError) as caught:
        load_request(text, overrides)
    assert caught.value.exit_code == REFUSED
    return {problem.path: problem.message for problem in caught.value.problems}


def test_the_shortest_request_has_every_default() -> None:
    request = load_request(MINIMAL)
    assert request.model.path == "folder"
    assert request.data.train["docs"].path == ["pairs.parquet"]
    assert request.data.train["docs"].columns.anchor == "q"
    assert request.loss["*"].kind == "multiple_negatives_ranking"
    assert request.arguments.learning_rate == 5e-5
    assert request.arguments.per_device_train_batch_size == 8
    assert request.launch.processes_per_node == "auto"
    assert request.tracking.kind == "mlflow"


@pytest.mark.parametrize(
    ("field", "token", "value"),
    [
        ("learning_rate", "1e-5", 1e-5),
        ("learning_rate", "2e-5", 2e-5),
        ("learning_rate", "5E-05", 5e-5),
        ("learning_rate", "'1e-5'", 1e-5),
        ("learning_rate", "1", 1.0),
        ("save_steps", "100", 100),
        ("save_steps", "100.0", 100.0),
        ("save_steps", "0.1", 0.1),
        ("seed", "7.0", 7),
        ("seed", "'7'", 7),
        ("eval_strategy", "no", "no"),
        ("eval_strategy", "off", "no"),
        ("eval_strategy", "false", "no"),
        ("run_name", "no", "no"),
        ("run_name", "010", "010"),
        ("run_name", "12:30", "12:30"),
        ("run_name", "1.10", "1.10"),
        ("run_name", "1e-5", "1e-5"),
        ("bf16", "yes", True),
        ("bf16", "off", False),
        ("lr_scheduler_kwargs", "{num_cycles: 2}", {"num_cycles": 2}),
        ("lr_scheduler_kwargs", "'{\"num_cycles\": 2}'", {"num_cycles": 2}),
    ],
)
def test_yaml_spoils_no_value(field: str, token: str, value: object) -> None:
    found = with_arguments(f"{field}: {token}").arguments
    assert getattr(found, field) == value
    assert type(getattr(found, field)) is type(value)


@pytest.mark.parametrize(
    ("field", "token", "message"),
    [
        ("learning_rate", "1e-5x", "needs a number; '1e-5x' was given"),
        ("learning_rate", ".inf", "a finite number is needed, not inf"),
        ("learning_rate", "yes", "needs a number; 'yes' was given"),
        ("save_steps", "010", "needs an integer or needs a number; '010' was given"),
        ("save_steps", "12:30", "needs an integer or needs a number; '12:30' was given"),
        ("seed", "7.5", "needs an integer; 7.5 was given"),
        ("seed", "true", "needs an integer; True was given"),
        ("eval_strategy", "sometimes", "must be no, steps or epoch; 'sometimes' was given"),
        ("eval_strategy", "STEPS", "must be no, steps or epoch; 'STEPS' was given; did you mean steps?"),
        ("run_name", "None", "'None' is text here; write null for nothing"),
        ("bf16", "maybe", "needs true or false; 'maybe' was given"),
        ("bf16", "1", "needs true or false; 1 was given"),
        ("learning_rate", "null", "needs a number; None was given"),
        (
            "batch_size",
            "64",
            "is not a training argument; did you mean per_device_train_batch_size?",
        ),
        ("train_batch_size", "64", "is not a training argument; did you mean per_device_train_batch_size?"),
        ("lr", "1e-5", "is not a training argument; did you mean learning_rate?"),
        ("learning_rte", "1e-5", "is not a training argument; did you mean learning_rate?"),
        (
            "early_stopping_patience",
            "3",
            "is not a training argument; write early_stopping: {patience: ...}, a section of its own",
        ),
        (
            "early_stopping_threshold",
            "0.01",
            "is not a training argument; write early_stopping: {patience: ..., threshold: ...}, a section of its own",
        ),
        ("evaluation_strategy", "never", "must be no, steps or epoch; 'never' was given"),
    ],
)
def test_what_cannot_be_repaired_is_refused_with_what_would_be_right(field: str, token: str, message: str) -> None:
    found = problems_of(f"{MINIMAL}\narguments: {{{field}: {token}}}")
    assert found == {f"arguments.{field}": f"{message} (line 6)"}


@pytest.mark.parametrize("name", sorted(Arguments.model_fields))
def test_a_hint_leads_to_a_current_argument(name: str) -> None:
    """What is suggested for a name with a letter missing is an argument, and is not an older name of one."""
    typed = name[:-2] + name[-1:]
    (message,) = problems_of(f"{MINIMAL}\narguments: {{{typed}: 1}}").values()
    found = re.search(r"did you mean (\w+)\?", message)
    assert found is None or (found[1] in Arguments.model_fields and found[1] not in OLDER_NAMES)


@pytest.mark.parametrize("split", ["train", "eval"])
def test_a_dataset_without_a_name_is_one_problem(split: str) -> None:
    text = f"model: folder\nloss: cosent\ndata:\n  {split}: {{path: a.csv, columns: {{anchor: q, positive: a}}}}"
    found = problems_of(text)
    assert found[f"data.{split}"].startswith(f"needs a name for the dataset; write {split}: {{docs: {{...}}}}")
    assert not [path for path in found if path.startswith(f"data.{split}.")]


def test_all_problems_come_at_once() -> None:
    found = problems_of(
        """
modell: folder
data: {train: {docs: {path: a.csv, columns: {ancor: q}}}}
loss: {docs: {kind: cosent, option: {}}}
arguments: {learning_rte: 1, seed: x}
launch: {nodes: 0}
"""
    )
    assert found == {
        "model": "is missing",
        "modell": "is not a known key; did you mean model? (line 2)",
        "data.train.docs.columns.ancor": "is not a known key; did you mean anchor? (line 3)",
        "loss.docs.option": "is not a known key; did you mean options? (line 4)",
        "arguments.learning_rte": "is not a training argument; did you mean learning_rate? (line 5)",
        "arguments.seed": "needs an integer; 'x' was given (line 5)",
        "launch.nodes": "input should be greater than 0; 0 was given (line 6)",
    }


def test_a_secret_is_never_shown() -> None:
    found = problems_of(f"{MINIMAL}\narguments: {{hub_token: [planted-token-value]}}")
    assert "planted" not in str(found)
    assert found["arguments.hub_token"] == "needs a mapping; a value that is not shown was given (line 6)"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{path: a, static: b}", "give exactly one of path and static"),
        ("{}", "give exactly one of path and static"),
        ("{path: a, dimension: 3}", "dimension and initial_vectors belong to a static model"),
        ("{static: a}", "a static model needs either dimension or initial_vectors: word_embeddings"),
    ],
)
def test_a_model_is_one_kind(text: str, message: str) -> None:
    assert problems_of(MINIMAL.replace("folder", text))["model"].startswith(message)


def test_a_dataset_has_one_source() -> None:
    found = problems_of(MINIMAL.replace("path: pairs.parquet", "path: a, hub: b"))
    assert found["data.train.docs"].startswith("give exactly one of path, hub, sql and beir")


def test_overrides_win_in_their_order() -> None:
    request = load_request(
        MINIMAL,
        ("arguments.learning_rate=1e-3", "arguments.learning_rate=2e-5", "launch.processes_per_node=2", "model=other"),
    )
    assert request.arguments.learning_rate == 2e-5
    assert request.launch.processes_per_node == 2
    assert request.model.path == "other"


def test_an_override_reaches_into_a_list() -> None:
    text = f"{MINIMAL}\nevaluators: [{{kind: triplet, name: a, dataset: b}}]"
    assert load_request(text, ("evaluators.0.name=z",)).evaluators[0].name == "z"
    assert "is not an index of a list of 1" in str(problems_of(text, ("evaluators.1.name=z",)))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("arguments.seed", "needs the form section.key=value"),
        ("=3", "needs the form section.key=value"),
        ("arguments..seed=3", "needs the form section.key=value"),
        ("model.path.deeper=1", "model is a value, not a mapping; set all of it"),
        ("evaluators.0.name.x=1", "evaluators.0.name is a value, not a mapping; set all of it"),
        ("evaluators.1.name=z", "'1' is not an index of a list of 1"),
        ("evaluators.name=z", "'name' is not an index of a list of 1"),
        ("arguments.seed=[1", "line 1: this is not YAML"),
    ],
)
def test_a_bad_override_is_refused(override: str, message: str) -> None:
    text = f"{MINIMAL}\nevaluators: [{{kind: triplet, name: a, dataset: b}}]"
    assert problems_of(text, (override,))[f"--set {override.partition('=')[0]}"].startswith(message)


def test_all_bad_overrides_come_at_once_with_the_problems_of_the_rest() -> None:
    overrides = ("arguments.seed", "model.path.x.y=1", "arguments.seed=yes", "arguments.max_steps=[1]")
    assert problems_of(MINIMAL, overrides) == {
        "--set arguments.seed": "needs the form section.key=value",
        "--set model.path.x.y": "model is a value, not a mapping; set all of it",
        "arguments.max_steps": "needs an integer; [1] was given (--set)",
        "arguments.seed": "needs an integer; 'yes' was given (--set)",
    }


def test_a_missing_or_unreadable_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        read_request(str(tmp_path / "none.yaml"))
    assert caught.value.problems == (Problem(str(tmp_path / "none.yaml"), "cannot be read: No such file or directory"),)
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidRequestError, match="is not text in UTF-8"):
        read_request(str(tmp_path / "bytes.yaml"))


def test_the_fingerprint_is_of_the_meaning() -> None:
    one = load_request(MINIMAL)
    other = load_request(
        """
# the same in other words
loss: {kind: multiple_negatives_ranking}
launch: {processes_per_node: auto}
data: {train: {docs: {columns: {positive: p, anchor: q}, path: [pairs.parquet]}}}
model: {path: folder}
arguments: {learning_rate: 5.0e-05}
"""
    )
    assert request_fingerprint(one) == request_fingerprint(other)
    assert request_fingerprint(one) != request_fingerprint(load_request(MINIMAL, ("arguments.seed=1",)))
    assert len(request_fingerprint(one)) == 64


def test_a_dumped_request_reads_back_equal() -> None:
    request = load_request(
        f"{MINIMAL}\narguments: {{learning_rate: 1e-5, save_steps: 0.5, prompts: {{anchor: 'q: '}}}}"
    )
    again = TrainRequest.model_validate(request.model_dump(mode="json"))
    assert again.model_dump() == request.model_dump()
    assert request_fingerprint(again) == request_fingerprint(request)


def test_a_request_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_request(MINIMAL).model.path = "other"  # type: ignore[misc]


_words = st.sampled_from(
    [
        "model",
        "data",
        "train",
        "docs",
        "path",
        "columns",
        "anchor",
        "loss",
        "kind",
        "options",
        "arguments",
        "seed",
        "launch",
        "nodes",
        "evaluators",
        "tracking",
        "x",
        "*",
        "",
        "1",
        "learning_rate",
        "prompts",
    ]
)
_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_words, inner, max_size=4),
    max_leaves=15,
)


def is_loaded_or_refused(text: str, overrides: Sequence[str] = ()) -> bool:
    """Whether the text is a request, or refused in sentences; any other exception goes through."""
    try:
        load_request(text, overrides)
    except InvalidRequestError as error:
        return bool(error.problems) and all(problem.message for problem in error.problems)
    return True


@given(st.dictionaries(_words, _values, max_size=6))
def test_no_document_ends_in_a_traceback(data: dict[str, object]) -> None:
    assert is_loaded_or_refused(json.dumps(data))


@given(st.text(max_size=120), st.lists(st.text(max_size=20), max_size=2))
def test_no_text_ends_in_a_traceback(text: str, overrides: list[str]) -> None:
    assert is_loaded_or_refused(text, overrides)


@pytest.mark.parametrize("model", ["", "{static: '', dimension: 8}"])
def test_an_empty_name_is_no_model(model: str) -> None:
    assert any(path.startswith("model") for path in problems_of(MINIMAL.replace("folder", model or "''")))


@pytest.mark.parametrize("space", [" ", "\x1f", "\u2003"])
def test_any_white_space_around_a_number_is_none_of_it(request_of: Callable[..., dict[str, Any]], space: str) -> None:
    arguments = {"seed": f"7{space}", "learning_rate": f"{space}2e-5"}
    found = load_request(json.dumps(request_of(arguments=arguments))).arguments
    assert (found.seed, found.learning_rate) == (7, 2e-5)
