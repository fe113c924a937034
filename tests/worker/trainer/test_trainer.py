"""What the trainer does differently from the library, compared with the library."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from embedstep.worker.trainer.trainer import clip_gradients


def with_gradients(scale: float) -> torch.nn.Module:
    model = torch.nn.Sequential(torch.nn.Linear(7, 5), torch.nn.Linear(5, 3), torch.nn.Linear(3, 1))
    for weights in model[:2].parameters():
        weights.grad = torch.randn(weights.shape, generator=torch.Generator().manual_seed(weights.numel())) * scale
    return model


def gradients(model: torch.nn.Module) -> list[bytes]:
    return [b"" if weights.grad is None else weights.grad.numpy().tobytes() for weights in model.parameters()]


@given(scale=st.floats(1e-9, 1e9), share=st.floats(0.5, 2) | st.just(1.0))
def test_gradients_are_clipped_as_torch_does(scale: float, share: float) -> None:
    """Also where the norm is exactly the greatest one, and for layers that had no gradient."""
    ours = with_gradients(scale)
    other = with_gradients(scale)
    most = share * float(torch.nn.utils.get_total_norm([w.grad for w in ours.parameters() if w.grad is not None]))
    norm = clip_gradients(ours, most)
    assert torch.equal(norm, torch.nn.utils.clip_grad_norm_(other.parameters(), most))
    assert gradients(ours) == gradients(other)


@pytest.mark.parametrize("scale", [math.nan, math.inf])
def test_a_norm_that_is_no_number_is_passed_on(scale: float) -> None:
    ours = with_gradients(scale)
    other = with_gradients(scale)
    clip_gradients(ours, 1.0)
    torch.nn.utils.clip_grad_norm_(other.parameters(), 1.0)
    assert gradients(ours) == gradients(other)
