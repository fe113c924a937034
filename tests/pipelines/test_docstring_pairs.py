import gc
import hashlib
import json
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from pipelines.docstrings import pairs
from pipelines.docstrings.pairs import Counts, Pair

LIMIT = 50
FILES = ("train.parquet", "eval.parquet")


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Counts]:
    folder = tmp_path_factory.mktemp("docstrings")
    return folder, pairs.build(folder)


def rows(path: Path) -> list[Pair]:
    return [Pair(**row) for row in pq.read_table(path).to_pylist()]


def digests(folder: Path) -> list[str]:
    return [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("email.message.Message.get_content_type", "email message message get content type"),
        ("http.HTTPStatus.is_client_error", "http http status is client error"),
        ("torch.nn.Conv2d", "torch nn conv2d"),
        ("torch.nn.LayerNorm1D", "torch nn layer norm1d"),
        ("a.MD5Hash", "a md5 hash"),
        ("sentence_transformers", "sentence transformers"),
        ("ä.Größe", "ä größe"),
    ],
)
def test_a_name_becomes_words(name: str, expected: str) -> None:
    assert pairs.words(name) == expected


def test_public_names_with_a_docstring_become_pairs() -> None:
    source = '''
"""What the module is about."""
if True:
    def fetch_all(x):
        """Fetch  all
            of them.

        Returns nothing.
        """
        def inner():
            """Not reachable by name."""
class HTTPServer:
    """Serves."""
    async def close(self):
        """Close it."""
    def __init__(self):
        """Dunder names are private too."""
    def bare(self): ...
class _Hidden:
    """Private."""
    def shown(self):
        """Private as well."""
'''
    assert list(pairs.docstrings(source, "web.base")) == [
        Pair("web base", "What the module is about.", "web.base"),
        Pair("web base fetch all", "Fetch all of them. Returns nothing.", "web.base"),
        Pair("web base http server", "Serves.", "web.base"),
        Pair("web base http server close", "Close it.", "web.base"),
    ]


def test_a_long_docstring_is_cut_between_words() -> None:
    text = "seven " * 300
    (pair,) = pairs.docstrings(f'"""{text}"""', "m")
    assert pair.docstring == ("seven " * 166).strip()


def test_a_docstring_without_spaces_is_cut_at_the_limit() -> None:
    (pair,) = pairs.docstrings(f'"""{"x" * 2_000}"""', "m")
    assert pair.docstring == "x" * 1_000


def test_invalid_escapes_raise_no_warning() -> None:
    # pytest is set to turn warnings into errors.
    (pair,) = pairs.docstrings(r'"""A pattern \d of digits."""', "m")
    assert pair.docstring == r"A pattern \d of digits."


def test_a_lone_surrogate_can_be_written(tmp_path: Path) -> None:
    (pair,) = pairs.docstrings(r'"""Half of a pair: \ud800."""', "m")
    pairs.write_rows(tmp_path / "x.parquet", [pair])
    assert rows(tmp_path / "x.parquet") == [Pair("m", "Half of a pair: ?.", "m")]


@pytest.mark.parametrize(
    ("docstring", "expected"),
    [
        ("Return the number of rows.", True),
        ("Extraordinarily uninformative.", False),
        ("Is it a b?", False),
    ],
)
def test_a_docstring_must_say_something(docstring: str, expected: bool) -> None:
    assert pairs.is_long_enough(docstring) is expected


def test_private_modules_and_tests_are_not_listed(tmp_path: Path) -> None:
    for name in (
        "__init__.py",
        "b.py",
        "a/__init__.py",
        "a/c.py",
        "_x.py",
        "a/__main__.py",
        "conftest.py",
        "tests/t.py",
        "_y/z.py",
        "no-name/n.py",
        "b.pyi",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [name for name, _ in pairs.source_files(tmp_path, "p")] == ["p", "p.a", "p.a.c", "p.b"]
    assert [name for name, _ in pairs.source_files(tmp_path, "")] == ["", "a", "a.c", "b"]


def test_files_that_do_not_parse_are_counted(tmp_path: Path) -> None:
    contents = {
        "good.py": b'"""Return the number of rows."""\ndef f():\n    """Short."""\n',
        "latin.py": b'# -*- coding: latin-1 -*-\n"""Caf\xe9s that are open today."""\n',
        "old.py": b"print 1\n",
        "bytes.py": b'"""Caf\xe9"""\n',
        "null.py": b"x = 1\0\n",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "gone.py").symlink_to("nowhere")
    reading = pairs.read_package(pairs.source_files(tmp_path, "p"), cap=10)
    assert reading.pairs == [
        Pair("p good", "Return the number of rows.", "p.good"),
        Pair("p latin", "Cafés that are open today.", "p.latin"),
    ]
    assert (reading.files_read, reading.files_skipped, reading.too_short) == (2, 4, 1)


def test_a_cap_ends_the_reading_after_a_whole_module(tmp_path: Path) -> None:
    source = '"""Return the number of rows."""\ndef f():\n    """Return the number of columns."""\n'
    for index in range(9):
        (tmp_path / f"m{index}.py").write_text(source)
    reading = pairs.read_package(pairs.source_files(tmp_path, "p"), cap=3)
    assert (len(reading.pairs), reading.files_read) == (4, 2)


def test_the_first_of_duplicates_stays() -> None:
    first = Pair("a b", "Return the number of rows.", "a")
    other = Pair("a c", "Return the number of columns.", "a")
    same_text = Pair("a d", "return  the number of ROWS.", "a")
    same_query = Pair("a b", "Set the number of rows.", "a")
    assert pairs.remove_duplicates([first, other, first, same_text, same_query]) == [first, other]


def test_what_is_evaluated_is_not_trained_on() -> None:
    train = [Pair("a", "One text.", "a"), Pair("b", "Two texts.", "b"), Pair("c", "Three texts.", "c")]
    evaluation = [Pair("x", "two  TEXTS.", "x"), Pair("c", "Four texts.", "y")]
    assert pairs.remove_overlaps(train, evaluation) == train[:1]


def test_modules_are_split_as_a_whole() -> None:
    found = [Pair("a", "1", "a"), Pair("b", "2", "b"), Pair("a f", "3", "a")]
    assert pairs.split(found, lambda module: module == "b") == ([found[0], found[2]], [found[1]])


def test_what_select_leaves_out_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "split", lambda found: (found[:14], found[14:]))
    train = [Pair(f"q{index}", f"text {index}", "t") for index in range(12)]
    evaluation = [Pair(f"e{index}", f"other {index}", "e") for index in range(4)]
    again = Pair("q again", "text 0", "t")
    evaluated = Pair("q evaluated", "other 0", "t")
    found = [*train, again, evaluated, *evaluation, evaluation[0]]
    selection = pairs.select(found, limit=10)
    assert (selection.duplicates_removed, selection.overlaps_removed, selection.over_limit) == (2, 1, 2 + 2)
    assert (len(selection.train), len(selection.evaluation)) == (10, 2)


def test_there_is_enough_to_train_on(whole: tuple[Path, Counts]) -> None:
    folder, counts = whole
    train, evaluation = rows(folder / "train.parquet"), rows(folder / "eval.parquet")
    assert len(train) >= 8_000
    assert 800 <= len(evaluation) <= pairs.EVAL_CAP
    assert (counts.train_pairs, counts.eval_pairs) == (len(train), len(evaluation))
    assert gc.isenabled()


def test_nothing_evaluated_was_trained_on(whole: tuple[Path, Counts]) -> None:
    train, evaluation = (rows(whole[0] / name) for name in FILES)
    for column in ("query", "docstring", "module"):
        trained, evaluated = ([getattr(pair, column) for pair in part] for part in (train, evaluation))
        assert not set(trained) & set(evaluated)
        if column != "module":
            assert len(set(trained)) == len(trained)
            assert len(set(evaluated)) == len(evaluated)


def test_every_docstring_is_accounted_for(whole: tuple[Path, Counts]) -> None:
    folder, counts = whole
    left_out = counts.too_short + counts.duplicates_removed + counts.overlaps_removed + counts.over_limit
    assert counts.pairs_found == left_out + counts.train_pairs + counts.eval_pairs
    assert counts.duplicates_removed > 0
    written = json.loads((folder / "pairs.json").read_text())
    assert sum(written["packages"].values()) == counts.pairs_found - counts.too_short
    assert set(written["packages"]) == {pairs.STANDARD_LIBRARY, *pairs.LIBRARIES}
    assert written["train_pairs"] == counts.train_pairs


def test_the_command_gives_the_same_files_again(tmp_path: Path) -> None:
    runner = CliRunner()
    first = runner.invoke(pairs.main, [str(tmp_path), "--limit", str(LIMIT)])
    before = digests(tmp_path)
    second = runner.invoke(pairs.main, [str(tmp_path), "--limit", str(LIMIT)])
    assert first.exit_code == second.exit_code == 0, first.output + second.output
    assert digests(tmp_path) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["eval.parquet", "pairs.json", "train.parquet"]
    train, evaluation = (rows(tmp_path / name) for name in FILES)
    assert (len(train), len(evaluation)) == (LIMIT, LIMIT // 5)
    assert not {pair.module for pair in train} & {pair.module for pair in evaluation}
    assert f"{'train pairs':<20}{LIMIT:>10}\n" in second.output


def test_the_libraries_are_not_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "LIBRARIES", ("networkx",))
    for name in [name for name in sys.modules if name.partition(".")[0] == "networkx"]:
        monkeypatch.delitem(sys.modules, name)
    assert len(pairs.read_all(5)["networkx"].pairs) >= 5
    assert "networkx" not in sys.modules


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    result = CliRunner().invoke(pairs.main, [str(tmp_path / "taken" / "inner"), "--limit", "5"])
    assert result.exit_code == 1
    assert "Not a directory" in result.output
