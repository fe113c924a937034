"""Real training pairs without a download: the name of a Python object, and its docstring.

A query is a module and a qualified name in lower-case words, and the positive is the docstring of that name:

    email message message get content type  ->  Return the message's content type. The returned string is ...

The pairs come from the source files of the standard library and of libraries in the `train` extra, so they are
available wherever training can run, even behind a firewall. The files are parsed, never imported. Whole modules are
held out for evaluation, and no evaluated docstring or query is trained on. The same installation always gives the same
rows, byte for byte.

    python -m pipelines.docstrings.pairs OUTPUT_FOLDER [--limit N]
"""

import ast
import dataclasses
import gc
import hashlib
import importlib.util
import inspect
import json
import os
import re
import sysconfig
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import pyarrow as pa
import pyarrow.parquet as pq

STANDARD_LIBRARY = "standard library"
# All of these are in the `train` extra, directly or as dependencies of torch, datasets and sentence-transformers.
LIBRARIES = (
    "accelerate",
    "click",
    "datasets",
    "fsspec",
    "huggingface_hub",
    "jinja2",
    "networkx",
    "numpy",
    "pandas",
    "pyarrow",
    "pydantic",
    "rich",
    "scipy",
    "sentence_transformers",
    "sklearn",
    "sympy",
    "torch",
    "transformers",
)
# transformers alone has more pairs than all others, most of them about the same few methods.
LIBRARY_CAP = 500
STANDARD_LIBRARY_CAP = 6_000
HELD_OUT_PERCENT = 12
EVAL_CAP = 1_500
DOCSTRING_CHARACTERS = 1_000
SHORTEST_CHARACTERS = 20
SHORTEST_WORDS = 4

_LEFT_OUT = {"conftest", "dist-packages", "idlelib", "lib2to3", "site-packages", "test", "tests"}
_WORD_BORDER = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z0-9])(?=[A-Z][a-z])|[._\s]+")
_Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
_SCHEMA = pa.schema([("query", pa.string()), ("docstring", pa.string()), ("module", pa.string())])


@dataclasses.dataclass(frozen=True, slots=True)
class Pair:
    """One row.

    Attributes:
        query: module and qualified name in words.
        docstring: docstring of that name, on one line.
        module: dotted name of the module, all of whose pairs are on the same side of the split.
    """

    query: str
    docstring: str
    module: str


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """The pairs of one package.

    Attributes:
        pairs: pairs with a docstring that is long enough.
        files_read: files that were parsed.
        files_skipped: files that cannot be read, or are not valid source for this interpreter.
        too_short: pairs dropped because the docstring is too short.
    """

    pairs: list[Pair]
    files_read: int
    files_skipped: int
    too_short: int


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """The rows of both files, and counts of dropped pairs.

    Attributes:
        train: training pairs.
        evaluation: pairs of held-out modules.
        duplicates_removed: pairs that share a query or docstring with an earlier pair on the same side.
        overlaps_removed: training pairs that share a query or docstring with a held-out pair.
        over_limit: pairs beyond the limits.
    """

    train: list[Pair]
    evaluation: list[Pair]
    duplicates_removed: int
    overlaps_removed: int
    over_limit: int


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """Counts of all docstrings that were found, by what became of them.

    `pairs_found` is the sum of `too_short`, `duplicates_removed`, `overlaps_removed`, `over_limit`, `train_pairs` and
    `eval_pairs`.
    """

    files_read: int
    files_skipped: int
    pairs_found: int
    too_short: int
    duplicates_removed: int
    overlaps_removed: int
    over_limit: int
    train_pairs: int
    eval_pairs: int
    train_modules: int
    held_out_modules: int
    seconds: float


def words(name: str) -> str:
    """Split a dotted name into lower-case words: `http.HTTPStatus.is_client_error` gives six."""
    return " ".join(_WORD_BORDER.sub(" ", name).lower().split())


def docstrings(source: str | bytes, module: str) -> Iterator[Pair]:
    """Yield a pair for the module and for each of its public classes, functions and methods that has a docstring.

    Args:
        source: the module's source; bytes may declare their encoding.
        module: dotted name of the module.

    Raises:
        SyntaxError: the source is not valid for this interpreter.
        ValueError: the source contains null bytes.
    """
    with warnings.catch_warnings():
        # Invalid escapes in a library's source do not matter here.
        warnings.simplefilter("ignore")
        tree = ast.parse(source)
    for name, node in _public(tree, module):
        text = _one_line(ast.get_docstring(node, clean=False) or "")
        if text:
            yield Pair(words(name), text, module)


def _public(tree: ast.Module, module: str) -> Iterator[tuple[str, _Documented]]:
    yield module, tree
    yield from _members(tree, module)


def _members(node: ast.AST, name: str) -> Iterator[tuple[str, _Documented]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If | ast.Try | ast.ExceptHandler):
            yield from _members(child, name)
        elif isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if child.name.startswith("_"):
                continue
            yield f"{name}.{child.name}", child
            if isinstance(child, ast.ClassDef):
                yield from _members(child, f"{name}.{child.name}")


def _one_line(docstring: str) -> str:
    text = " ".join(inspect.cleandoc(docstring).split())
    if len(text) > DOCSTRING_CHARACTERS:
        text = text[: DOCSTRING_CHARACTERS + 1].rpartition(" ")[0] or text[:DOCSTRING_CHARACTERS]
    # An escape such as "\ud800" gives a string that cannot be encoded as UTF-8.
    return text.encode("utf-8", "replace").decode("utf-8")


def is_long_enough(docstring: str) -> bool:
    """Whether a docstring is long enough to be a search result."""
    return len(docstring) >= SHORTEST_CHARACTERS and len(docstring.split()) >= SHORTEST_WORDS


def source_files(root: Path, package: str) -> list[tuple[str, Path]]:
    """List a package's public modules, sorted by name.

    Args:
        root: folder of the package.
        package: dotted name of the package; empty for the standard library.

    Returns:
        Dotted name and source file of each module.
    """
    found = []
    for folder, inner, files in os.walk(root):
        inner[:] = filter(_is_wanted, inner)
        parents = [package, *Path(folder).relative_to(root).parts]
        for file in files:
            stem, suffix = os.path.splitext(file)  # noqa: PTH122 - a Path for each file doubles the walk's time
            if suffix == ".py" and (stem == "__init__" or _is_wanted(stem)):
                parts = parents if stem == "__init__" else [*parents, stem]
                found.append((".".join(filter(None, parts)), Path(folder, file)))
    return sorted(found)


def _is_wanted(name: str) -> bool:
    return name.isidentifier() and not name.startswith("_") and name not in _LEFT_OUT


def read_package(files: Iterable[tuple[str, Path]], cap: int) -> Reading:
    """Read modules until there are `cap` pairs, whole modules only.

    The modules are read in the order of a hash, so that a capped package is sampled evenly, not alphabetically.
    """
    pairs: list[Pair] = []
    read = skipped = short = 0
    for module, path in sorted(files, key=lambda item: _hash("order", item[0])):
        if len(pairs) >= cap:
            break
        try:
            found = list(docstrings(path.read_bytes(), module))
        except (OSError, SyntaxError, ValueError, RecursionError):
            skipped += 1
            continue
        read += 1
        kept = [pair for pair in found if is_long_enough(pair.docstring)]
        short += len(found) - len(kept)
        pairs += kept
    # The sort is stable, so pairs of a module keep the order of the source.
    pairs.sort(key=lambda pair: pair.module)
    return Reading(pairs=pairs, files_read=read, files_skipped=skipped, too_short=short)


def read_all(limit: int | None) -> dict[str, Reading]:
    """Read the standard library and each installed library, by name.

    Args:
        limit: maximum number of pairs of each package.
    """
    standard = source_files(Path(sysconfig.get_paths()["stdlib"]), "")
    readings = {STANDARD_LIBRARY: read_package(standard, _smaller(STANDARD_LIBRARY_CAP, limit))}
    for library in LIBRARIES:
        root = _root(library)
        if root is not None:
            readings[library] = read_package(source_files(root, library), _smaller(LIBRARY_CAP, limit))
    return readings


def _root(library: str) -> Path | None:
    # Finding a top-level package does not import it.
    spec = importlib.util.find_spec(library)
    locations = list(spec.submodule_search_locations or ()) if spec else []
    return Path(locations[0]) if locations else None


def _smaller(cap: int, limit: int | None) -> int:
    return cap if limit is None else min(cap, limit)


def is_held_out(module: str) -> bool:
    """Whether a module is evaluated and never trained on."""
    return int(_hash("held out", module)[:8], 16) % 100 < HELD_OUT_PERCENT


def split(pairs: Iterable[Pair], held_out: Callable[[str], bool] = is_held_out) -> tuple[list[Pair], list[Pair]]:
    """Split pairs into those of training modules and those of held-out modules."""
    train: list[Pair] = []
    evaluation: list[Pair] = []
    for pair in pairs:
        (evaluation if held_out(pair.module) else train).append(pair)
    return train, evaluation


def remove_duplicates(pairs: Iterable[Pair]) -> list[Pair]:
    """Keep the first pair with each docstring and each query.

    Two pairs with the same text in a batch would be false negatives of each other.
    """
    queries: set[str] = set()
    texts: set[str] = set()
    kept = []
    for pair in pairs:
        query, text = _normalised(pair.query), _normalised(pair.docstring)
        if query not in queries and text not in texts:
            kept.append(pair)
            queries.add(query)
            texts.add(text)
    return kept


def remove_overlaps(train: Iterable[Pair], evaluation: Iterable[Pair]) -> list[Pair]:
    """Keep the training pairs whose docstring and query are not evaluated."""
    evaluated = list(evaluation)
    texts = {_normalised(pair.docstring) for pair in evaluated}
    queries = {_normalised(pair.query) for pair in evaluated}
    return [
        pair for pair in train if _normalised(pair.docstring) not in texts and _normalised(pair.query) not in queries
    ]


def sample(pairs: list[Pair], size: int) -> list[Pair]:
    """Sample up to `size` pairs by a hash, in their order."""
    ranked = sorted(range(len(pairs)), key=lambda index: _hash("sample", pairs[index].query, pairs[index].docstring))
    return [pairs[index] for index in sorted(ranked[:size])]


def _normalised(text: str) -> str:
    return " ".join(text.casefold().split())


def _hash(purpose: str, *texts: str) -> str:
    # The purpose makes the samples independent of each other.
    return hashlib.sha256("\0".join((purpose, *texts)).encode()).hexdigest()


def select(pairs: list[Pair], limit: int | None = None) -> Selection:
    """Split the pairs, deduplicate both sides, and apply the limits.

    Args:
        pairs: pairs with a docstring that is long enough; of duplicates the first is kept.
        limit: maximum number of training pairs; for evaluation a fifth of it.
    """
    train, evaluation = (remove_duplicates(part) for part in split(pairs))
    apart = remove_overlaps(train, evaluation)
    chosen = sample(apart, _smaller(len(apart), limit))
    evaluated = sample(evaluation, EVAL_CAP if limit is None else min(EVAL_CAP, limit // 5))
    return Selection(
        train=chosen,
        evaluation=evaluated,
        duplicates_removed=len(pairs) - len(train) - len(evaluation),
        overlaps_removed=len(train) - len(apart),
        over_limit=len(apart) - len(chosen) + len(evaluation) - len(evaluated),
    )


def count(readings: Iterable[Reading], selection: Selection, seconds: float) -> Counts:
    """Add up the counts of all readings and the selection."""
    read = list(readings)
    short = sum(reading.too_short for reading in read)
    return Counts(
        files_read=sum(reading.files_read for reading in read),
        files_skipped=sum(reading.files_skipped for reading in read),
        pairs_found=short + sum(len(reading.pairs) for reading in read),
        too_short=short,
        duplicates_removed=selection.duplicates_removed,
        overlaps_removed=selection.overlaps_removed,
        over_limit=selection.over_limit,
        train_pairs=len(selection.train),
        eval_pairs=len(selection.evaluation),
        train_modules=len({pair.module for pair in selection.train}),
        held_out_modules=len({pair.module for pair in selection.evaluation}),
        seconds=round(seconds, 2),
    )


def build(folder: Path, limit: int | None = None) -> Counts:
    """Write `train.parquet`, `eval.parquet` and, last, `pairs.json`. Existing files are replaced.

    Args:
        folder: output folder, created if missing.
        limit: maximum number of training pairs; for evaluation a fifth of it.

    Returns:
        The counts in `pairs.json`.

    Raises:
        OSError: the folder cannot be written.
    """
    start = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    with _collector_paused():
        readings = read_all(limit)
    selection = select([pair for reading in readings.values() for pair in reading.pairs], limit)
    # Without pairs.json, a new and an old file are not taken for a complete set.
    (folder / "pairs.json").unlink(missing_ok=True)
    write_rows(folder / "train.parquet", selection.train)
    write_rows(folder / "eval.parquet", selection.evaluation)
    counts = count(readings.values(), selection, time.perf_counter() - start)
    write_counts(folder / "pairs.json", counts, {name: len(reading.pairs) for name, reading in readings.items()})
    return counts


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Disable garbage collection, which takes a quarter of the time. Syntax trees have no cycles."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def write_rows(path: Path, pairs: Iterable[Pair]) -> None:
    """Write pairs as a Parquet file with the columns `query`, `docstring` and `module`."""
    table = pa.Table.from_pylist([dataclasses.asdict(pair) for pair in pairs], schema=_SCHEMA)
    _replace(path, lambda part: pq.write_table(table, part, compression="zstd"))


def write_counts(path: Path, counts: Counts, packages: dict[str, int]) -> None:
    """Write the counts as JSON, with the pairs of each package before deduplication."""
    text = json.dumps({**dataclasses.asdict(counts), "packages": packages}, indent=2)
    _replace(path, lambda part: part.write_text(text + "\n", encoding="utf-8"))


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    """Write to a temporary file and rename it, so that a reader never sees an incomplete file."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        write(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@click.command()
@click.argument("output_folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--limit", type=click.IntRange(min=5), help="At most N training pairs and N/5 evaluation pairs.")
def main(output_folder: Path, limit: int | None) -> None:
    """Write (query, docstring) pairs from installed Python sources to OUTPUT_FOLDER."""
    try:
        counts = build(output_folder, limit)
    except OSError as error:
        raise click.ClickException(f"{error.filename or output_folder}: {error.strerror or error}") from error
    for name, value in dataclasses.asdict(counts).items():
        click.echo(f"{name.replace('_', ' '):<20}{value:>10,}")


if __name__ == "__main__":
    main()
