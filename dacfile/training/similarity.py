"""Similarity loss: how well the pattern of levels over time and critical bands is kept, after ViSQOL.

The neurogram similarity index (NSIM, Hines and Harte 2012) as ViSQOL v3 takes it (Chinen et al. 2020): levels of
gammatone bands in frames of 80 ms, compared by their correlation within 3 x 3 cells. Its factor for the absolute level
is left out: it is 1 within a thousandth whatever a codec does, and the mel loss looks after levels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dacfile.quality.spectra import OVERLAP, band_powers

WINDOW_SECONDS = 0.08
BANDS, LOWEST_HZ, HIGHEST_HZ = 32, 50.0, 24000.0
# Equivalent rectangular bandwidth of a frequency (Glasberg and Moore 1990), and of a gammatone filter of order 4.
EAR_Q, SMALLEST_BANDWIDTH, ORDER, ERB_SHARE = 9.26449, 24.7, 4, 1.019
# Levels are 10 log10 of an amplitude. What is below this, or so far below the loudest band of a frame, does not count.
FLOOR, RANGE = -45.0, 45.0
# Weights of a cell, its neighbours in time or frequency, and the diagonal ones.
CELL, BESIDE, DIAGONAL = 0.619486, 0.083825, 0.011303
# Cells flatter than this variance are alike; it also keeps the gradient of a flat estimate finite.
FLAT = 1e-3


def centres() -> Tensor:
    """Return the centre frequencies of the bands in Hz, falling, float64 (evenly apart in bandwidths, Slaney 1993)."""
    offset = EAR_Q * SMALLEST_BANDWIDTH
    high, low = (torch.tensor(hz + offset, dtype=torch.float64) for hz in (HIGHEST_HZ, LOWEST_HZ))
    steps = torch.arange(1, BANDS + 1, dtype=torch.float64) / BANDS
    return high * (low / high) ** steps - offset


def band_matrix(rate: int, size: int) -> Tensor:
    """Return the matrix [bins, bands] from the power spectrum of a frame to mean squares of gammatone bands."""
    centre = centres()
    centre = centre[centre < rate / 2]
    bandwidth = ERB_SHARE * (centre / EAR_Q + SMALLEST_BANDWIDTH)
    hz = torch.arange(size // 2 + 1, dtype=torch.float64)[:, None] * (rate / size)
    return (1 + ((hz - centre) / bandwidth) ** 2) ** -ORDER * (2 / size**2)


class SimilarityLoss(nn.Module):
    """One minus the mean similarity of an estimate [B, n] to a reference [B, n]: 0 for equals, 1 for strangers."""

    window: Tensor
    bands: Tensor
    kernel: Tensor

    def __init__(self, rate: int) -> None:
        super().__init__()
        size = OVERLAP * round(rate * WINDOW_SECONDS / OVERLAP)
        self.register_buffer("window", torch.hann_window(size))
        self.register_buffer("bands", band_matrix(rate, size).float())
        beside = torch.tensor([DIAGONAL, BESIDE, DIAGONAL])
        self.register_buffer("kernel", torch.stack([beside, torch.tensor([BESIDE, CELL, BESIDE]), beside])[None, None])

    def forward(self, estimate: Tensor, reference: Tensor) -> Tensor:
        """Return the loss, a scalar, of samples [B, n]."""
        heard, meant = self.level(estimate), self.level(reference)
        loudest = torch.maximum(heard.detach().amax(-1, keepdim=True), meant.amax(-1, keepdim=True))
        floor = (loudest - RANGE).clamp_min(FLOOR)
        heard, meant = torch.maximum(heard, floor), torch.maximum(meant, floor)
        means = self.local(torch.stack([heard, meant, heard * heard, meant * meant, heard * meant]))
        mean_heard, mean_meant, square_heard, square_meant, product = means
        spread = (square_heard - mean_heard**2).clamp_min(0) * (square_meant - mean_meant**2).clamp_min(0)
        together = product - mean_heard * mean_meant
        return 1 - ((together + FLAT) / ((spread + FLAT**2).sqrt() + FLAT)).mean()

    def level(self, samples: Tensor) -> Tensor:
        """Return levels [B, frames, bands]."""
        return 5 * band_powers(samples, self.window, self.bands).clamp_min(1e-10).log10()

    def local(self, levels: Tensor) -> Tensor:
        """Return weighted means [..., frames, bands] over each value and its eight neighbours."""
        padded = F.pad(levels.flatten(0, -3)[:, None], (1, 1, 1, 1), mode="replicate")
        return F.conv2d(padded, self.kernel).view_as(levels)
