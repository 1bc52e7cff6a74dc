"""The post-filter of a `lapped` decoder: it makes the partials of steady tones stand out from the quantiser's noise.

A frame of the transform is too short to tell partials apart, so that what the codes miss lies between them as noise.
Under a window of several frames they are apart, and a small network gives every bin a gain: by the pattern of levels
around it, whatever its frequency. It is an adaptive post-filter as speech coders have (Chen and Gersho, IEEE Trans.
Speech Audio Process. 3, 1995), learned with the decoder; it takes no bits. Only the lowest B coefficients take part: as
coefficients of a transform with a hop of B samples they are a signal at a low rate. Its definition is in
spec/dacz-v1.md, section 9.6.

Shapes: b batch, L frames, F spectra, B coefficients, bins = window / 2 + 1.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dacfile.model import mdct

# Levels that the gain of a bin depends on: of so many spectra, two frames apart, and of so many neighbouring bins.
SPECTRA, SPECTRA_APART, BINS = 7, 2, 13
PAST = SPECTRA // 2 * SPECTRA_APART  # and as many to come
SPECTRA_AT_ONCE = 48  # what the network makes of so many stays in a processor's cache
# Levels count relative to their mean over this many bins around, fewer at the ends.
AROUND = 17
LEVEL_FLOOR = 1e-4  # of magnitudes
MEAN_SCALE, MEAN_OFFSET = 0.3, 1.0  # bring the mean level to numbers of about one
GAIN_RANGE = (-3.0, 1.0)  # nepers
LARGEST_WINDOW = 2048  # means over neighbouring bins are a matrix of half of it, squared


def reach(bins: int, window: int) -> int:
    """Return over how many frames to each side the coefficients of a frame reach; 0 without a post-filter."""
    # All spectra that a frame is part of, and those around them.
    return window // bins + PAST if bins else 0


class PostFilter(nn.Module):
    """Coefficients of the low band -> coefficients; those that come in, before it is trained."""

    synthesis: Tensor
    analysis: Tensor
    taper: Tensor
    around: Tensor
    frequency: Tensor
    apart = SPECTRA_APART

    def __init__(self, bins: int, window: int, width: int) -> None:
        super().__init__()
        if bins < 1 or window % (4 * bins) or not 0 < window <= LARGEST_WINDOW or width < 1:
            raise ValueError(f"a post-filter of {bins} bins, a window of {window} and {width} numbers")
        self.bins, self.window = bins, window
        basis = mdct.basis(bins).float()
        around = torch.ones(window // 2 + 1, window // 2 + 1).triu(-(AROUND // 2)).tril(AROUND // 2)
        self.register_buffer("analysis", basis, persistent=False)
        self.register_buffer("synthesis", basis.T.contiguous(), persistent=False)
        # The root of the periodic Hann window. Its squares overlap window / bins times, and add up to half of that.
        self.register_buffer("taper", torch.hann_window(window, dtype=torch.float64).sqrt().float(), persistent=False)
        self.register_buffer("around", around / around.sum(0), persistent=False)
        self.register_buffer("frequency", torch.linspace(-1, 1, window // 2 + 1), persistent=False)
        self.enter = nn.Conv2d(1, width, (SPECTRA, BINS), dilation=(SPECTRA_APART, 1))
        self.place = nn.Conv2d(2, width, 1, bias=False)
        self.middle = nn.Conv2d(width, width, 1)
        self.leave = nn.Conv2d(width, 1, 1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(cast(Tensor, self.leave.bias))

    def forward(self, coefficients: Tensor) -> Tensor:
        """Map coefficients [b, L, B]; before and after them there is silence."""
        with torch.autocast(coefficients.device.type, enabled=False):  # rounded to eight bits, faint levels are lost
            low = mdct.overlap_add(F.pad(coefficients.float(), (0, 0, 1, 1)) @ self.synthesis)
            return mdct.frames(self._filtered(low), self.bins) @ self.analysis

    @property
    def _past(self) -> int:
        return SPECTRA // 2 * self.apart

    def _filtered(self, low: Tensor) -> Tensor:
        """Map the samples [b, n B] of the low band."""
        margin = self.window - self.bins  # so that all windows overlap everywhere
        windows = F.pad(low, (margin, margin)).unfold(1, self.window, self.bins) * self.taper
        spectra = torch.fft.rfft(windows)  # [b, F, bins]
        filtered = torch.fft.irfft(spectra * self.gains(spectra.abs()), self.window)
        return self._overlap_add(filtered * (2 * self.bins / self.window * self.taper))

    def gains(self, magnitudes: Tensor) -> Tensor:
        """Return the gains of magnitudes [b, F, bins]."""
        levels = (magnitudes + LEVEL_FLOOR).log()
        means = levels @ self.around
        # Outside, levels are as the mean.
        around = F.pad(levels - means, (BINS // 2, BINS // 2, self._past, self._past))[:, None]
        places = torch.stack([MEAN_SCALE * means + MEAN_OFFSET, self.frequency.expand_as(means)], 1)
        parts = range(0, magnitudes.shape[1], SPECTRA_AT_ONCE)
        return torch.cat([self._gains(around, places, first) for first in parts], 1)

    def _gains(self, around: Tensor, places: Tensor, first: int) -> Tensor:
        """Return the gains, [b, SPECTRA_AT_ONCE or fewer, bins], of the spectra from `first` on."""
        last = first + SPECTRA_AT_ONCE
        hidden = self.enter(around[:, :, first : last + 2 * self._past])
        hidden += self.place(places[:, :, first:last])
        gains: Tensor = self.leave(F.gelu(self.middle(F.gelu(hidden))))[:, 0]
        return gains.clamp(*GAIN_RANGE).exp()

    def _overlap_add(self, windows: Tensor) -> Tensor:
        """Add windows [b, F, window]; return the samples that all of them cover, [b, (F + 1 - overlap) B]."""
        overlap = self.window // self.bins
        parts, count = windows.unflatten(-1, (overlap, self.bins)), windows.shape[1] + 1 - overlap
        shifted = [parts[:, overlap - 1 - i :][:, :count, i] for i in range(overlap)]
        return torch.stack(shifted).sum(0).flatten(1)
