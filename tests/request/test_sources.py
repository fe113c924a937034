import pytest
from pydantic import TypeAdapter, ValidationError

from embedstep.request.sources import Csv, DatabaseUrl


@pytest.mark.parametrize(
    ("given", "delimiter", "quote", "escape"),
    [
        ({}, None, None, None),
        ({"delimiter": "\t"}, "\t", None, None),
        ({"delimiter": "\\t", "quote": "", "escape": "\\"}, "\t", "", "\\"),
        ({"delimiter": "|", "quote": "'", "escape": "'"}, "|", "'", "'"),
    ],
)
def test_characters_of_a_delimited_file(
    given: dict[str, str], delimiter: str | None, quote: str | None, escape: str | None
) -> None:
    found = Csv.model_validate(given)
    assert (found.delimiter, found.quote, found.escape, found.header) == (delimiter, quote, escape, True)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"delimiter": ""}, "needs one ASCII character"),
        ({"delimiter": "||"}, "needs one ASCII character"),
        ({"delimiter": "\n"}, "needs one ASCII character"),
        ({"quote": "«"}, "needs one ASCII character"),
        ({"escape": "no"}, "needs one ASCII character"),
        ({"delimiter": ";", "quote": ";"}, "delimiter, quote and escape are different characters"),
        ({"delimiter": ",", "escape": ","}, "delimiter, quote and escape are different characters"),
        ({"encoding": "latin-17"}, "is not an encoding that Python knows, such as cp1252 or utf-16"),
        ({"encoding": "rot13"}, "is not an encoding that Python knows, such as cp1252 or utf-16"),
        ({"header": "maybe"}, "Input should be a valid boolean"),
        ({"separator": ";"}, "Extra inputs are not permitted"),
    ],
)
def test_what_cannot_be_how_a_file_is_delimited_is_refused(given: dict[str, str], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Csv.model_validate(given)


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///rows.db",
        "sqlite:////data/rows.db",
        "postgresql://reader@db.example.org:5432/docs",
        "postgres:///docs?host=/var/run/postgresql",
        "postgresql://reader@db.example.org/docs?sslmode=verify-full",
    ],
)
def test_databases_that_are_known(url: str) -> None:
    assert TypeAdapter(DatabaseUrl).validate_python(url) == url


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql://me:hunter22@host/docs", "holds a password; leave it out, and set the environment variable PG"),
        ("postgresql://me:@host/docs", "holds a password; leave it out, and set the environment variable PGPASSWORD"),
        ("postgresql://host/docs?password=hunter22", "holds a password; leave it out"),
        ("postgresql://host/docs?sslpassword=hunter22", "holds a password; leave it out"),
        ("mysql://me:hunter22@host/docs", "holds a password; leave it out"),
        ("mysql://host/docs", "is not a database that embedstep reads; write sqlite:///rows.db or postgresql://"),
        ("rows.db", "is not a database that embedstep reads; write sqlite:///rows.db or postgresql://"),
        ("", "is not a database that embedstep reads"),
        ("sqlite://rows.db", "names no file; write sqlite:///rows.db, or sqlite:////data/rows.db for an absolute path"),
        ("sqlite://", "names no file"),
        ("sqlite:///", "names no file"),
        ("sqlite:///rows.db?mode=rwc", "takes no options; SQLite files are opened read-only"),
        ("postgresql://[::1/docs", "is not a URL of a database"),
    ],
)  # fmt: skip
def test_other_databases_are_refused_without_the_password(url: str, message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(DatabaseUrl).validate_python(url)
    (detail,) = caught.value.errors(include_input=False)
    assert str(detail["ctx"]["error"]).startswith(message)
    assert "hunter22" not in str(detail["ctx"]["error"])
