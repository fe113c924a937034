"""The batches of a run: from the arguments and the prepared rows to what each rank trains on in each step.

The default (`batch_sampler` with rows in random order) is sentence-transformers' own and is not touched. Everything
else is worked out here, from numbers that are made of the prepared rows once and kept beside them for all ranks of a
node.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedstep.data.ids import integers_in, rows_at, text_at, text_ids, text_lengths
from embedstep.errors import CannotStartError
from embedstep.request.arguments.schema import Arguments

if TYPE_CHECKING:
    from embedstep.sampling.epochs import Epochs, Sampler
    from embedstep.sampling.labels import Labels
    from embedstep.sampling.texts import Texts

_SHOWN_TEXTS = 3
_SHOWN_LABELS = 5
_LONGEST_SHOWN = 40


@dataclass(frozen=True, kw_only=True)
class SamplerInputs:
    """What batches are formed by, of one dataset.

    Attributes:
        rows: number of rows.
        path: Arrow file of the prepared rows.
        inputs: columns of texts.
        texts: the texts that repeat, for no_duplicates.
        labels: the labels, for group_by_label.
        lengths: size of each row's texts, for group_by_length, shape (rows,).
    """

    rows: int
    path: Path
    inputs: tuple[str, ...]
    texts: "Texts | None" = None
    labels: "Labels | None" = None
    lengths: Any = None


def forms_batches(arguments: Arguments) -> bool:
    """Whether batches are formed here, and not by sentence-transformers' default."""
    return arguments.batch_sampler != "batch_sampler" or arguments.train_sampling_strategy != "random"


def sampler_inputs(
    arguments: Arguments, rows: int, inputs: Sequence[str], path: Path, count: Callable[[], Any] | None = None
) -> SamplerInputs:
    """Return what the batches of a dataset are formed by; what is worked out from texts is kept beside the rows.

    Args:
        arguments: the arguments in force.
        rows: number of rows.
        inputs: columns of texts.
        path: Arrow file of the prepared rows.
        count: returns the length of each row, shape (rows,); without it characters are counted.
    """
    from embedstep.sampling.labels import labels_of
    from embedstep.sampling.texts import Texts, texts_of

    texts = labels = lengths = None
    if arguments.batch_sampler.startswith("no_duplicates"):
        texts = Texts(_kept(path, "texts", lambda: texts_of(text_ids(path, inputs)).ids))
    if arguments.batch_sampler == "group_by_label":
        labels = labels_of(integers_in(path, "label"))
    if arguments.train_sampling_strategy == "group_by_length":
        lengths = _kept(path, "lengths", count or (lambda: text_lengths(path, inputs)))
    return SamplerInputs(rows=rows, path=path, inputs=tuple(inputs), texts=texts, labels=labels, lengths=lengths)


def _kept(path: Path, name: str, make: Any) -> Any:
    """Return the array that was kept, mapped into memory, or make and keep it.

    Raises:
        CannotStartError: the disk takes nothing more.
    """
    import numpy as np

    file = path.with_suffix(f".{name}.npy")
    if not file.exists():
        made = make()
        try:
            np.save(file, made)
        except OSError as error:
            file.unlink(missing_ok=True)
            raise CannotStartError(f"the {name} cannot be kept in {file}: {error}") from error
    return np.load(file, mmap_mode="r")


def epochs_of(arguments: Arguments, materials: Sequence[SamplerInputs], world_size: int, size: int) -> "Epochs":
    """Return what each rank takes in each step.

    Args:
        arguments: the arguments in force.
        materials: of each train dataset in their order, or of one that is evaluated.
        world_size: ranks.
        size: rows of a rank in a step.
    """
    from embedstep.sampling.epochs import Epochs, Sampler

    seed = _seed(arguments)
    samplers = tuple(
        Sampler(
            rows=material.rows,
            size=size * (1 if material.labels else world_size),
            drop_last=arguments.dataloader_drop_last,
            seed=seed + number,
            texts=material.texts,
            labels=material.labels,
            lengths=material.lengths,
            in_order=arguments.train_sampling_strategy == "sequential",
        )
        for number, material in enumerate(materials)
    )
    mixing = arguments.multi_dataset_batch_sampler
    return Epochs(samplers=samplers, world_size=world_size, mixing=mixing, seed=seed)


def _seed(arguments: Arguments) -> int:
    """Return the seed of the order of rows."""
    return arguments.seed if arguments.data_seed is None else arguments.data_seed


def rows_of_an_epoch(epochs: "Epochs", number: int) -> int:
    """Return how many rows of a dataset one epoch trains on."""
    batches = epochs.samplers[number].batches(0)
    taken = epochs.steps_of[number] * epochs.batches_of_a_step(epochs.samplers[number])
    return int(batches.starts[min(taken, len(batches))])


def largest_size(material: SamplerInputs, sampler: "Sampler", world_size: int) -> int:
    """Return a batch size of a rank with which there is a step, or 0: the largest one, as far as halving finds it.

    Args:
        material: what batches of the dataset are formed by.
        sampler: forms them, of a size that gives none.
        world_size: ranks.
    """
    if (labels := material.labels) is not None:
        half = _halving(1, labels.usable // 2, lambda half: labels.full_batches(2 * half) >= world_size)
        return 2 * half if half > 1 else 0
    # Of no column can a batch have more different texts.
    texts = material.texts.lines if material.texts is not None else ()
    most = min([material.rows, *(len(line.lengths) + len(line.free) for line in texts)]) // world_size
    return _halving(0, most, lambda size: replace(sampler, size=size * world_size).count > 0)


def _halving(low: int, most: int, does: Callable[[int], bool]) -> int:
    """Return a number up to `most` that does beside one that does not, or `low` where none is found."""
    high = most + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if does(middle) else (low, middle)
    return low


def notes_of(name: str, material: SamplerInputs, epochs: "Epochs", number: int) -> Iterator[str]:
    """Yield what the batches of a dataset leave out and why, a sentence each.

    Args:
        name: of the train dataset.
        material: what its batches are formed by.
        epochs: the batches.
        number: number of the dataset in them.
    """
    import numpy as np

    sampler = epochs.samplers[number]
    if material.labels is not None:
        alone = material.rows - material.labels.usable
        yield f"data.train.{name}: labels in the batches (in the data): {_label_mix(material, sampler.batches(0))}"
        if alone:
            rows = f"{alone:,} rows are" if alone > 1 else "1 row is"
            yield f"data.train.{name}: {rows} never trained on, because no other row has the same label"
    if material.lengths is not None:
        grouped = _padding(sampler.batches(0), material.lengths)
        mixed = _padding(replace(sampler, lengths=None).batches(0), material.lengths)
        yield f"data.train.{name}: padding is {grouped:.0%} of a batch; without group_by_length it would be {mixed:.0%}"
    if material.texts is not None and material.texts.lines:
        full = int((np.diff(sampler.batches(0).starts) == sampler.size).sum())
        line = material.texts.lines[material.texts.most_constrained(sampler.size)]
        often = line.lengths > full
        waiting = int((line.lengths[often] - full).sum())
        if waiting and sampler.drop_last:
            yield (
                f"data.train.{name}: {waiting:,} rows wait for a later epoch in each, because their text stands in "
                f"more rows than there are full batches ({full:,}): {_most_frequent(material, line, full)}"
            )
        small = sampler.count - full
        if small > 1:
            yield (
                f"data.train.{name}: {small:,} of {sampler.count:,} batches are smaller than {sampler.size}; "
                "write dataloader_drop_last: true to leave them out"
            )


def _padding(batches: Any, lengths: Any) -> float:
    """Return the share of padding, as if each row were one text of all its tokens."""
    import numpy as np

    if not len(batches):
        return 0.0
    tokens = lengths[batches.rows]
    sizes = np.diff(batches.starts)
    padded = int((np.maximum.reduceat(tokens, batches.starts[:-1]) * sizes).sum())
    return 1 - int(tokens.sum()) / padded if padded else 0.0


def _label_mix(material: SamplerInputs, batches: Any) -> str:
    import numpy as np

    labels = integers_in(material.path, "label")
    values, counts = np.unique(labels, return_counts=True)
    taken = labels[batches.rows]
    shown = []
    for place in np.argsort(-counts, kind="stable")[:_SHOWN_LABELS]:
        share = (taken == values[place]).mean() if len(taken) else 0.0
        shown.append(f"{values[place]} {share:.1%} ({counts[place] / len(labels):.1%})")
    more = len(values) - len(shown)
    return ", ".join(shown) + (f" and {more:,} more" if more else "")


def _most_frequent(material: SamplerInputs, line: Any, full: int) -> str:
    import numpy as np

    shown = []
    for group in np.argsort(-line.lengths, kind="stable")[:_SHOWN_TEXTS]:
        if line.lengths[group] <= max(full, 1):
            break
        text = text_at(material.path, material.inputs, line.rows[line.starts[group]], line.rows[line.starts[group] + 1])
        text = text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 1] + "…"
        shown.append(f"{text!r} in {line.lengths[group]:,}")
    return ", ".join(shown)


def previewed(
    arguments: Arguments, names: Sequence[str], materials: Sequence[SamplerInputs], world_size: int, steps: int
) -> tuple[dict[str, Any], ...]:
    """Return the first steps of the first epoch as plain data: dataset and texts, rank by rank.

    Args:
        arguments: the arguments in force.
        names: of the train datasets.
        materials: of the train datasets.
        world_size: ranks.
        steps: how many steps.
    """
    epochs = epochs_of(arguments, materials, world_size, arguments.per_device_train_batch_size)
    found = []
    for number, step in enumerate(islice(epochs.walk(0), steps)):
        path = materials[step.dataset].path
        ranks = [rows_at(path, (step.share(rank) - step.offset).tolist()) for rank in range(world_size)]
        found.append({"step": number + 1, "dataset": names[step.dataset], "ranks": ranks})
    return tuple(found)


def lengths_of(materials: Mapping[str, SamplerInputs]) -> dict[str, str]:
    """Return a digest of the lengths that the rows of each dataset are grouped by: other tokenizers count otherwise."""
    return {
        name: sha256(material.lengths.tobytes()).hexdigest()
        for name, material in materials.items()
        if material.lengths is not None
    }


def position_of(
    arguments: Arguments, fingerprints: Mapping[str, str], lengths: Mapping[str, str], world_size: int
) -> dict[str, Any]:
    """Return what the order of rows depends on; a checkpoint with another one cannot be gone on from exactly.

    Args:
        arguments: the arguments in force.
        fingerprints: digest of the rows of each train dataset.
        lengths: digest of the lengths of rows, of the datasets whose rows are grouped by them.
        world_size: ranks.
    """
    size = arguments.per_device_train_batch_size
    # With labels each rank has batches of its own; else only the rows of a whole step count.
    batch = {"per_device_train_batch_size": size, "world_size": world_size}
    if (arguments.accelerator_config or {}).get("split_batches"):
        batch["split_batches"] = True
    is_shared = forms_batches(arguments) and arguments.batch_sampler != "group_by_label"
    # Rows as they stand, of one dataset, are not drawn.
    in_order = arguments.train_sampling_strategy == "sequential" and arguments.batch_sampler == "batch_sampler"
    is_fixed = in_order and len(fingerprints) == 1
    return {
        "data": [[name, digest] for name, digest in fingerprints.items()],
        **({"lengths": [[name, digest] for name, digest in lengths.items()]} if lengths else {}),
        **({} if is_fixed else {"seed": _seed(arguments)}),
        "batch_sampler": arguments.batch_sampler.removesuffix("_hashed"),
        "multi_dataset_batch_sampler": arguments.multi_dataset_batch_sampler if len(fingerprints) > 1 else None,
        "train_sampling_strategy": arguments.train_sampling_strategy,
        "dataloader_drop_last": arguments.dataloader_drop_last,
        "gradient_accumulation_steps": arguments.gradient_accumulation_steps,
        **({"rows of a batch of all ranks": size * world_size} if is_shared else batch),
    }
