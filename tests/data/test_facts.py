"""What is known of a dataset without its rows."""

from embedstep.data.facts import DatasetFacts


def test_inputs_are_the_texts_in_the_order_of_the_loss() -> None:
    facts = DatasetFacts(
        split="train", name="docs", rows=3, columns={"anchor": "text", "positive": "text", "label": "integer"}
    )
    assert facts.inputs == ("anchor", "positive")
    assert facts.label == "integer"


def test_a_dataset_without_a_label_has_none() -> None:
    assert DatasetFacts(split="eval", name="docs", rows=3, columns={"anchor": "text"}).label is None


def test_hashes_of_texts_are_no_part_of_what_facts_are() -> None:
    first, second = (
        DatasetFacts(split="train", name="docs", rows=1, columns={}, text_hashes={"anchor": number})
        for number in range(2)
    )
    assert first == second
    assert "text_hashes" not in repr(first)
