"""Read all datasets of a request, and compare the held-out ones with the training data.

Comparing texts takes most of the time. Facts of unchanged files are kept: a check then reads nothing. A run compares
the content: by digests of the files where it finds the rows of an earlier run, else it reads them and compares theirs.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from embedstep.data.corpora import with_corpus
from embedstep.data.facts import DatasetFacts, Split, rows_file
from embedstep.data.hub import named_datasets
from embedstep.data.kept import note_sources, restore_rows
from embedstep.data.reading import Part, scan_parts
from embedstep.data.roles import ANY_ROWS, RowNeeds
from embedstep.data.unchanged import facts_from_json, facts_key, facts_to_json, find_sources
from embedstep.errors import Problem, collect_problems
from embedstep.request.arguments.rules import reads_lengths
from embedstep.request.datasets import Dataset
from embedstep.request.schema import TrainRequest
from embedstep.runtime.cache import NO_CACHE, Cache

_KEY = "anchor"
_SHOWN_ROWS = 5


def scan_all(
    request: TrainRequest,
    write_to: Path | None,
    needs: Mapping[tuple[Split, str], RowNeeds],
    *,
    slices: Mapping[tuple[Split, str], str] | None = None,
    cache: Cache = NO_CACHE,
) -> tuple[list[DatasetFacts], list[Problem]]:
    """Return the facts of the datasets that can be read, and the problems of the others.

    Args:
        request: a request with local datasets only.
        write_to: folder for the rows, as `<split>-<name>.arrow`, and for the hashes of the training anchors; None to
            write none.
        needs: what is asked of the rows of a dataset, by split and name.
        slices: column with the slices of a dataset, by split and name.
        cache: where the facts of unchanged files are kept. With it, facts may come without the hashes of texts.
    """
    slices = slices or {}
    sources = find_sources(request) if cache.folder else None
    key = None if sources is None else facts_key(request, needs, slices, length_column(request), sources)
    record = None if key is None else cache.read(key)
    kept = None if record is None else facts_from_json(record)
    if kept is not None and write_to is None:
        return kept, []
    if key is not None and sources is not None and write_to is not None:
        write_to.mkdir(parents=True, exist_ok=True)
        if kept is not None and restore_rows(cache, key, write_to):
            return [replace(item, path=str(write_to / rows_file(item.split, item.name))) for item in kept], []
        note_sources(request, key, sources, write_to)
    if kept is not None:
        facts, problems = _read_all(request, write_to, needs, slices, compares=False)
        if not problems and [item.fingerprint for item in facts] == [item.fingerprint for item in kept]:
            both = zip(kept, facts, strict=True)
            return [replace(item, path=read.path, corpus=read.corpus) for item, read in both], []
    facts, problems = _read_all(request, write_to, needs, slices, compares=True)
    if key is not None and not problems:
        cache.write(key, facts_to_json(facts))
    return facts, problems


def _read_all(
    request: TrainRequest,
    write_to: Path | None,
    needs: Mapping[tuple[Split, str], RowNeeds],
    slices: Mapping[tuple[Split, str], str],
    *,
    compares: bool,
) -> tuple[list[DatasetFacts], list[Problem]]:
    """Read all datasets, and compare their texts where that is asked for."""
    facts: list[DatasetFacts] = []
    problems: list[Problem] = []
    if write_to is not None:
        write_to.mkdir(parents=True, exist_ok=True)
    for parts, dataset in _sources(request, write_to, needs, slices):
        with collect_problems(problems):
            if parts[0].split == "train" and request.data.read == "per_node":
                facts.append(_read_facts(request, parts[0], dataset))
                continue
            facts += scan_parts(
                parts, dataset, drop_incomplete_rows=request.data.drop_incomplete_rows, compares=compares
            )
    for number, item in enumerate(facts):
        with collect_problems(problems):
            facts[number] = with_corpus(item, getattr(request.data, item.split)[item.name], write_to)
    order = {(split, name): number for number, (split, name, _) in enumerate(named_datasets(request))}
    facts.sort(key=lambda item: order[item.split, item.name])
    if write_to is not None and request.data.record_anchors:
        _record_anchors(write_to, facts)
    compared = _with_overlap(facts)
    # Nobody compares these again, and batches of so many rows need the memory.
    return [replace(item, text_hashes={}) if item.shards is not None else item for item in compared], problems


def _read_facts(request: TrainRequest, part: Part, dataset: Dataset) -> DatasetFacts:
    """Return the facts of a train dataset of which each node reads its share."""
    from embedstep.data.sharded_rows import facts_of, find_shards

    rows = find_shards(part.name, dataset, part.needs, part.lengths)
    path = None if part.write_to is None else str(part.write_to)
    return replace(facts_of(part.name, rows, request.launch.nodes), path=path)


def _record_anchors(folder: Path, facts: Sequence[DatasetFacts]) -> None:
    if training := [item.text_hashes[_KEY] for item in facts if item.split == "train" and _KEY in item.text_hashes]:
        from embedstep.data.recorded_anchors import write_anchors

        write_anchors(folder, training)


def _sources(
    request: TrainRequest,
    write_to: Path | None,
    needs: Mapping[tuple[Split, str], RowNeeds],
    slices: Mapping[tuple[Split, str], str],
) -> Iterator[tuple[Sequence[Part], Dataset]]:
    """Yield each dataset with its parts: a train dataset and what is held out of it are read together."""
    lengths = length_column(request)

    def part(split: Split, name: str) -> Part:
        return Part(
            split=split,
            name=name,
            write_to=write_to / rows_file(split, name) if write_to else None,
            lengths=lengths if split == "train" else None,
            slices=slices.get((split, name)),
            needs=needs.get((split, name), ANY_ROWS),
            records_anchors=split == "train" and write_to is not None and request.data.record_anchors,
        )

    held_out = request.data.held_out
    for split, name, dataset in named_datasets(request):
        if split == "train" and name in held_out:
            yield [part("train", name), part("eval", name)], dataset
        elif not (split == "eval" and name in held_out):
            yield [part(split, name)], dataset


def length_column(request: TrainRequest) -> str | None:
    """Return the column with the length of each training row, if batches are formed by one."""
    return request.arguments.length_column_name if reads_lengths(request.arguments) else None


def _with_overlap(facts: list[DatasetFacts]) -> list[DatasetFacts]:
    """Count the rows of held-out datasets that also occur in the training data."""
    training = [item.text_hashes for item in facts if item.split == "train"]
    if not training or len(training) == len(facts):
        return facts
    from embedstep.data.duplicates import anchors_in, overlapping_rows

    seen = anchors_in(training)

    def compare(item: DatasetFacts) -> DatasetFacts:
        rows = overlapping_rows(item.text_hashes, seen)
        first = tuple(int(row) + 1 for row in rows[:_SHOWN_ROWS])
        return replace(item, overlapping_rows=len(rows), first_overlapping=first)

    return [item if item.split == "train" else compare(item) for item in facts]
