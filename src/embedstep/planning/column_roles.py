"""Which columns of a table are the query, the text that matches it, negatives and a label, with what speaks for it.

Names decide first, then lengths and the order of the columns. Where another column could have a role as well, it is
named with the proposal.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from embedstep.data.profile import ColumnProfile

ANCHOR, POSITIVE, NEGATIVE, LABEL = "anchor", "positive", "negative", "label"
_WORDS: Mapping[str, tuple[str, ...]] = {
    NEGATIVE: ("negative", "negatives", "neg", "negs", "distractor", "distractors", "rejected"),
    ANCHOR: (
        "anchor", "query", "queries", "question", "questions", "premise", "claim", "utterance", "prompt", "search",
        "keyword", "keywords", "instruction", "input", "source", "subject", "headline", "title",
    ),
    POSITIVE: (
        "positive", "positives", "pos", "chosen", "passage", "passages", "document", "documents", "doc", "docs",
        "context", "contexts", "chunk", "paragraph", "answer", "answers", "response", "reply", "hypothesis", "target",
        "completion", "output", "code", "abstract", "body", "content", "description", "summary", "text",
    ),
    LABEL: (
        "label", "labels", "score", "similarity", "sim", "scores", "duplicate", "class", "relevance", "relevant",
        "relatedness", "match", "same", "paraphrase", "gold", "category", "intent", "rating", "grade", "target", "y",
    ),
}  # fmt: skip
"""Words in the names of columns, from the clearest to the least clear."""
_METADATA = {
    "id", "ids", "idx", "index", "uuid", "guid", "url", "urls", "uri", "link", "links", "date", "time", "timestamp",
    "created", "updated", "split", "lang", "language", "author", "user", "tag", "tags", "type", "domain", "file",
    "filename", "path", "category", "topic", "genre", "version", "license",
}  # fmt: skip
"""Words in the names of columns that describe a row."""
_OF_A_LABEL = {"label", "labels", "class", "intent"}
"""Words in the names of columns that spell a label, such as `label_text`."""
_FIRST, _SECOND = ("1", "a", "left"), ("2", "b", "right")
_LONGER = 1.3
"""How much longer one text is than another before the lengths say which is the query."""
_CATEGORIES = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class ColumnRole:
    """A proposed role.

    Attributes:
        columns: the column; several negatives have one each.
        reason: what speaks for it.
        others: other columns that could have the role.
    """

    columns: tuple[ColumnProfile, ...]
    reason: str
    others: tuple[str, ...] = ()

    @property
    def column(self) -> ColumnProfile:
        """The only, or the first, column."""
        return self.columns[0]


@dataclass(frozen=True, kw_only=True, slots=True)
class ColumnRoles:
    """The proposed role of each column; without an anchor there is no text."""

    anchor: ColumnRole | None = None
    positive: ColumnRole | None = None
    negative: ColumnRole | None = None
    label: ColumnRole | None = None

    def named(self) -> dict[str, str]:
        """Return the role of each column that has one, by its name."""
        roles = {ANCHOR: self.anchor, POSITIVE: self.positive, NEGATIVE: self.negative, LABEL: self.label}
        return {one.name: name for name, role in roles.items() if role is not None for one in role.columns}


def propose_roles(columns: Sequence[ColumnProfile], chosen: Mapping[str, str | None] | None = None) -> ColumnRoles:
    """Return which columns have which roles.

    Args:
        columns: the columns of a table.
        chosen: columns that a person has named by role, or None for a role without a column.
    """
    given = dict(chosen or {})
    free = [one for one in columns if one.name not in given.values()]
    texts = text_columns(free)
    negative = _negatives(texts, columns, given)
    taken = {one.name for one in negative.columns} if negative else set()
    texts = [one for one in texts if one.name not in taken]
    anchor, positive = _pair(texts, columns, given)
    taken |= {one.column.name for one in (anchor, positive) if one is not None}
    label = _label([one for one in free if one.name not in taken], columns, given, is_pair=positive is not None)
    roles = ColumnRoles(anchor=anchor, positive=positive, negative=negative, label=label)
    return _with_reasons(roles, propose_roles(columns)) if chosen else roles


def _with_reasons(roles: ColumnRoles, proposed: ColumnRoles) -> ColumnRoles:
    """Return roles with what speaks for those that would have been proposed as well."""
    same = {
        name: proposed_role
        for name in (ANCHOR, POSITIVE, NEGATIVE, LABEL)
        if (role := getattr(roles, name)) is not None
        and (proposed_role := getattr(proposed, name)) is not None
        and role.columns == proposed_role.columns
    }
    return replace(roles, **same)


def text_columns(columns: Sequence[ColumnProfile]) -> list[ColumnProfile]:
    """Return the columns of texts to learn from; ids, links and categories only if there is no other."""
    texts = [one for one in columns if one.kind in ("text", "texts")]
    likely = [one for one in texts if not _is_metadata(one)]
    return likely or [one for one in texts if one.one_word < 1]


def label_columns(columns: Sequence[ColumnProfile]) -> list[ColumnProfile]:
    """Return the columns of numbers that could be a label, those with the name of one first."""
    numbers = [one for one in columns if one.kind in ("integer", "number") and not _is_id(one)]
    return sorted(numbers, key=lambda one: _rank(one, LABEL))


def name_words(name: str) -> tuple[str, ...]:
    """Return the words of a column's name: `query`, `text` and `1` of `meta.queryText_1`."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name.rpartition(".")[2])
    return tuple(re.findall(r"[a-z]+|[0-9]+", spaced.lower()))


def _rank(column: ColumnProfile, role: str) -> int:
    """Return how clearly a name says a role, 0 for the clearest; the number of words where it does not."""
    words, known = name_words(column.name), _WORDS[role]
    return min((known.index(word) for word in words if word in known), default=len(known))


def _says(column: ColumnProfile, role: str) -> bool:
    return _rank(column, role) < len(_WORDS[role])


def _is_id(column: ColumnProfile) -> bool:
    words = set(name_words(column.name)) or {"index"}
    return bool(words & {"id", "ids", "idx", "index"})


def _is_metadata(column: ColumnProfile) -> bool:
    words = name_words(column.name)
    if set(words) & _OF_A_LABEL:
        return True
    if set(words) & _METADATA and not (_says(column, POSITIVE) and words[-1] not in _METADATA):
        return True
    looks_like_code = column.one_word > 0.95 and (column.example.startswith("http") or column.distinct > 0.9)
    is_named = any(_says(column, role) for role in (ANCHOR, POSITIVE, NEGATIVE))
    few = column.values <= _CATEGORIES and column.distinct < 0.1 and column.length < 30
    return column.kind == "text" and not is_named and (few or (looks_like_code and column.length > 5))


def _negatives(
    texts: Sequence[ColumnProfile], columns: Sequence[ColumnProfile], given: Mapping[str, str | None]
) -> ColumnRole | None:
    if NEGATIVE in given:
        return _chosen(NEGATIVE, columns, given)
    found = [one for one in texts if _says(one, NEGATIVE)]
    lists = [one for one in found if one.kind == "texts"]
    if lists:
        return ColumnRole(columns=(lists[0],), reason="a list of texts, by its name", others=_names(found, lists[0]))
    if not found:
        return None
    return ColumnRole(columns=tuple(found), reason="by its name" if len(found) == 1 else "by their names")


def _pair(
    texts: Sequence[ColumnProfile], columns: Sequence[ColumnProfile], given: Mapping[str, str | None]
) -> tuple[ColumnRole | None, ColumnRole | None]:
    """Return the roles of the query and of what matches it."""
    single = [one for one in texts if one.kind == "text"]
    if POSITIVE in given:
        anchor = _chosen(ANCHOR, columns, given) if ANCHOR in given else _pair(texts, columns, {})[0]
        return anchor, _chosen(POSITIVE, columns, given)
    if ANCHOR in given:
        anchor = _chosen(ANCHOR, columns, given)
        return anchor, _best_positive([one for one in texts if anchor is None or one.name != anchor.column.name])
    if numbered := _numbered_pair(single):
        first, second = numbered
        reason = f"{first.name} and {second.name} are a pair by their names"
        others = _names([one for one in texts if one not in numbered])
        return (
            ColumnRole(columns=(first,), reason=reason),
            ColumnRole(columns=(second,), reason=reason, others=others),
        )
    named = sorted((one for one in single if _says(one, ANCHOR)), key=lambda one: (_rank(one, ANCHOR), one.length))
    if named:
        return _pair_of_named(named, texts)
    if not single:
        return None, None
    positive = next(iter(sorted((one for one in texts if _says(one, POSITIVE)), key=_positive_rank)), None)
    rest = [one for one in single if one is not positive]
    if positive is None:
        return _pair_by_order(texts)
    if not rest:
        return (ColumnRole(columns=(positive,), reason="the only text"), None) if positive in single else (None, None)
    if len(texts) == 2 and _says(rest[0], POSITIVE) and rest[0].length > _LONGER * positive.length:
        # Both have the name of what matches a query, such as text and summary: the shorter one asks.
        return _pair_by_order([positive, rest[0]])
    first = min(rest, key=lambda one: one.length)
    reason = f"the {'shortest' if len(rest) > 1 else 'other'} text, {_characters(first)}"
    return ColumnRole(columns=(first,), reason=reason, others=_names(rest, first)), _best_positive(
        [one for one in texts if one is not first]
    )


def _pair_of_named(
    named: Sequence[ColumnProfile], texts: Sequence[ColumnProfile]
) -> tuple[ColumnRole, ColumnRole | None]:
    """Return the roles where at least one column has the name of a query."""
    anchor, *further = named
    rest = [one for one in texts if one is not anchor]
    if len(texts) == 2 and further and not _says(further[0], POSITIVE) and further[0].length < anchor.length:
        # Both have the name of a query, such as title and question: the longer one answers.
        anchor, rest = further[0], [anchor]
    role = ColumnRole(columns=(anchor,), reason=f"by its name; {_characters(anchor)}", others=_names(further, anchor))
    return role, _best_positive(rest)


def _best_positive(rest: Sequence[ColumnProfile]) -> ColumnRole | None:
    if not rest:
        return None
    named = sorted((one for one in rest if _says(one, POSITIVE)), key=_positive_rank)
    best = named[0] if named else max(rest, key=lambda one: one.length)
    what = "by its name" if named else "the longest other text" if len(rest) > 1 else "the other text"
    return ColumnRole(columns=(best,), reason=f"{what}; {_characters(best)}", others=_names(rest, best))


def _positive_rank(column: ColumnProfile) -> tuple[int, float]:
    return _rank(column, POSITIVE), -column.length


def _pair_by_order(texts: Sequence[ColumnProfile]) -> tuple[ColumnRole, ColumnRole | None]:
    """Return the roles where no name says anything: the first two texts, the shorter one as the query."""
    single = [one for one in texts if one.kind == "text"]
    anchor = single[0]
    rest = [one for one in texts if one is not anchor]
    if not rest:
        return ColumnRole(columns=(anchor,), reason="the only text"), None
    positive = rest[0]
    if positive.kind == "text" and anchor.length > _LONGER * positive.length:
        anchor, positive = positive, anchor
    is_clear = positive.length > _LONGER * anchor.length
    reason = "the shorter text" if is_clear else "the first text; no name and no length says which is the query"
    others = _names([one for one in texts if one is not positive])
    return (
        ColumnRole(
            columns=(anchor,),
            reason=f"{reason}; {_characters(anchor)}",
            others=_names([one for one in single if one is not positive or not is_clear], anchor),
        ),
        ColumnRole(
            columns=(positive,),
            reason=f"the {'longer' if is_clear else 'second'} text; {_characters(positive)}",
            others=() if is_clear and len(texts) == 2 else others,
        ),
    )


def _numbered_pair(texts: Sequence[ColumnProfile]) -> tuple[ColumnProfile, ColumnProfile] | None:
    """Return two columns whose names differ by 1 and 2, a and b, or left and right alone."""
    by_words = {name_words(one.name): one for one in texts}
    for words, column in by_words.items():
        for first, second in zip(_FIRST, _SECOND, strict=True):
            places = [place for place, word in enumerate(words) if word == first]
            for place in places:
                other = by_words.get((*words[:place], second, *words[place + 1 :]))
                if other is not None and len(words) > 1 and words[0] != "column":
                    return column, other
    return None


def _label(
    free: Sequence[ColumnProfile],
    columns: Sequence[ColumnProfile],
    given: Mapping[str, str | None],
    *,
    is_pair: bool,
) -> ColumnRole | None:
    if LABEL in given:
        return _chosen(LABEL, columns, given)
    numbers = label_columns(free)
    named = [one for one in numbers if _says(one, LABEL)]
    texts = [one for one in free if one.kind == "text" and _says(one, LABEL) and (not is_pair or _names_pairs(one))]
    if found := named or texts:
        return ColumnRole(
            columns=(found[0],), reason=f"by its name; {_values(found[0])}", others=_names(found, found[0])
        )
    fitting = [one for one in numbers if _is_likely_label(one, is_pair=is_pair)]
    if not fitting:
        return None
    reason = f"no name of a label, but its numbers; {_values(fitting[0])}"
    return ColumnRole(columns=(fitting[0],), reason=reason, others=_names(fitting, fitting[0]))


def _names_pairs(column: ColumnProfile) -> bool:
    """Whether the label of a pair has this name; a category is more often that of the row."""
    return bool(set(name_words(column.name)) & {"label", "labels", "duplicate", "relevance", "relevant"})


def _is_likely_label(column: ColumnProfile, *, is_pair: bool) -> bool:
    """Whether numbers without a name look like a label: 0 and 1 for a pair, few classes for a text."""
    if not is_pair:
        return column.is_whole and 2 <= column.values <= _CATEGORIES and column.distinct <= 0.5
    low, high = column.range or (0.0, 0.0)
    return set(column.numbers) == {0.0, 1.0} or (not column.is_whole and low >= 0 and high <= 1 and column.values > 2)


def _chosen(role: str, columns: Collection[ColumnProfile], given: Mapping[str, str | None]) -> ColumnRole | None:
    found = tuple(one for one in columns if one.name == given[role])
    return ColumnRole(columns=found, reason="your answer") if found else None


def _names(columns: Sequence[ColumnProfile], without: ColumnProfile | None = None) -> tuple[str, ...]:
    return tuple(one.name for one in columns if one is not without)


def _characters(column: ColumnProfile) -> str:
    return f"{column.length:,.0f} characters on average"


def _values(column: ColumnProfile) -> str:
    return ", ".join(_value_parts(column))


def _value_parts(column: ColumnProfile) -> Iterator[str]:
    if column.kind == "text":
        yield f"{column.values:,} different texts, such as {column.example!r}"
    elif column.numbers and len(column.numbers) <= 6:
        yield "the values " + ", ".join(f"{one:g}" for one in column.numbers)
    elif column.range is not None:
        yield f"{column.values:,} values from {column.range[0]:g} to {column.range[1]:g}"
