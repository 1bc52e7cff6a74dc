"""Level loss for sounds made by formula: how far what is loud in them is from its level.

In the mel loss every band counts alike, so that a lone tone is one band among many empty ones and may as well be left
out. Here a band counts by its magnitude.
"""

from __future__ import annotations

from torch import Tensor

from dacfile.quality.reconstruction import ReconstructionLoss

WINDOW = 2048


def level_loss(scales: ReconstructionLoss, estimate: Tensor, reference: Tensor) -> Tensor:
    """Return, [B], of samples [B, n] the mean absolute log10 difference of mel magnitudes, weighted by the reference's.

    `scales` takes the spectra.
    """
    heard, meant = (scales.log_mel(scales.spectrum(samples, WINDOW), WINDOW) for samples in (estimate, reference))
    weights = 10**meant
    return (weights * (heard - meant).abs()).sum((1, 2)) / weights.sum((1, 2))
