"""Cached token ids are those of the tokenizer for each text alone."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from embedstep.data.tokens import TokenizerSettings, cache_tokens, cached_tokens, has_tokens
from embedstep.errors import CannotStartError
from tests.data.test_ids import written

TEXTS = ["how to open a file", "a", "naïve café, 東京 and much more text than six tokens", "", "a"]


def tokenizing(minilm: Path, **changes: Any) -> TokenizerSettings:
    """MiniLM's tokenizer without a limit."""
    tokenizer = Tokenizer.from_file(str(minilm / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    given: dict[str, Any] = {"tokenizer": tokenizer.to_str(), "truncation": None, "special_tokens": True}
    return TokenizerSettings(**{**given, **changes})


@pytest.mark.parametrize("prompt", [None, "query: "])
@pytest.mark.parametrize("limit", [None, 6])
@pytest.mark.parametrize("special_tokens", [True, False])
def test_token_ids_are_those_of_the_tokenizer(
    tmp_path: Path, minilm: Path, prompt: str | None, limit: int | None, special_tokens: bool
) -> None:
    truncation = {"max_length": limit} if limit else None
    how = tokenizing(minilm, truncation=truncation, special_tokens=special_tokens)
    found = cache_tokens(written(tmp_path, {"anchor": TEXTS}), "anchor", "a key", how, prompt)
    alone = Tokenizer.from_str(how.tokenizer)
    if limit:
        alone.enable_truncation(limit)
    expected = [alone.encode((prompt or "") + text, add_special_tokens=special_tokens).ids for text in TEXTS]
    assert [found[row].tolist() for row in range(len(TEXTS))] == expected
    assert found.lengths.tolist() == [len(ids) for ids in expected]


def test_equal_texts_are_kept_once(tmp_path: Path, minilm: Path) -> None:
    found = cache_tokens(
        written(tmp_path, {"anchor": ["a b", "c", "a b", "a b"]}), "anchor", "a key", tokenizing(minilm), None
    )
    assert found.text_of.tolist() == [0, 1, 0, 0]
    assert found.lengths.tolist() == [4, 3, 4, 4]
    assert len(found.ids) == 7


def test_what_is_kept_is_not_made_again(tmp_path: Path, minilm: Path) -> None:
    file = written(tmp_path, {"anchor": TEXTS})
    assert not has_tokens(file)
    assert cached_tokens(file, "a key") is None
    made = cache_tokens(file, "anchor", "a key", tokenizing(minilm), None)
    broken = tokenizing(minilm, tokenizer="no tokenizer")
    assert cache_tokens(file, "anchor", "a key", broken, None).ids.tolist() == made.ids.tolist()
    assert has_tokens(file)


def test_texts_without_a_token_are_kept(tmp_path: Path, minilm: Path) -> None:
    how = tokenizing(minilm, special_tokens=False)
    found = cache_tokens(written(tmp_path, {"anchor": ["", ""]}), "anchor", "a key", how, None)
    assert found[1].tolist() == []
    assert found.lengths.tolist() == [0, 0]


def test_a_full_disk_is_no_fault_of_the_request(tmp_path: Path, minilm: Path, limit_files: Any) -> None:
    file = written(tmp_path, {"anchor": [f"text {number}" for number in range(3000)]})
    limit_files(4096)
    with pytest.raises(CannotStartError, match="the token ids of anchor cannot be kept in"):
        cache_tokens(file, "anchor", "a key", tokenizing(minilm), None)
    assert list(tmp_path.iterdir()) == [file]


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
