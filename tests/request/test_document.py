import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedstep.errors import InvalidRequestError
from embedstep.request.document import parse_document
from embedstep.request.scalars import Plain, plain


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("1e-5", 1e-5),
        ("2e-5", 2e-5),
        ("5E-05", 5e-5),
        ("1e5", 1e5),
        ("1.0e-5", 1e-5),
        ("32", 32),
        ("-1", -1),
        (".5", 0.5),
        ("true", True),
        ("null", None),
        ("~", None),
        # What YAML 1.1 reads as something else is text here, and the field's type decides.
        ("no", "no"),
        ("on", "on"),
        ("010", "010"),
        ("0x10", "0x10"),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("2024-01-01", "2024-01-01"),
        ("None", "None"),
    ],
)
def test_a_plain_scalar_means_what_yaml_1_2_says(text: str, meaning: object) -> None:
    assert plain(parse_document(f"x: {text}").data["x"]) == meaning


def test_infinity_and_nan_are_numbers() -> None:
    data = plain(parse_document("a: .inf\nb: -.inf\nc: .nan").data)
    assert data["a"] == math.inf
    assert data["b"] == -math.inf
    assert math.isnan(data["c"])


def test_numbers_keep_their_text() -> None:
    assert parse_document("v: 1.10").data == {"v": Plain("1.10", 1.1)}
    assert parse_document('{"v": 1.10}').data == {"v": Plain("1.10", 1.1)}


def test_quoted_scalars_are_text() -> None:
    assert parse_document("a: '1'\nb: \"true\"\nc: |\n  5").data == {"a": "1", "b": "true", "c": "5"}


@pytest.mark.parametrize("text", ["a: 1\na: 2", "x: {a: 1, b: 2, a: 3}", '{"a": 1, "a": 2}'])
def test_a_repeated_key_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="the key 'a' is repeated in one mapping; keep one"):
        parse_document(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "line 1: this is not YAML: expected"),
        ("a: !!python/object:os.system x", "the tag 'tag:yaml.org,2002:python/object:os.system' is not allowed"),
        ("a: &x [*x]", "an alias that contains itself"),
        ("? [a]\n: 1", "a key must be a plain word"),
        ("a: 1\n---\nb: 2", "this is not YAML"),
        ("a: \t1\n\tb: 2", "this is not YAML"),
        ('{"a": 1,', "this is not JSON"),
        ('{"a":' * 70 + "1" + "}" * 70, "the document is nested more than 64 deep"),
    ],
)
def test_what_is_not_one_plain_document_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        parse_document(text)


def test_a_mapping_in_braces_may_be_yaml() -> None:
    assert plain(parse_document("{a: 1, b: [x, 2.5]}").data) == {"a": 1, "b": ["x", 2.5]}
    with pytest.raises(InvalidRequestError, match="the key 'a' is repeated"):
        parse_document("{a: 1, a: 2}")


def test_lines_are_known_by_path() -> None:
    document = parse_document("a:\n  b: 1\n  c:\n    - 5\n    - 6\n")
    assert document.line_note(("a",)) == " (line 1)"
    assert document.line_note(("a", "b")) == " (line 2)"
    assert document.line_note(("a", "c", 1)) == " (line 5)"
    assert document.line_note(("a", "b", "unknown")) == " (line 2)"
    assert document.line_note(("z",)) == ""


def test_what_an_override_has_set_has_no_line() -> None:
    document = parse_document("a:\n  b: 1\n  c:\n    - 5\n    - 6\n")
    document.mark_override(("a", "c"))
    assert document.line_note(("a", "c", 1)) == " (--set)"
    assert document.line_note(("a", "b")) == " (line 2)"


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=8), _json, max_size=4))
def test_json_reads_back_as_it_was_written(data: dict[str, object]) -> None:
    assert plain(parse_document(json.dumps(data)).data) == data


def is_read_or_refused(text: str) -> bool:
    """Whether the text is read, or refused with at least one problem; any other exception goes through."""
    try:
        parse_document(text)
    except InvalidRequestError as error:
        return bool(error.problems)
    return True


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    assert is_read_or_refused(text)


@given(st.text(alphabet="{}[],:&*!|>-\"'% \nab1.#?", max_size=60))
def test_any_punctuation_is_read_or_refused(text: str) -> None:
    assert is_read_or_refused(text)
