"""The discriminators of DAC, for training on a GPU: images of complex spectra by band, and of samples by period.

As the paper has them (arXiv 2306.06546, section 3.3, with its code's sizes): multi-period ones after HiFi-GAN (arXiv
2010.05646) and a complex multi-resolution STFT whose bands have networks of their own; all with weight normalisation.
42.5 million parameters. `dacfile.training.discriminators` has what a CPU can afford.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from dacfile.quality.spectra import frames, real_transform
from dacfile.training.discriminators import BANDS, SLOPE, WINDOWS

PERIODS = (2, 3, 5, 7, 11)
PERIOD_CHANNELS = (1, 32, 128, 512, 1024)
BAND_CHANNELS = 32
PEAK = 0.8  # of samples as they are judged: levels are no evidence


def convolution(inputs: int, outputs: int, kernel: tuple[int, int], stride: tuple[int, int] = (1, 1)) -> nn.Module:
    """Return a padded convolution with weight normalisation."""
    padding = kernel[0] // 2, kernel[1] // 2
    return weight_norm(nn.Conv2d(inputs, outputs, kernel, stride, padding))


def judged(x: Tensor, layers: nn.ModuleList) -> list[Tensor]:
    """Return what every one of the layers makes of an image, activations included."""
    features = []
    for layer in layers:
        x = F.leaky_relu(layer(x), SLOPE)
        features.append(x)
    return features


class PeriodDiscriminator(nn.Module):
    """Judges samples that are a period apart: columns of an image [B, 1, n / period, period]."""

    def __init__(self, period: int, channels: Sequence[int]) -> None:
        super().__init__()
        self.period = period
        self.layers = nn.ModuleList(convolution(a, b, (5, 1), (3, 1)) for a, b in pairwise(channels))
        self.layers.append(convolution(channels[-1], channels[-1], (5, 1)))
        self.verdict = convolution(channels[-1], 1, (3, 1))

    def forward(self, samples: Tensor) -> list[Tensor]:
        """Return the features of samples [B, n], the last one the verdict."""
        padded = F.pad(samples, (0, -samples.shape[-1] % self.period), mode="reflect")
        features = judged(padded.unflatten(-1, (-1, self.period))[:, None], self.layers)
        return [*features, self.verdict(features[-1])]


class ImageDiscriminator(nn.Module):
    """Judges the complex spectra under one window, each band by itself; one verdict for all."""

    window: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        channels = BAND_CHANNELS
        self.edges = [round(share * (size // 2 + 1)) for share in BANDS]
        self.register_buffer("window", torch.hann_window(size))
        self.bands = nn.ModuleList(
            nn.ModuleList(
                [
                    convolution(2, channels, (3, 9)),
                    *(convolution(channels, channels, (3, 9), (1, 2)) for _ in range(3)),
                    convolution(channels, channels, (3, 3)),
                ]
            )
            for _ in pairwise(self.edges)
        )
        self.verdict = convolution(channels, 1, (3, 3))

    def forward(self, samples: Tensor) -> list[Tensor]:
        """Return the features of samples [B, n], images [B, channels, frames, bins], the last one the verdict."""
        image = torch.view_as_real(real_transform(frames(samples, self.window))).permute(0, 3, 1, 2)
        edges = zip(self.bands, pairwise(self.edges), strict=True)
        features = [judged(image[..., low:high], cast(nn.ModuleList, band)) for band, (low, high) in edges]
        verdict = self.verdict(torch.cat([band[-1] for band in features], -1))
        return [*(feature for band in features for feature in band), verdict]


class PaperDiscriminators(nn.Module):
    """All periods and windows; one list of features for each."""

    def __init__(self, period_channels: Sequence[int] = PERIOD_CHANNELS) -> None:
        super().__init__()
        periods: list[nn.Module] = [PeriodDiscriminator(period, period_channels) for period in PERIODS]
        self.parts = nn.ModuleList(periods + [ImageDiscriminator(size) for size in WINDOWS])

    def forward(self, samples: Tensor) -> list[list[Tensor]]:
        """Return features of samples [B, n]."""
        centred = samples - samples.mean(-1, keepdim=True)
        levelled = PEAK * centred / (centred.abs().amax(-1, keepdim=True) + 1e-9)
        return [part(levelled) for part in self.parts]
