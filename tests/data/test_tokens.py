"""Token ids are those of the tokenizer for each text alone, whichever process has made them."""

import multiprocessing
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from embedstep.data import token_files
from embedstep.data.tokens import TokenIds, TokenizerSettings

TEXTS = ["how to open a file", "a", "naïve café, 東京 and much more text than six tokens", "", "a"]


def tokenizing(minilm: Path, **changes: Any) -> TokenizerSettings:
    """MiniLM's tokenizer without a limit."""
    tokenizer = Tokenizer.from_file(str(minilm / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    given: dict[str, Any] = {"tokenizer": tokenizer.to_str(), "truncation": None, "special_tokens": True}
    return TokenizerSettings(**{**given, **changes})


@pytest.fixture(scope="session")
def small_tokenizer(minilm: Path) -> TokenizerSettings:
    return tokenizing(minilm)


def ids_in(folder: Path, how: TokenizerSettings, prompt: str | None = None, rows: int = len(TEXTS)) -> TokenIds:
    return TokenIds(folder / "train-docs.arrow", rows, "a key", how, prompt)


class Rows:
    """Texts that count how often each was read."""

    def __init__(self, texts: list[str]) -> None:
        self.texts = texts
        self.read: Counter[int] = Counter()

    def __call__(self, rows: Sequence[int]) -> list[str]:
        self.read.update(rows)
        return [self.texts[row] for row in rows]


@pytest.mark.parametrize("prompt", [None, "query: "])
@pytest.mark.parametrize("limit", [None, 6])
@pytest.mark.parametrize("special_tokens", [True, False])
def test_token_ids_are_those_of_the_tokenizer(
    tmp_path: Path, minilm: Path, prompt: str | None, limit: int | None, special_tokens: bool
) -> None:
    truncation = {"max_length": limit} if limit else None
    how = tokenizing(minilm, truncation=truncation, special_tokens=special_tokens)
    alone = Tokenizer.from_str(how.tokenizer)
    if limit:
        alone.enable_truncation(limit)
    expected = [alone.encode((prompt or "") + text, add_special_tokens=special_tokens).ids for text in TEXTS]
    found, rows = ids_in(tmp_path, how, prompt), Rows(TEXTS)
    for _ in range(2):
        assert [ids.tolist() for ids in found.read([4, 0, 3], rows)] == [expected[4], expected[0], expected[3]]
        assert [ids.tolist() for ids in found.read(range(5), rows)] == expected
    assert rows.read == dict.fromkeys(range(5), 1)


orders = st.lists(st.lists(st.integers(0, 29), min_size=1, max_size=8), min_size=1, max_size=12)


@settings(max_examples=30)
@given(orders=orders, texts=st.lists(st.text(max_size=30), min_size=30, max_size=30))
def test_ids_do_not_depend_on_the_order_or_on_who_has_made_them(
    small_tokenizer: TokenizerSettings, orders: list[list[int]], texts: list[str]
) -> None:
    """Several readers of the same files, each with its own open files, as the ranks and workers of a node."""
    alone = small_tokenizer.built
    with TemporaryDirectory() as folder:
        readers = [ids_in(Path(folder), small_tokenizer, rows=30) for _ in range(3)]
        for number, rows in enumerate(orders):
            found = readers[number % 3].read(rows, Rows(texts))
            expected = [alone.encode(texts[row]).ids for row in rows]
            assert [ids.tolist() for ids in found] == expected


def test_processes_that_write_at_once_read_what_belongs_to_each_row(tmp_path: Path, minilm: Path) -> None:
    texts = [f"text {number} " + "word " * (number % 50) for number in range(600)]
    found, alone = ids_in(tmp_path, tokenizing(minilm), rows=len(texts)), tokenizing(minilm).built
    found.read([0], Rows(texts))  # each process opens the files for itself, though it has inherited open ones
    with ProcessPoolExecutor(4, multiprocessing.get_context("fork")) as pool:
        order = [np.random.default_rng(seed).permutation(len(texts)).tolist() for seed in range(4)]
        made = list(pool.map(_read_all, [found] * 4, [texts] * 4, order))
    expected = [alone.encode(text).ids for text in texts]
    assert made == [[expected[row] for row in rows] for rows in order]
    rows = Rows(texts)
    assert [ids.tolist() for ids in found.read(range(len(texts)), rows)] == expected
    assert not rows.read


def _read_all(found: TokenIds, texts: list[str], order: list[int]) -> list[list[int]]:
    steps = [order[start : start + 16] for start in range(0, len(order), 16)]
    return [ids.tolist() for step in steps for ids in found.read(step, Rows(texts))]


def test_a_large_vocabulary_has_larger_numbers(tmp_path: Path) -> None:
    large = Tokenizer(models.WordLevel({f"w{number}": number for number in range(70_000)}, unk_token="w0"))
    large.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    how = TokenizerSettings(tokenizer=large.to_str(), truncation=None, special_tokens=False)
    found, rows = ids_in(tmp_path, how, rows=2), Rows(["w69999 w1", "w65536"])
    assert [ids.tolist() for ids in found.read([0, 1], rows)] == [[69_999, 1], [65_536]]
    assert [ids.tolist() for ids in found.read([1, 0], rows)] == [[65_536], [69_999, 1]]


def test_texts_without_a_token_are_kept(tmp_path: Path, minilm: Path) -> None:
    found, rows = ids_in(tmp_path, tokenizing(minilm, special_tokens=False), rows=2), Rows(["", ""])
    for _ in range(2):
        assert [ids.tolist() for ids in found.read([0, 1], rows)] == [[], []]
    assert rows.read == {0: 1, 1: 1}


@pytest.mark.parametrize("rows", [1_200, 600])
def test_a_full_disk_costs_time_and_no_training(
    tmp_path: Path, minilm: Path, limit_files: Any, caplog: pytest.LogCaptureFixture, rows: int
) -> None:
    """The index of 1,200 rows does not fit in 8 kB; that of 600 does, and soon their ids do not."""
    texts = [f"text {number} " + "word " * 20 for number in range(rows)]
    found, expected = ids_in(tmp_path, tokenizing(minilm), rows=rows), tokenizing(minilm).built
    limit_files(8_192)
    for _ in range(2):
        for start in range(0, rows, 60):
            taken = range(start, start + 60)
            made = [ids.tolist() for ids in found.read(taken, Rows(texts))]
            assert made == [expected.encode(texts[row]).ids for row in taken]
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "token ids are not kept, so texts are tokenized in each epoch"
    ]


def test_what_another_start_of_the_machine_has_kept_is_not_read(
    tmp_path: Path, minilm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a loss of power the index may be on disk, and the ids that it points to may not."""
    ids_in(tmp_path, tokenizing(minilm)).read(range(5), Rows(TEXTS))
    monkeypatch.setattr(token_files, "_this_boot", lambda: "another")
    rows = Rows(TEXTS)
    ids_in(tmp_path, tokenizing(minilm)).read(range(5), rows)
    assert sum(rows.read.values()) == 5


@given(st.sets(st.sampled_from(["rows", "column", "prompt", "special", "truncation", "tokenizer"]), min_size=1))
def test_the_key_changes_with_all_that_token_ids_depend_on(changed: set[str]) -> None:
    def key(changed: set[str]) -> str:
        how = TokenizerSettings(
            tokenizer="two" if "tokenizer" in changed else "one",
            truncation={"max_length": 8} if "truncation" in changed else None,
            special_tokens="special" in changed,
        )
        return how.key(
            "b" if "rows" in changed else "a", "positive" if "column" in changed else "anchor",
            "query: " if "prompt" in changed else None,
        )  # fmt: skip

    assert key(changed) != key(set())
    assert key(changed) == key(changed)
