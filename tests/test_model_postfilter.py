"""The post-filter: perfect reconstruction, exact reach, and that it can learn to lower noise between partials."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from dacfile.model import mdct
from dacfile.model.postfilter import SPECTRA_AT_ONCE, PostFilter, reach

BINS, WINDOW = 16, 128


def acting() -> PostFilter:
    """Return a filter of random weights, whose gains reach both their limits."""
    torch.manual_seed(1)
    filter = PostFilter(BINS, WINDOW, 8).requires_grad_(False)
    filter.leave.weight.normal_(0, 20)
    return filter


def test_it_changes_nothing_before_it_is_trained() -> None:
    coefficients = torch.randn(2, 2 * SPECTRA_AT_ONCE + 5, BINS)
    torch.testing.assert_close(PostFilter(BINS, WINDOW, 8)(coefficients), coefficients, atol=1e-5, rtol=0)


@pytest.mark.parametrize("frames", [1, 2, 3, SPECTRA_AT_ONCE, 3 * SPECTRA_AT_ONCE])
def test_every_number_of_frames(frames: int) -> None:
    assert acting()(torch.randn(2, frames, BINS)).shape == (2, frames, BINS)


def test_a_part_gives_what_the_whole_gives_except_within_reach_of_its_ends() -> None:
    filter, coefficients, far = acting(), torch.randn(1, 150, BINS), reach(BINS, WINDOW)
    whole, part = filter(coefficients), filter(coefficients[:, 30:120])
    torch.testing.assert_close(part[:, far:-far], whole[:, 30 + far : 120 - far], atol=1e-5, rtol=0)
    beyond = (part - whole[:, 30:120]).abs().amax((0, 2))
    assert beyond[far - 1] > 1e-4  # so that the reach is no larger than needed
    assert beyond[-far] > 1e-4


def test_gains_stay_within_their_limits() -> None:
    gains = acting().gains(torch.rand(1, 40, WINDOW // 2 + 1))
    assert gains.min() == pytest.approx(math.exp(-3))
    assert gains.max() == pytest.approx(math.e)


def test_bfloat16_around_it_does_not_reach_it() -> None:
    filter, coefficients = acting(), torch.randn(1, 40, BINS)
    with torch.autocast("cpu", torch.bfloat16):
        within = filter(coefficients)
    assert torch.equal(within, filter(coefficients))


def test_it_learns_to_lower_noise_between_partials() -> None:
    torch.manual_seed(2)
    filter = PostFilter(BINS, WINDOW, 8)
    optimiser = torch.optim.Adam(filter.parameters(), 1e-2)
    errors = []
    for _ in range(60):
        clean = partials(4)
        noisy = clean + 0.1 * torch.randn_like(clean)
        errors.append((filter(noisy) - clean).square().mean() / (noisy - clean).square().mean())
        optimiser.zero_grad()
        errors[-1].backward()
        optimiser.step()
    assert errors[0].item() == pytest.approx(1, abs=1e-3)
    assert torch.stack(errors[-10:]).mean().item() < 0.5


def partials(count: int, frames: int = 60) -> Tensor:
    """Return coefficients of steady tones, each row of three frequencies of its own."""
    time = torch.arange((frames + 1) * BINS)
    frequencies, phases = torch.rand(2, count, 3, 1) * torch.tensor([math.pi, 2 * math.pi])[:, None, None, None]
    return mdct.frames((frequencies * time + phases).sin().sum(1), BINS) @ mdct.basis(BINS).float()
