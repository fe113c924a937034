import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedstep.runtime.secrets import redact


@pytest.mark.parametrize(
    "token",
    [
        "hf_" + "aB3" * 11,
        "hf_" + "a" * 16,
        "ghp_" + "Ab1" * 12,
        "gho_" + "a" * 20,
        "ghs_" + "a" * 20,
        "glpat-" + "a_b-" * 5,
        "AKIA" + "ABCDEFGH12345678",
        "sk-" + "proj-" + "a1_" * 10,
        "github_pat_" + "11AB_" * 8,
        "api_org_" + "aB3" * 11,
        "xoxb-" + "123-" * 4 + "abc",
    ],
)
def test_tokens_are_known_by_their_shape(token: str) -> None:
    assert redact(token, {}) == "***"
    assert redact(f"401 for header 'Bearer {token}', try again", {}) == "401 for header 'Bearer ***', try again"
    assert redact(f"{token}\n{token}", {}) == "***\n***"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://user:planted@host:5000/path", "https://***@host:5000/path"),
        ("no answer from postgresql+psycopg2://me:p1@db/x, and none from http://b:p2@c",
         "no answer from postgresql+psycopg2://***@db/x, and none from http://***@c"),
    ],
)  # fmt: skip
def test_a_password_in_a_url_is_hidden(text: str, shown: str) -> None:
    assert redact(text, {}) == shown


@pytest.mark.parametrize(
    "name",
    [
        "HF_TOKEN", "MLFLOW_TRACKING_PASSWORD", "PGPASSWD", "CLIENT_SECRET", "GOOGLE_APPLICATION_CREDENTIALS",
        "API_KEY", "apikey", "AWS_SECRET_ACCESS_KEY", "S3_ACCESS_KEY", "my_token_2",
    ],
)  # fmt: skip
def test_the_values_of_secret_variables_are_hidden(name: str) -> None:
    environ = {name: "planted-value", "HOME": "/root"}
    assert redact("with planted-value and planted-values", environ) == "with *** and ***s"


@pytest.mark.parametrize("name", ["PATH", "HOME", "TRACKING_URI", "KEYBOARD", "USER"])
def test_the_values_of_other_variables_are_shown(name: str) -> None:
    assert redact("in planted-value", {name: "planted-value"}) == "in planted-value"


def test_a_short_value_is_a_word_and_no_secret() -> None:
    assert redact("true: 1234567", {"USE_TOKEN": "true", "PASSWORD": "1234567", "SECRET": ""}) == "true: 1234567"
    assert redact("12345678", {"PASSWORD": "12345678"}) == "***"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "data.train.docs.columns.anchor: is missing",
        "https://host:5000/path",
        "https://user@host/path",
        "s3://bucket/a:b@c.parquet",
        "sqlite:////folder/mlflow.db",
        "hf_model and ghp_x and sk-learn",
        "AKIA is a name",
        "12:30 a@b.c",
        "File \"/a/b.py\", line 3, in main\n    raise ValueError('x')",
    ],
)
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert redact(text, {}) == text


@pytest.mark.parametrize("text", ["/data/task-multilingual-embeddings-v2", "disk-space-of-the-whole-machine"])
def test_a_shape_in_the_middle_of_a_word_is_no_token(text: str) -> None:
    assert redact(text, {}) == text


@pytest.mark.parametrize("userinfo", [":planted", "user:pl:anted", "user:1@planted"])
def test_every_password_in_a_url_that_the_rules_refuse_is_hidden(userinfo: str) -> None:
    assert "anted" not in redact(f"http://{userinfo}@host", {})


_no_shape = st.text(st.characters(exclude_characters="_-:", exclude_categories=["Lu", "Cs"]))


@given(_no_shape)
def test_text_without_any_such_shape_stays_as_it_is(text: str) -> None:
    # Every shape has an underscore, a hyphen, a colon, or the capitals AKIA.
    assert redact(text, {}) == text


@given(st.text(), st.text(st.characters(exclude_characters="*", exclude_categories=["Cs"]), min_size=8))
def test_a_secret_value_is_nowhere_in_what_is_shown(text: str, secret: str) -> None:
    shown = redact(f"{text}{secret}{text}", {"PASSWORD": secret})
    assert "***" in shown
    assert secret not in shown


@given(st.text())
def test_hiding_twice_changes_nothing_more(text: str) -> None:
    once = redact(text, {})
    assert redact(once, {}) == once
