"""Level loss for sounds made by formula: how far what is loud in them is from its level.

In the mel loss every band counts alike, so that a lone tone is one band among many empty ones and may as well be left
out. Here a band counts by its magnitude.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dacfile.quality.reconstruction import ReconstructionLoss

WINDOWS = (2048, 256)  # long for tones, short for clicks: these are to be loud when they are, not within 46 ms


def level_loss(scales: ReconstructionLoss, estimate: Tensor, reference: Tensor) -> Tensor:
    """Return, [B], of samples [B, n] the mean absolute log10 difference of mel magnitudes, weighted by the reference's.

    The sum over two windows; `scales` takes the spectra.
    """
    return torch.stack([_difference(scales, estimate, reference, window) for window in WINDOWS]).sum(0)


def _difference(scales: ReconstructionLoss, estimate: Tensor, reference: Tensor, window: int) -> Tensor:
    heard, meant = (scales.log_mel(scales.spectrum(samples, window), window) for samples in (estimate, reference))
    weights = 10**meant
    return (weights * (heard - meant).abs()).sum((1, 2)) / weights.sum((1, 2))
