"""How the batches of an epoch come to be: the one place that decides it for the plan and for every rank.

By default (`batch_sampler`, rows in random order) sentence-transformers draws the batches while it trains, and only
their number is known before: `count_default_batches` divides. Every other sampler and order is ours. The pass over the
data leaves an Arrow file for each dataset; `load_sampler_inputs` derives from it what batches depend on (repeated
texts, labels, lengths) and keeps that next to the file, where all ranks of a node map the same arrays. `build_epochs`
gives these to the package `sampling`: a `Sampler` arranges the rows of one dataset into batches, and `Epochs` puts the
batches of all datasets in one order and splits each step among the ranks. All of that is index arithmetic on seed and
epoch, so each rank computes the whole epoch by itself, and `formed_batches` counts for the plan exactly what the ranks
will train on.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedstep.data.ids import read_integers, text_bytes, text_ids
from embedstep.data.roles import LENGTH
from embedstep.errors import CannotStartError
from embedstep.planning.batch_samplers import DeclaredBatches, declared_code, declared_reads, declared_sampler
from embedstep.planning.plan import PlannedDataset
from embedstep.request.arguments.schema import Arguments

if TYPE_CHECKING:
    # These import numpy, which a plan needs only where embedstep forms the batches.
    from embedstep.sampling.epochs import Epochs
    from embedstep.sampling.labels import Labels
    from embedstep.sampling.texts import Texts


@dataclass(frozen=True, kw_only=True)
class SamplerInputs:
    """What the batches of one dataset depend on.

    Attributes:
        item: the dataset.
        texts: the texts that repeat, for no_duplicates.
        labels: the labels, for group_by_label.
        lengths: size of each row's texts, for group_by_length, shape (rows,).
        label_values: the labels as they are in the rows, shape (rows,).
        arrays: what a batch sampler of another package reads, by name.
    """

    item: PlannedDataset
    texts: "Texts | None" = None
    labels: "Labels | None" = None
    label_values: Any = None
    lengths: Any = None
    arrays: Mapping[str, Any] = field(default_factory=dict)


def forms_batches(arguments: Arguments) -> bool:
    """Whether embedstep forms the batches, and not sentence-transformers."""
    return arguments.batch_sampler != "batch_sampler" or arguments.train_sampling_strategy != "random"


def formed_datasets(arguments: Arguments, datasets: Sequence[PlannedDataset]) -> list[PlannedDataset]:
    """Return the datasets whose batches embedstep forms, and not sentence-transformers.

    `train_sampling_strategy` applies to train datasets only; a `batch_sampler` applies to evaluation losses too.
    """
    if not forms_batches(arguments):
        return []
    forms_evaluations = arguments.batch_sampler != "batch_sampler"
    return [item for item in datasets if item.split == "train" or (item.loss is not None and forms_evaluations)]


def per_device_batch_size(arguments: Arguments, split: str) -> int:
    """Return the rows of one process in one step."""
    return arguments.per_device_train_batch_size if split == "train" else arguments.per_device_eval_batch_size


def batches_per_step(arguments: Arguments, processes: int) -> int:
    """Return the batches that one step takes: one for each process, or one that `split_batches` divides among them."""
    return 1 if (arguments.accelerator_config or {}).get("split_batches") else processes


def count_batches(rows: int, batch: int, *, drop_last: bool) -> int:
    """Return the batches of `batch` rows in one pass over `rows` rows."""
    return rows // batch if drop_last else ceil(rows / batch)


def count_default_batches(
    arguments: Arguments, datasets: Sequence[PlannedDataset], processes: int
) -> list[PlannedDataset]:
    """Return the datasets with the batches that sentence-transformers will draw from each in an epoch."""
    train = [item for item in datasets if item.split == "train"]
    size, per_step = arguments.per_device_train_batch_size, batches_per_step(arguments, processes)
    limit = None
    if len(train) == 1 and (count := train[0].batches or 0) > per_step:
        # The last batches are dropped where there is not one for each process. Of several datasets it depends on the
        # random order whose batches these are.
        limit = count // per_step * per_step
    elif len(train) > 1 and arguments.multi_dataset_batch_sampler == "round_robin":
        # The installed sampler ends the epoch with the dataset that has the fewest batches.
        limit = min(item.batches or 0 for item in train)
    if limit is None:
        return list(datasets)
    return [
        replace(item, batches=limit, rows_unreached=max(item.rows - limit * size, 0)) if item.split == "train" else item
        for item in datasets
    ]


def load_sampler_inputs(arguments: Arguments, item: PlannedDataset) -> SamplerInputs:
    """Return what the batches of a dataset depend on, derived from its prepared rows once and kept next to them.

    Args:
        arguments: the effective arguments.
        item: the dataset.
    """
    from embedstep.sampling.texts import Texts, group_texts

    path = item.file
    read = {"labels": lambda: read_integers(path, "label"), "texts": lambda: text_ids(path, item.inputs)}
    names = declared_reads(arguments.batch_sampler)
    inputs = sampler_inputs(
        arguments,
        item,
        texts=lambda: Texts(_cache(path, "texts", lambda: group_texts(text_ids(path, item.inputs)).ids)),
        labels=read["labels"],
        lengths=lambda: _cache(path, "lengths", lambda: _measure_rows(item)),
    )
    return replace(inputs, arrays={name: _cache(path, f"declared_{name}", read[name]) for name in names})


def sampler_inputs(
    arguments: Arguments,
    item: PlannedDataset,
    *,
    texts: "Callable[[], Texts]",
    labels: Callable[[], Any],
    lengths: Callable[[], Any],
) -> SamplerInputs:
    """Return what the batches of a dataset depend on, of all that can be read of it.

    Args:
        arguments: the effective arguments.
        item: the dataset.
        texts: returns the texts that repeat.
        labels: returns the labels, shape (rows,).
        lengths: returns the size of each row's texts, shape (rows,).
    """
    from embedstep.sampling.labels import group_labels

    has_lengths = arguments.train_sampling_strategy == "group_by_length" and item.split == "train"
    values = labels() if arguments.batch_sampler == "group_by_label" else None
    return SamplerInputs(
        item=item,
        texts=texts() if arguments.batch_sampler.startswith("no_duplicates") else None,
        labels=None if values is None else group_labels(values),
        label_values=values,
        lengths=lengths() if has_lengths else None,
    )


def _measure_rows(item: PlannedDataset) -> Any:
    """Return the length of each row, shape (rows,): as its column says, or in bytes.

    Tokens are counted while the training runs, and the first step would wait for them.
    """
    return read_integers(item.file, LENGTH) if item.has_lengths else text_bytes(item.file, item.inputs)


def _cache(path: Path, name: str, make: Callable[[], Any]) -> Any:
    """Return the array kept next to the rows, mapped into memory; make it where it is not there yet.

    Raises:
        CannotStartError: the disk is full.
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


def build_epochs(arguments: Arguments, inputs: Sequence[SamplerInputs], processes: int, size: int) -> "Epochs":
    """Return what each rank takes in each step.

    Args:
        arguments: the effective arguments.
        inputs: of each train dataset in their order, or of one that is evaluated.
        processes: processes that train together; where each node has rows of its own, they are divided among its ranks.
        size: rows of a rank in a step.
    """
    from embedstep.sampling.epochs import Epochs, Sampler

    seed, kind = order_seed(arguments), declared_sampler(arguments.batch_sampler)
    world_size = processes // max(len(inputs[0].item.node_rows), 1)
    samplers = []
    for number, one in enumerate(inputs):
        shared: dict[str, Any] = {
            "rows": one.item.rows,
            # By label each rank has a batch of its own; else all ranks share one.
            "size": size * (1 if one.labels else world_size),
            "drop_last": arguments.dataloader_drop_last,
            "seed": seed + number,  # datasets of equal size would be shuffled alike otherwise
        }
        sampler = Sampler(
            **shared,
            texts=one.texts,
            labels=one.labels,
            lengths=one.lengths,
            in_order=arguments.train_sampling_strategy == "sequential",
            declared=DeclaredBatches(**shared, kind=kind, world_size=world_size, arrays=one.arrays) if kind else None,
        )
        samplers.append(sampler)
    # Where each node has rows of its own, all take as many steps as the plan has found that all have batches for.
    planned = [one.item.batches for one in inputs if one.item.node_rows and one.item.batches is not None]
    return Epochs(
        samplers=tuple(samplers),
        world_size=world_size,
        mixing=arguments.multi_dataset_batch_sampler,
        seed=seed,
        most_steps=tuple(batches // processes for batches in planned) or None,
    )


def order_seed(arguments: Arguments) -> int:
    """Return the seed of the order of rows, and of what is drawn from them."""
    return arguments.seed if arguments.data_seed is None else arguments.data_seed


def describe_order(
    arguments: Arguments,
    train: Sequence[PlannedDataset],
    world_size: int,
    transforms: Mapping[str, str],
) -> dict[str, Any]:
    """Return all that the order of the rows depends on; only a checkpoint with an equal one can be resumed exactly.

    Args:
        arguments: the effective arguments.
        train: the train datasets.
        world_size: ranks.
        transforms: digest of the transform of each train dataset that has one.
    """
    size = arguments.per_device_train_batch_size
    # With labels each rank has batches of its own; else only the rows of a whole step count.
    splits = {"split_batches": True} if (arguments.accelerator_config or {}).get("split_batches") else {}
    batch = {"per_device_train_batch_size": size, "world_size": world_size, **splits}
    digest = declared_code(arguments.batch_sampler)
    code = {"code of the batch sampler": digest} if digest else {}
    is_shared = forms_batches(arguments) and arguments.batch_sampler != "group_by_label" and not code
    # One dataset in the order of its file is not shuffled.
    in_order = arguments.train_sampling_strategy == "sequential" and arguments.batch_sampler == "batch_sampler"
    is_fixed = in_order and len(train) == 1 and not transforms
    nodes = {"nodes with rows of their own": len(train[0].node_rows)} if train and train[0].node_rows else {}
    lengths = "in a column" if any(item.has_lengths for item in train) else "in bytes"
    return {
        "data": [[item.name, item.fingerprint] for item in train],
        **nodes,
        **({"lengths": lengths} if arguments.train_sampling_strategy == "group_by_length" else {}),
        **({"transforms": [[name, digest] for name, digest in transforms.items()]} if transforms else {}),
        **({} if is_fixed else {"seed": order_seed(arguments)}),
        "batch_sampler": arguments.batch_sampler.removesuffix("_hashed"),
        **code,
        "multi_dataset_batch_sampler": arguments.multi_dataset_batch_sampler if len(train) > 1 else None,
        "train_sampling_strategy": arguments.train_sampling_strategy,
        "dataloader_drop_last": arguments.dataloader_drop_last,
        "gradient_accumulation_steps": arguments.gradient_accumulation_steps,
        **({"rows of a batch of all ranks": size * world_size} if is_shared else batch),
    }
