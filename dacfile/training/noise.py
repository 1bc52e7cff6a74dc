"""The decoder's noise table: noise whose short-time spectrum is as flat as it can be.

Where only the envelope of a sound is coded, its fine structure is noise either way, and the log spectrum of ordinary
noise is off by the spread of its own magnitudes on top of that of the source's. A table optimised so that its mel
spectra are flat at all seven window lengths leaves only the source's spread: for white noise the mel distance above
2 kHz falls from 1.10 (Gaussian) and 1.04 (+-1) to 0.81, where a perfectly flat spectrum would have 0.78.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dacfile.model import mdct
from dacfile.quality.reconstruction import SIZES, ReconstructionLoss

# Quiet enough that no mel magnitude is limited, loud enough to be far above the floor of the logarithm.
LEVEL = 0.1
# Single coefficients may not stick out: the envelope multiplies them.
LARGEST = 3.0


def synthesise(table: Tensor) -> Tensor:
    """Return the samples [1, (frames - 1) hop] of a table of coefficients [frames, hop]."""
    hop = table.shape[1]
    return mdct.overlap_add((table @ mdct.basis(hop).T.float())[None])


def flatness_targets(loss: ReconstructionLoss, sizes: list[int], hop: int) -> dict[int, Tensor]:
    """Return for every window the median log-mel spectrum [mels] of Gaussian noise: what a flat table aims at."""
    samples = synthesise(torch.randn(600, hop) * LEVEL)
    return {size: loss.log_mel(loss.spectrum(samples, size), size)[0].median(0).values for size in sizes}


def quarter_period_on(table: Tensor) -> Tensor:
    """Return the table [frames, hop] of the Hilbert transform of a table's sound: every phase a quarter period on."""
    frames, hop = table.shape
    circle = torch.cat([table[-1:], table, table[:1]]).double()
    samples = mdct.overlap_add((circle @ mdct.basis(hop).T)[None])[0, : frames * hop]
    turned = torch.fft.irfft(torch.fft.rfft(samples) * -1j, len(samples))
    return (mdct.frames(torch.cat([turned, turned[:hop]]), hop) @ mdct.basis(hop)).to(table.dtype)


def noise_tables(rate: int, hop: int, frames: int) -> Tensor:
    """Return the decoder's noise float32 [2, frames, hop]: a flat table, and the same a quarter period on."""
    table = flat_noise(rate, hop, frames)
    return torch.stack([table, quarter_period_on(table)])


def flat_noise(rate: int, hop: int, frames: int, steps: int = 1500, span: int = 128, seed: int = 0) -> Tensor:
    """Return a table float32 [frames, hop] of unit-level noise with flat spectra; it wraps around without a seam."""
    torch.manual_seed(seed)
    loss = ReconstructionLoss(rate)
    targets = flatness_targets(loss, SIZES, hop)
    table = torch.randn(frames, hop).sign().requires_grad_()
    optimiser = torch.optim.Adam([table], lr=0.1)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = 0.1 * (1 - step / steps) + 0.002
        start = int(torch.randint(frames, (1,)))
        samples = synthesise(table[(start + torch.arange(span)) % frames] * LEVEL)
        spread = [(loss.log_mel(loss.spectrum(samples, s), s)[0] - targets[s]).abs().mean() for s in SIZES]
        optimiser.zero_grad()
        torch.stack(spread).sum().backward()
        optimiser.step()
        with torch.no_grad():
            table.clamp_(-LARGEST, LARGEST)
    return table.detach()
