import numpy as np
import pytest
from datasets import Dataset

from embedstep.errors import TrainingFailedError
from embedstep.sampling.epochs import Epochs, Sampler
from embedstep.sampling.texts import group_texts
from embedstep.worker.trainer.batch_checks import require_valid_batch
from embedstep.worker.trainer.loading import RankBatches


def pairs(*texts: tuple[str, str]) -> Dataset:
    return Dataset.from_list([{"anchor": anchor, "positive": positive} for anchor, positive in texts])


def test_a_text_in_two_rows_stops_the_run_and_names_the_batch() -> None:
    with pytest.raises(TrainingFailedError) as raised:
        require_valid_batch("no_duplicates_hashed", [3, 0, 2], pairs(("e", "a"), ("b", "b"), ("c", "d"), ("a", "b")))
    assert str(raised.value) == (
        "a batch of no_duplicates holds a text in two rows, 3 and 0: 'a'; rows of the batch: [3, 0, 2]"
    )


def test_a_row_may_hold_a_text_twice() -> None:
    require_valid_batch("no_duplicates", [1, 0], pairs(("a", "a"), ("c", "d")))


def test_texts_in_lists_count_too() -> None:
    rows = Dataset.from_list([{"anchor": "a", "negatives": ["b", "c"]}, {"anchor": "d", "negatives": ["c"]}])
    with pytest.raises(TrainingFailedError, match="two rows, 0 and 1: 'c'"):
        require_valid_batch("no_duplicates", [0, 1], rows)


@pytest.mark.parametrize("labels", [[1, 1, 1, 1], [1, 1, 1, 2], [1, 1, 2, 3]])
def test_a_label_that_is_alone_stops_the_run(labels: list[int]) -> None:
    """Batches of one label have no gradient, and the job would succeed untrained."""
    rows = Dataset.from_list([{"anchor": f"t{number}", "label": label} for number, label in enumerate(labels)])
    with pytest.raises(TrainingFailedError, match=r"needs two labels .* rows of the batch: \[0, 1, 2, 3\]"):
        require_valid_batch("group_by_label", [0, 1, 2, 3], rows)


def test_the_default_sampler_promises_nothing() -> None:
    require_valid_batch("batch_sampler", [0, 1], pairs(("a", "b"), ("a", "b")))


def test_the_first_steps_of_an_epoch_are_read_in_whole() -> None:
    """A sampler that does not know a text gives it to two ranks, neither of which has both rows."""
    rows = pairs(("a", "x"), ("b", "y"), ("c", "x"), ("d", "z"))
    texts = group_texts(np.array([[0, 1, 2, 3], [4, 5, 6, 7]], np.int32))
    sampler = Sampler(rows=4, size=4, drop_last=True, seed=0, texts=texts)
    epochs = Epochs(samplers=(sampler,), world_size=2, mixing="proportional", seed=0)
    with pytest.raises(TrainingFailedError, match=r"holds a text in two rows, \d and \d: 'x'; rows of the batch:"):
        next(iter(RankBatches(epochs, 0, [rows], "no_duplicates", in_training=True)))
    assert len(next(iter(RankBatches(epochs, 0, [rows], "batch_sampler", in_training=True)))) == 2


def test_the_name_of_a_dataset_is_no_text() -> None:
    rows = pairs(("a", "b"), ("c", "d"))
    rows.set_transform(lambda batch: batch | {"dataset_name": ["docs"] * len(batch["anchor"])})
    require_valid_batch("no_duplicates", [0, 1], rows)
