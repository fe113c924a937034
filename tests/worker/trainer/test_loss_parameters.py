"""Layers of a loss and their optimizer state, which the library's checkpoints do not hold."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from embedstep.worker.trainer.loss_parameters import load_loss_parameters, save_loss_parameters


class Classifier(nn.Module):  # type: ignore[misc]
    """A loss that holds the model, a layer of its own, and the same layer under another name."""

    def __init__(self, model: nn.Module, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.model = model
        self.layer = nn.Linear(2, 3)
        self.tied = self.layer

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self.layer(self.model(rows)).square().mean()


def trained(seed: int) -> tuple[nn.Module, Classifier, torch.optim.Optimizer]:
    """A model and its loss after one step."""
    torch.manual_seed(0)
    model = nn.Linear(2, 2)
    loss = Classifier(model, seed)
    optimizer = torch.optim.AdamW(loss.parameters())
    loss(torch.eye(2)).backward()
    optimizer.step()
    return model, loss, optimizer


def tensors(loss: Classifier, optimizer: torch.optim.Optimizer) -> list[bytes]:
    found = [*loss.layer.parameters(), *(optimizer.state[one]["exp_avg"] for one in loss.layer.parameters())]
    return [tensor.detach().numpy().tobytes() for tensor in found]


@pytest.mark.parametrize("rank", [0, 1])
def test_they_are_as_before_and_a_rank_that_is_new_has_those_of_the_first(tmp_path: Path, rank: int) -> None:
    model, loss, optimizer = trained(seed=1)
    save_loss_parameters(loss, model, optimizer, tmp_path, 0)
    other_model, other, other_optimizer = trained(seed=2)
    assert tensors(other, other_optimizer) != tensors(loss, optimizer)
    load_loss_parameters(other, other_model, other_optimizer, tmp_path, rank)
    assert tensors(other, other_optimizer) == tensors(loss, optimizer)


def test_the_losses_of_several_datasets_are_in_one_file(tmp_path: Path) -> None:
    model, loss, optimizer = trained(seed=1)
    losses: dict[str, Any] = {"docs": loss, "more": Classifier(model, seed=3)}
    save_loss_parameters(losses, model, optimizer, tmp_path, 0)
    other_model, other, other_optimizer = trained(seed=2)
    further = Classifier(other_model, seed=4)
    load_loss_parameters({"docs": other, "more": further}, other_model, other_optimizer, tmp_path, 0)
    assert tensors(other, other_optimizer) == tensors(loss, optimizer)
    assert torch.equal(further.layer.weight, losses["more"].layer.weight)


def test_a_loss_without_layers_leaves_no_file_and_a_checkpoint_without_one_changes_nothing(tmp_path: Path) -> None:
    model, loss, optimizer = trained(seed=1)
    without = nn.ModuleDict({"model": model})
    save_loss_parameters(without, model, optimizer, tmp_path, 0)
    assert list(tmp_path.iterdir()) == []
    before = tensors(loss, optimizer)
    load_loss_parameters(loss, model, optimizer, tmp_path, 0)
    assert tensors(loss, optimizer) == before
