"""Loudness loss for speech: how far the estimate's Bark loudness is off where the ear would notice, after PESQ.

The disturbance of the perceptual model of ITU-T P.862 (section 10.2), on critical bands from 50 Hz to 8 kHz in frames
of 32 ms, made differentiable and taken at the model's own rate. Left out is what forgives a telephone line and need not
forgive a codec: alignment in time, and compensation of level and of spectral tilt.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dacfile.quality.spectra import band_powers

WINDOW_SECONDS = 0.032
BAND_BARK = 0.5
RANGE_HZ = (50.0, 8000.0)
# The pressure level of samples with an RMS of one: P.862 listens at 79 dB, training segments are at -19 dB.
FULL_SCALE_DB = 98.0
# Below this the high-pass of the wide-band model (P.862.2) lets little through.
HIGH_PASS_HZ = 100.0
# Zwicker's law: loudness grows with this power of the intensity; the factor makes it sone.
ZWICKER_POWER, SONE = 0.23, 0.1866
# Differences below this share of the softer of two loudnesses are masked.
DEAD_ZONE = 0.25
# What the codec added counts more than what it lost, by this power of the ratio of intensities, within limits.
ASYMMETRY, ASYMMETRY_RANGE, ASYMMETRY_FLOOR = 1.2, (3.0, 12.0), 50.0
# Moments that are loud themselves count a little less.
REFERENCE_POWER, POWER_FLOOR, POWER_EXPONENT = 1e7, 1e5, 0.04
# The worst frames of a syllable decide: norm 6 over 20 frames, then norm 2 over the syllables.
SYLLABLE_FRAMES, SYLLABLE_NORM = 20, 6
# How the two disturbances add up to a loss of opinion score.
SYMMETRIC_WEIGHT, ASYMMETRIC_WEIGHT = 0.1, 0.0309
TINY = 1e-6


def bark(hz: Tensor) -> Tensor:
    """Return the critical-band rate of frequencies in Hz (Traunmueller 1990)."""
    return 26.81 * hz / (1960 + hz) - 0.53


def hertz(rate: Tensor) -> Tensor:
    """Invert `bark`."""
    return 1960 * (rate + 0.53) / (26.28 - rate)


def hearing_threshold(hz: Tensor) -> Tensor:
    """Return the threshold in quiet as an intensity, 1 being 0 dB (Terhardt 1979)."""
    khz = hz / 1000
    decibel = 3.64 * khz**-0.8 - 6.5 * torch.exp(-0.6 * (khz - 3.3) ** 2) + 1e-3 * khz**4
    return 10 ** (decibel / 10)


def band_edges() -> Tensor:
    """Return the edges of the bands in Bark, float64."""
    low, high = bark(torch.tensor(RANGE_HZ, dtype=torch.float64)).tolist()
    return torch.arange(low, high, BAND_BARK, dtype=torch.float64)


def band_matrix(rate: int, size: int) -> Tensor:
    """Return the matrix [bins, bands] from the power spectrum of a Hann-windowed frame to intensities of bands."""
    edges, width = band_edges(), rate / size
    hz = torch.arange(int(RANGE_HZ[1] / width) + 1, dtype=torch.float64) * width
    low, high = bark((hz - width / 2).clamp_min(0))[:, None], bark(hz + width / 2)[:, None]
    share = (torch.minimum(high, edges[1:]) - torch.maximum(low, edges[:-1])).clamp_min(0) / (high - low)
    high_pass = 1 / (1 + (HIGH_PASS_HZ / hz.clamp_min(1)) ** 4)
    window_power = torch.hann_window(size, dtype=torch.float64).square().sum()
    return share * high_pass[:, None] * (2 / (size * window_power) * 10 ** (FULL_SCALE_DB / 10))


class LoudnessLoss(nn.Module):
    """Opinion score that an estimate [B, n] of speech loses against a reference [B, n], about 0 to 4, as [B].

    Segments must be longer than 20 half-overlapping frames of 32 ms (0.34 s).
    """

    window: Tensor
    bands: Tensor
    threshold: Tensor
    exponent: Tensor

    def __init__(self, rate: int) -> None:
        super().__init__()
        size = 16 * round(rate * WINDOW_SECONDS / 16)
        edges = band_edges()
        centre = (edges[1:] + edges[:-1]) / 2
        # Loudness grows faster with level in the lowest bands.
        steeper = (6 / (centre + 2)).clamp(1, 2) ** 0.15
        self.register_buffer("window", torch.hann_window(size))
        self.register_buffer("bands", band_matrix(rate, size).float())
        self.register_buffer("threshold", hearing_threshold(hertz(centre)).float())
        self.register_buffer("exponent", (ZWICKER_POWER * steeper).float())

    def forward(self, estimate: Tensor, reference: Tensor) -> Tensor:
        """Return the loss [B] of samples [B, n]."""
        heard, meant = self.intensity(estimate), self.intensity(reference)
        difference = self.disturbance(self.loudness(heard), self.loudness(meant))
        symmetric = (self.total * BAND_BARK * (BAND_BARK * difference.square()).sum(-1) + TINY).sqrt()
        asymmetric = BAND_BARK * (difference * self.asymmetry(heard, meant)).abs().sum(-1)
        softness = ((meant.sum(-1) + POWER_FLOOR) / REFERENCE_POWER) ** POWER_EXPONENT
        return SYMMETRIC_WEIGHT * over_time(symmetric / softness) + ASYMMETRIC_WEIGHT * over_time(asymmetric / softness)

    @property
    def total(self) -> float:
        """The width of all bands, in Bark."""
        return BAND_BARK * len(self.threshold)

    def intensity(self, samples: Tensor) -> Tensor:
        """Return intensities [B, frames, bands] in units of 0 dB, half-overlapping frames."""
        return band_powers(samples, self.window, self.bands, overlap=2)

    def loudness(self, intensity: Tensor) -> Tensor:
        """Return loudness in sone per Bark."""
        above = (0.5 + 0.5 * intensity / self.threshold) ** self.exponent - 1
        return SONE * ((2 * self.threshold) ** self.exponent * above).clamp_min(0)

    @staticmethod
    def disturbance(heard: Tensor, meant: Tensor) -> Tensor:
        """Return the signed difference of two loudnesses, what is masked taken away."""
        difference = heard - meant
        return difference.sign() * (difference.abs() - DEAD_ZONE * torch.minimum(heard, meant)).clamp_min(0)

    @staticmethod
    def asymmetry(heard: Tensor, meant: Tensor) -> Tensor:
        """Return how much more a band counts because energy was added there; a weight, without a gradient."""
        ratio = ((heard.detach() + ASYMMETRY_FLOOR) / (meant + ASYMMETRY_FLOOR)) ** ASYMMETRY
        return torch.where(ratio < ASYMMETRY_RANGE[0], 0.0, ratio.clamp_max(ASYMMETRY_RANGE[1]))


def over_time(disturbance: Tensor) -> Tensor:
    """Return one value for the disturbances [B, frames] of a segment, [B]."""
    syllables = disturbance.unfold(1, SYLLABLE_FRAMES, SYLLABLE_FRAMES // 2)
    worst = ((syllables**SYLLABLE_NORM).mean(-1) + TINY) ** (1 / SYLLABLE_NORM)
    return (worst.square().mean(-1) + TINY).sqrt()
