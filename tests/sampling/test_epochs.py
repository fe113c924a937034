"""What the ranks get: all of it, none of it twice, as often as announced, and the same after an interruption."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedstep.sampling.batches import Batches, split
from embedstep.sampling.epochs import Epochs, Mixing, Sampler
from embedstep.sampling.labels import group_labels
from embedstep.sampling.texts import group_texts


def sampler(kind: str, rows: int, size: int, world_size: int, seed: int = 0) -> Sampler:
    random = np.random.RandomState(rows)
    texts = labels = lengths = None
    if kind == "no_duplicates":
        texts = group_texts(
            np.stack([np.arange(rows), rows + random.randint(0, max(rows // 2, 1), rows)]).astype(np.int32)
        )
    if kind == "group_by_label":
        labels = group_labels(random.randint(0, 4, rows))
    if kind == "group_by_length":
        lengths = random.randint(1, 60, rows).astype(np.int32)
    return Sampler(
        rows=rows, size=size * (1 if labels else world_size), drop_last=world_size > 1, seed=seed, texts=texts,
        labels=labels, lengths=lengths, in_order=kind == "sequential",
    )  # fmt: skip


KINDS = st.sampled_from(["random", "no_duplicates", "group_by_label", "group_by_length", "sequential"])


@given(
    st.lists(st.tuples(KINDS, st.integers(1, 120)), min_size=1, max_size=3),
    st.sampled_from([4, 6]),
    st.integers(1, 5),
    st.sampled_from(["proportional", "round_robin"]),
    st.integers(0, 3),
)
def test_ranks_share_an_epoch(
    parts: list[tuple[str, int]], size: int, world_size: int, mixing: Mixing, epoch: int
) -> None:
    samplers = tuple(sampler(kind, rows, size, world_size) for kind, rows in parts)
    epochs = Epochs(samplers=samplers, world_size=world_size, mixing=mixing, seed=0)
    shares = [[rows.tolist() for rows in epochs.rows_of(epoch, rank)] for rank in range(world_size)]
    # All make the announced number of steps.
    assert {len(share) for share in shares} == {epochs.steps}
    seen = [row for share in shares for rows in share for row in rows]
    # No row goes to two ranks, and each is one of the datasets'.
    assert len(seen) == len(set(seen))
    assert set(seen) <= set(range(sum(rows for _, rows in parts)))
    if world_size > 1:
        assert {len(rows) for share in shares for rows in share} <= {size}
    # A step is of one dataset on all ranks.
    ends = np.cumsum([rows for _, rows in parts])
    for step in range(epochs.steps):
        assert len({int(np.searchsorted(ends, row, side="right")) for share in shares for row in share[step]}) == 1


@given(KINDS, st.integers(1, 100), st.integers(1, 3), st.data())
def test_resuming_at_a_step_gives_the_remaining_steps(
    kind: str, rows: int, world_size: int, data: st.DataObject
) -> None:
    epochs = Epochs(
        samplers=(sampler(kind, rows, 4, world_size), sampler("random", 30, 4, world_size)), world_size=world_size,
        mixing="proportional", seed=5,
    )  # fmt: skip
    start = data.draw(st.integers(0, epochs.steps))
    whole = [share.tolist() for share in epochs.rows_of(1, 0)]
    assert [share.tolist() for share in epochs.rows_of(1, 0, start)] == whole[start:]


@pytest.mark.parametrize("kind", ["random", "no_duplicates", "group_by_length"])
def test_with_the_same_rows_in_a_step_the_number_of_ranks_does_not_matter(kind: str) -> None:
    """Two ranks of 8 rows and four of 4 see the same rows in each step."""
    two, four = (
        Epochs(samplers=(sampler(kind, 200, 16 // ranks, ranks),), world_size=ranks, mixing="proportional", seed=0)
        for ranks in (2, 4)
    )
    for epoch in range(2):
        steps = [
            [
                sorted(np.concatenate(rows).tolist())
                for rows in zip(*(epochs.rows_of(epoch, rank) for rank in range(ranks)), strict=True)
            ]
            for epochs, ranks in ((two, 2), (four, 4))
        ]
        assert steps[0] == steps[1]


def test_round_robin_ends_with_the_shortest() -> None:
    """Datasets of 1000, 100 and 10 batches."""
    parts = tuple(sampler("random", rows * 4, 4, 1) for rows in (1000, 100, 10))
    turns = Epochs(samplers=parts, world_size=1, mixing="round_robin", seed=0)
    assert turns.steps_of == (10, 10, 10)
    assert turns.datasets(0)[:6].tolist() == [0, 1, 2, 0, 1, 2]
    share = Epochs(samplers=parts, world_size=1, mixing="proportional", seed=0)
    assert share.steps_of == (1000, 100, 10)
    assert np.bincount(share.datasets(0)).tolist() == [1000, 100, 10]
    assert share.datasets(0).tolist() != share.datasets(1).tolist()


def test_the_union_of_the_ranks_is_the_epoch() -> None:
    """Four ranks, 400 rows."""
    epochs = Epochs(samplers=(sampler("no_duplicates", 400, 8, 4),), world_size=4, mixing="proportional", seed=0)
    seen = [row for rank in range(4) for rows in epochs.rows_of(0, rank) for row in rows.tolist()]
    assert len(seen) == len(set(seen)) == epochs.steps * 32 == 384


def test_an_epoch_that_falls_short_is_tried_again_and_at_last_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Announced is delivered, whatever a later arrangement gives."""
    from embedstep.sampling import duplicates

    made = sampler("no_duplicates", 100, 2, 2)
    announced = made.count
    arrange = duplicates.arrange

    def fewer(*arguments: object, **options: object) -> object:
        found = arrange(*arguments, **options)  # type: ignore[arg-type]
        return type(found)(rows=found.rows[: found.starts[-2]], starts=found.starts[:-1])

    monkeypatch.setattr(duplicates, "arrange", fewer)
    later = made.batches(3)
    assert len(later) == announced
    assert sorted(later.rows.tolist()) == sorted(made.batches(0).rows.tolist())
    assert later.rows.tolist() != made.batches(0).rows.tolist()


@pytest.mark.parametrize(("change", "again"), [(-1, False), (1, True)])
def test_without_drop_last_every_row_comes_once_in_as_many_batches_as_announced(
    monkeypatch: pytest.MonkeyPatch, change: int, again: bool
) -> None:
    """An epoch with fewer batches gets one more by halving; only one with more of them is not used."""
    from embedstep.sampling import duplicates

    made = sampler("no_duplicates", 101, 4, 1)
    announced, first = made.count, [batch.tolist() for batch in map(made.batches(0).__getitem__, range(made.count))]
    arrange = duplicates.arrange

    def changed(*arguments: object, **options: object) -> Batches:
        found = arrange(*arguments, **options)  # type: ignore[arg-type]
        if change > 0:
            return split(found, len(found) + 1)
        starts = found.starts
        return Batches(rows=found.rows, starts=np.delete(starts, -2))

    monkeypatch.setattr(duplicates, "arrange", changed)
    later = made.batches(3)
    assert len(later) == announced
    assert sorted(later.rows.tolist()) == list(range(101))
    assert (sorted(first) == sorted(later[number].tolist() for number in range(announced))) == again


def test_the_largest_of_the_smaller_batches_is_halved_first() -> None:
    found = Batches(rows=np.arange(16, dtype=np.int32), starts=np.array([0, 4, 8, 11, 13, 15, 16]))
    sizes = [np.diff(split(found, count).starts).tolist() for count in (6, 7, 9, 10, 12, 16)]
    assert sizes == [
        [4, 4, 3, 2, 2, 1],
        [4, 4, 2, 1, 2, 2, 1],
        [4, 4, 1, 1, 1, 1, 1, 2, 1],
        [4, 4, 1, 1, 1, 1, 1, 1, 1, 1],
        [4, 1, 1, 2, 1, 1, 1, 1, 1, 1, 1, 1],
        [1] * 16,
    ]


def test_a_thousand_ranks_cost_what_one_does() -> None:
    """A rank works the epoch out once, and takes its share by slicing."""
    rows = 60_000
    ids = np.stack([np.arange(rows), rows + np.random.RandomState(0).randint(0, rows, rows)]).astype(np.int32)
    made = Sampler(rows=rows, size=1024 * 4, drop_last=True, seed=0, texts=group_texts(ids))
    epochs = Epochs(samplers=(made,), world_size=1024, mixing="proportional", seed=0)
    assert epochs.steps == 14
    assert [len(rows) for rows in epochs.rows_of(0, 1023)] == [4] * 14


@pytest.mark.parametrize("kind", ["random", "no_duplicates", "group_by_label", "group_by_length", "sequential"])
def test_two_ranks_make_the_same_steps_with_an_odd_number_of_rows(kind: str) -> None:
    """101 rows are 12 steps of 4 for each of two ranks, and the five rows left over are nobody's."""
    epochs = Epochs(samplers=(sampler(kind, 101, 4, 2),), world_size=2, mixing="proportional", seed=0)
    shares = [[len(rows) for rows in epochs.rows_of(0, rank)] for rank in range(2)]
    assert shares == [[4] * 12, [4] * 12]
