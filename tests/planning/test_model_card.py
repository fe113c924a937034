from typing import Any

import pytest

from embedstep.planning.model_card import read_model_card

CARD = """---
base_model: microsoft/mpnet-base
---
# SentenceTransformer based on microsoft/mpnet-base

- **Model Type:** Sentence Transformer
- **Base model:** [microsoft/mpnet-base](https://huggingface.co/microsoft/mpnet-base) <!-- at revision 6996ce1 -->

* Loss: [<code>MatryoshkaLoss</code>](https://sbert.net/docs/losses.html#matryoshkaloss) with these parameters:
  ```json
  {
      "loss": "MultipleNegativesRankingLoss",
      "matryoshka_dims": [
          768,
          64
      ],
      "n_dims_per_step": -1
  }
  ```

### Training Hyperparameters
#### Non-Default Hyperparameters

- `eval_strategy`: steps

#### All Hyperparameters
<details><summary>Click to expand</summary>

- `eval_strategy`: steps
- `per_device_train_batch_size`: 16
- `learning_rate`: 2e-05
- `bf16`: True
- `lr_scheduler_kwargs`: {}
- `accelerator_config`: {'split_batches': False, 'dispatch_batches': None}
- `deepspeed`: None
- `prompts`:\x20
- `batch_sampler`: no_duplicates

</details>

### Training Logs
- `seed`: 7
"""
ALL = {
    "eval_strategy": "steps", "per_device_train_batch_size": 16, "learning_rate": 2e-5, "bf16": True,
    "lr_scheduler_kwargs": {}, "accelerator_config": {"split_batches": False, "dispatch_batches": None},
    "deepspeed": None, "prompts": "", "batch_sampler": "no_duplicates",
}  # fmt: skip
LOSS = {
    "kind": "matryoshka",
    "options": {"matryoshka_dims": [768, 64], "n_dims_per_step": -1},
    "loss": "multiple_negatives_ranking",
}


def test_all_hyper_parameters_are_read() -> None:
    card = read_model_card(CARD)
    assert card is not None
    assert (card.arguments, card.model, card.loss) == (ALL, "microsoft/mpnet-base", LOSS)


def test_the_changed_ones_are_read_where_not_all_are_listed() -> None:
    card = read_model_card(CARD.replace("#### All Hyperparameters", "#### Others"))
    assert card is not None
    assert card.arguments == {"eval_strategy": "steps"}


@pytest.mark.parametrize(
    ("old", "new", "loss"),
    [
        ("<code>MatryoshkaLoss</code>", "<code>own.Loss</code>", "<loss>"),
        ('"n_dims_per_step"', '"unknown"', "<loss>"),
        ("\n### Training Hyp", "* Loss: <code>CoSENTLoss</code>\n\n### Training Hyp", "<loss>"),
        ("* Loss", "Loss", "<loss>"),
    ],
)
def test_a_loss_that_is_not_clear_stays_open(old: str, new: str, loss: Any) -> None:
    card = read_model_card(CARD.replace(old, new))
    assert card is not None
    assert card.loss == loss


def test_another_text_is_no_card() -> None:
    assert read_model_card("# Readme\n\nTrains a model.\n") is None
