"""Level loss for sounds made by formula: how far what is loud in them is from its level.

In the mel loss every band counts alike, so that a lone tone is one band among many empty ones and may as well be left
out. Here a band counts by its magnitude.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dacfile.quality.spectra import frames, magnitude, real_transform
from dacfile.quality.spectral import MEL_SCALES, mel_filters

WINDOW = 2048
FLOOR = 1e-5


class LevelLoss(nn.Module):
    """Mean absolute log10 difference of mel magnitudes, weighted by those of the reference."""

    window: Tensor
    filters: Tensor

    def __init__(self, rate: int) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(WINDOW))
        self.register_buffer("filters", mel_filters(rate, WINDOW, dict(MEL_SCALES)[WINDOW]).T.float().contiguous())

    def forward(self, estimate: Tensor, reference: Tensor) -> Tensor:
        """Return the loss [B] of samples [B, n]."""
        heard, meant = self.magnitudes(estimate), self.magnitudes(reference)
        share = meant / meant.sum((1, 2), keepdim=True)
        return (share * (heard / meant).log10().abs()).sum((1, 2))

    def magnitudes(self, samples: Tensor) -> Tensor:
        """Return mel magnitudes [B, frames, bands]."""
        return (magnitude(real_transform(frames(samples, self.window))) @ self.filters).clamp_min(FLOOR)
