"""What a query over files says, by the syntax tree that DuckDB makes of it: its files, and what it must not do.

Nothing is run here. A query may read the files that it names and compute rows that are the same each time.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from embedstep.errors import InvalidRequestError, Problem

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_QUERIES = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"})
_READERS = frozenset(
    {"read_parquet", "parquet_scan", "read_csv", "read_csv_auto", "read_json", "read_json_auto", "read_ndjson",
     "read_ndjson_auto"}
)  # fmt: skip
"""Functions whose first argument names files."""
_WITHOUT_FILES = frozenset({"range", "generate_series", "unnest", "json_each", "json_tree"})
_SUFFIX = re.compile(r"\.(parquet|(csv|tsv|txt|json|jsonl|ndjson)(\.(gz|zst))?)", re.IGNORECASE)
_DELIMITED = re.compile(r"\.(csv|tsv|txt)(\.(gz|zst))?$", re.IGNORECASE)
_OPTIONS = frozenset({"quote", "escape"})
"""Options that say how a cell is written which holds quotes."""
_KNOWN = ".parquet, .csv, .tsv, .txt, .json, .jsonl or .ndjson (text also with .gz or .zst)"
_CLOCK = frozenset({"current_date", "current_time", "current_timestamp", "localtime", "localtimestamp"})
"""Names that DuckDB reads as a function, where no column has them."""
_BY_ORDER = frozenset(
    {"first", "last", "any_value", "arbitrary", "list", "array_agg", "string_agg", "group_concat", "listagg"}
)
"""Aggregates whose value depends on the order of the rows."""
_WINDOWS_BY_ORDER = _BY_ORDER | {"row_number", "ntile", "first_value", "last_value", "nth_value", "lag", "lead"}
_NO_PLACE = 1 << 63
"""Offsets from here on stand for none."""
_MOST_WORDS = 60

Node = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Statement:
    """One SELECT.

    Attributes:
        tree: its syntax tree, as `json_serialize_sql` returns it.
        files: the files and globs that it names, as they are written.
        unsaid: those of them that are delimited text, and of whose format the query says nothing.
    """

    tree: dict[str, Any]
    files: tuple[str, ...]
    unsaid: tuple[str, ...] = ()

    @property
    def order(self) -> list[dict[str, Any]]:
        """Its ORDER BY; empty without one."""
        modifiers = self.tree["statements"][0]["node"]["modifiers"]
        return next((one["orders"] for one in modifiers if one["type"] == "ORDER_MODIFIER"), [])

    def with_total_order(self, columns: int) -> str:
        """Return the tree as JSON, with all columns behind those that it is ordered by.

        So nothing is left to choose between rows that differ, before LIMIT takes the first ones.

        Args:
            columns: number of columns of the result.
        """
        copy = replace(self, tree=json.loads(json.dumps(self.tree)))
        if copy.order[0]["expression"]["class"] != "STAR":  # ORDER BY ALL
            copy.order.extend(_by_column(number) for number in range(1, columns + 1))
        return json.dumps(copy.tree)


def _by_column(number: int) -> dict[str, Any]:
    constant = {"class": "CONSTANT", "type": "VALUE_CONSTANT", "alias": "", "query_location": 0}
    literal = {"kind": "INTEGER", "text": str(number)}
    expression = {**constant, "query_location_length": 0, "literal": literal}
    return {"type": "ORDER_DEFAULT", "null_order": "ORDER_DEFAULT", "expression": expression}


def parse_statement(where: str, text: str, connection: "DuckDBPyConnection") -> Statement:
    """Return the one SELECT of a query.

    Args:
        where: path of the query in the request.
        text: the query.
        connection: any connection of DuckDB; it only parses.

    Raises:
        InvalidRequestError: it is no single SELECT, reads something else than data files, or its rows are not the same
            each time; with every problem.
        duckdb.Error: the text cannot be parsed.
    """
    kinds = [statement.type.name for statement in connection.extract_statements(text)]
    if len(kinds) != 1:
        raise InvalidRequestError.at(where, f"holds {len(kinds) or 'no'} statements; write one SELECT")
    tree = json.loads(_rows(connection, "select json_serialize_sql(?)", [text])[0][0])
    if tree["error"]:
        pivot = "; name the values of a PIVOT, such as PIVOT ... ON year IN (2025, 2026)" if kinds == ["MULTI"] else ""
        kind = "several statements to DuckDB" if pivot else f"a statement of the kind {kinds[0]}"
        raise InvalidRequestError.at(where, f"is {kind}; write one SELECT, which only reads{pivot}")
    unstable = {name for (name,) in _rows(connection, _UNSTABLE)}
    inspected = _Inspection(text, unstable, _names_of_parts(tree))
    found = list(inspected.problems(tree))
    if found:
        raise InvalidRequestError(Problem(where, message) for message in dict.fromkeys(found))
    return Statement(
        tree=tree, files=tuple(dict.fromkeys(inspected.files)), unsaid=tuple(dict.fromkeys(inspected.unsaid))
    )


_UNSTABLE = """
select function_name from duckdb_functions() where function_type in ('scalar', 'macro')
group by function_name having not bool_or(stability is null or stability = 'CONSISTENT')
"""
"""Functions that give the same value each time in no form: clocks, random numbers, settings."""


def _rows(connection: "DuckDBPyConnection", sql: str, values: Sequence[Any] = ()) -> list[Any]:
    return connection.execute(sql, list(values)).fetchall()


def _nodes(value: Any) -> Iterator[Node]:
    """Yield every mapping in a tree, from the outside."""
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _nodes(inner)


def _names_of_parts(tree: Any) -> frozenset[str]:
    """Return the names that WITH gives to parts of the query."""
    maps = (node["cte_map"]["map"] for node in _nodes(tree) if "cte_map" in node)
    named = (node["cte_name"] for node in _nodes(tree) if "cte_name" in node)
    return frozenset(name.casefold() for name in [*(part["key"] for parts in maps for part in parts), *named])


class _Inspection:
    """The problems of a tree, and the files that it names."""

    def __init__(self, text: str, unstable: set[str], parts: frozenset[str]) -> None:
        self._text, self._unstable, self._parts = text, unstable, parts
        self.files: list[str] = []
        self.unsaid: list[str] = []

    def problems(self, tree: Any) -> Iterator[str]:
        for node in _nodes(tree):
            if "modifiers" in node:
                yield from self._of_query(node)
            if node.get("sample"):
                yield "takes a sample, which is another one each time; write where hash(id) % 100 < 10"
            match node:
                case {"type": "BASE_TABLE"}:
                    yield from self._of_table(node)
                case {"type": "TABLE_FUNCTION"}:
                    yield from self._of_table_function(node)
                case {"type": "SHOW_REF"}:
                    yield "describes tables; write a SELECT of the rows"
                case {"class": "FUNCTION" | "WINDOW"}:
                    yield from self._of_function(node)
                case {"class": "COLUMN_REF", "column_names": [str(name)]} if name.casefold() in _CLOCK:
                    yield self._unstable_name(name, node)

    def _of_query(self, node: Node) -> Iterator[str]:
        if node["type"] not in _QUERIES:
            yield "writes; a query only reads"
        kinds = {one["type"] for one in node["modifiers"]}
        is_first = any(one.get("distinct_on_targets") for one in node["modifiers"])
        if "ORDER_MODIFIER" not in kinds:
            if any(kind.startswith("LIMIT") for kind in kinds):
                yield (
                    "has a LIMIT without ORDER BY, which takes any rows; say which by ORDER BY, or write limit in the "
                    "dataset"
                )
            if is_first:
                yield "has a DISTINCT ON without ORDER BY, which keeps any row; say which by ORDER BY"

    def _of_table(self, node: Node) -> Iterator[str]:
        path = node["qualified_name"]["path"]
        name = ".".join(path)
        if len(path) == 1 and name.casefold() in self._parts:
            return
        if len(path) > 1 or not any(sign in name for sign in "/.*"):
            yield f"reads the table {name}{self._at(node)}; a query reads files, written as 'docs.parquet'"
        else:
            yield from self._of_file(name, node, is_said=False)

    def _of_table_function(self, node: Node) -> Iterator[str]:
        function = node["function"]
        name = function["function_name"].casefold()
        if name in _WITHOUT_FILES:
            return
        if name not in _READERS:
            yield f"calls {name}{self._at(node)}; a query reads files by {', '.join(sorted(_READERS)[1::2])}"
            return
        texts = _texts(function["arguments"][0]["expression"]) if function["arguments"] else None
        if texts is None:
            yield f"computes the name of a file{self._at(node)}; write it as a text, such as read_csv('docs.tsv')"
        for text in texts or ():
            yield from self._of_file(text, node, is_said=bool(_OPTIONS & set(_option_names(function))))

    def _of_file(self, name: str, node: Node, *, is_said: bool) -> Iterator[str]:
        if "://" in name:
            yield (
                f"reads {name}{self._at(node)}, which is not on this machine; copy it, or name it as the path of a "
                "dataset"
            )
        elif name.startswith("~"):
            yield f"reads {name}{self._at(node)}; write the path without ~"
        elif not _SUFFIX.fullmatch(name[_suffix_start(name) :]):
            yield f"reads {name}{self._at(node)}, which is not a data file; use {_KNOWN}"
        else:
            self.files.append(name)
            self.unsaid += [name] if _DELIMITED.search(name) and not is_said else []

    def _of_function(self, node: Node) -> Iterator[str]:
        name = node["function_name"].casefold()
        if name in self._unstable:
            yield self._unstable_name(name, node)
        if node["class"] == "WINDOW":
            if name in _WINDOWS_BY_ORDER and not node["orders"] and not node.get("arg_orders"):
                yield f"has {name} over rows without an order{self._at(node)}; write {name}(...) over (order by ...)"
        elif name in _BY_ORDER and not node["order_bys"]["orders"]:
            yield f"has {name} over rows without an order{self._at(node)}; write {name}(... order by ...)"

    def _unstable_name(self, name: str, node: Node) -> str:
        is_clock = any(word in name for word in ("date", "time", "now", "today"))
        hint = "'{as_of}' and data.as_of" if is_clock else "a column, such as hash(id)"
        return f"calls {name}{self._at(node)}, whose value is another one each time; use {hint}"

    def _at(self, node: Node) -> str:
        start, length = node.get("query_location", _NO_PLACE), node.get("query_location_length", 0)
        return place(self._text, start, length) if start < _NO_PLACE and length else ""


def _option_names(function: Node) -> Iterator[str]:
    """Yield the names of the options of a table function, such as `escape = '...'`."""
    for argument in function["arguments"]:
        match argument["expression"]:
            case {"class": "COMPARISON", "left": {"class": "COLUMN_REF", "column_names": [str(name)]}}:
                yield name.casefold()


def _suffix_start(name: str) -> int:
    """Return where the suffix of a file's name begins; a suffix of its compression belongs to it."""
    folder = name.rfind("/") + 1
    stem = re.sub(r"\.(gz|zst)$", "", name[folder:], flags=re.IGNORECASE)
    return folder + max(stem.rfind("."), 0)


def _texts(expression: Node) -> list[str] | None:
    """Return the text of a constant, or the texts of a list of constants; None for anything else."""
    match expression:
        case {"class": "CONSTANT", "literal": {"kind": "STRING", "text": str(text)}}:
            return [text]
        case {"class": "CONSTANT", "value": {"value": str(text)}}:
            return [text]
        case {"class": "FUNCTION", "function_name": "list_value", "arguments": [*given]}:
            found = [_texts(one["expression"]) for one in given]
            return None if None in found else [text for texts in found for text in texts or ()]
    return None


def place(text: str, start: int, length: int) -> str:
    """Return where something is in a query, to follow it in a message: ` (line 2: "words")`.

    Args:
        text: the query.
        start: offset in bytes of UTF-8.
        length: its length in bytes.
    """
    raw = text.encode()
    words = " ".join(raw[start : start + length].decode(errors="ignore").split())
    shown = words if len(words) <= _MOST_WORDS else f"{words[:_MOST_WORDS]}..."
    line = raw[:start].count(b"\n") + 1
    return f" (line {line}: {shown})"


_SHOWN_PLACE = re.compile(r"\n+LINE (?P<line>\d+): (?P<text>.*)\n(?P<space> *)(?P<carets>\^*)")


def explain(message: str, sql: str, skipped: int = 0) -> str:
    """Return a database's message on one line: what is wrong, and the place in the query.

    Args:
        message: the message; below it may be a line of the query, and below that carets under some words.
        sql: the query. A place that is not in it is left out, since databases rewrite queries.
        skipped: lines that were written before the query.
    """
    shown = _SHOWN_PLACE.search(message)
    reason = " ".join(message[: shown.start() if shown else None].split()).rstrip(". ")
    if shown is None:
        return reason
    start = max(len(shown["space"]) - len(f"LINE {shown['line']}: "), 0)
    marked = shown["text"][start : start + len(shown["carets"])]
    # PostgreSQL marks the beginning alone.
    words = marked if len(marked) > 1 else re.split(r"[\s,()]", shown["text"][start:], maxsplit=1)[0] or marked
    number, lines = int(shown["line"]) - skipped, sql.splitlines()
    is_there = 0 < number <= len(lines) and words.strip() and words in lines[number - 1]
    return f"{reason} (line {number}: {words.strip()})" if is_there else reason
