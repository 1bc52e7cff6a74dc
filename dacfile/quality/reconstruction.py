"""Reconstruction loss: multi-scale log-mel L1 (DAC, arXiv 2306.06546, section 3.4) plus complex STFT L1.

The loss costs as much as the network, so both terms share their spectra, short transforms run as matrix products, and
of the short mel scales only a few are drawn each step (scaled up, so that the expectation stays the same).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, partial

import torch
from torch import Tensor, nn

from dacfile.quality.spectra import frames, magnitude, real_transform
from dacfile.quality.spectral import MEL_SCALES, mel_filters

Target = Callable[[int], tuple[Tensor, Tensor]]  # window size -> spectrum and log10 mel magnitudes of a reference
LOG_FLOOR = 1e-5
SIZES = [size for size, _ in MEL_SCALES]
# Windows of the complex term; their mel scales come for free and are part of every step.
STFT_WINDOWS = (2048, 512)
SHORT = [size for size in SIZES if size not in STFT_WINDOWS]
# Up to this window a product with the DFT matrix beats the FFT on a CPU.
MATRIX_WINDOW = 128
SMALLEST_WHOLE = 1e-3  # what the L1 of a silent reference counts as


def real_dft(size: int) -> Tensor:
    """Return the real DFT as a matrix [size, 2 bins]: cosine and minus sine of each bin, side by side."""
    phase = 2 * math.pi / size * torch.outer(torch.arange(size), torch.arange(size // 2 + 1)).double()
    return torch.stack([phase.cos(), -phase.sin()], -1).flatten(1).float()


class ReconstructionLoss(nn.Module):
    """Mel and complex-STFT loss of an estimate against a reference.

    Returns (mel, stft): the mean absolute log10-mel difference summed over seven scales, and the L1 of the complex
    difference, of frequencies up to `waveform_hz`, over the L1 of the reference.
    """

    def __init__(self, rate: int, short_scales: int = 2, waveform_hz: float = math.inf) -> None:
        super().__init__()
        self.short_scales = short_scales
        self.waveform_share = min(1.0, 2 * waveform_hz / rate)
        for size, mels in MEL_SCALES:
            self.register_buffer(f"filters_{size}", mel_filters(rate, size, mels).T.float().contiguous())
            self.register_buffer(f"window_{size}", torch.hann_window(size))
            if size <= MATRIX_WINDOW:
                self.register_buffer(f"transform_{size}", real_dft(size))

    def spectrum(self, samples: Tensor, size: int) -> Tensor:
        """Return the short-time spectrum, complex [B, frames, bins]."""
        windowed = frames(samples, getattr(self, f"window_{size}"))
        if size <= MATRIX_WINDOW:
            return torch.view_as_complex((windowed @ getattr(self, f"transform_{size}")).unflatten(-1, (-1, 2)))
        return real_transform(windowed)

    def log_mel(self, spectrum: Tensor, size: int) -> Tensor:
        """Return log10 mel magnitudes [B, frames, mels]."""
        return (magnitude(spectrum) @ getattr(self, f"filters_{size}")).clamp_min(LOG_FLOOR).log10()

    @torch.no_grad()
    def target(self, reference: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """Return the spectrum of samples [B, n] at one window size and its log10 mel magnitudes."""
        spectrum = self.spectrum(reference, size)
        return spectrum, self.log_mel(spectrum, size)

    def targets(self, reference: Tensor) -> Target:
        """Return `target` of a reference [B, n], for many estimates: every size is transformed once."""
        return cache(partial(self.target, reference))

    def scale(self, estimate: Tensor, targets: Target, size: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return at one window size, each [B]: mel distance, L1 of the complex difference, L1 of the reference."""
        target, target_mel = targets(size)
        spectrum = self.spectrum(estimate, size)
        mel = (self.log_mel(spectrum, size) - target_mel).abs().mean((1, 2))
        if size not in STFT_WINDOWS:
            return mel, torch.zeros_like(mel), torch.zeros_like(mel)
        low = (spectrum - target)[..., : 1 + int(self.waveform_share * (size // 2))]
        difference, whole = (torch.view_as_real(x).abs().sum((1, 2, 3)) for x in (low, target))
        return mel, difference, whole

    def forward(self, estimate: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
        """Return (mel, stft) of samples [B, n] as one number each; all scales when not training."""
        drawn = [SHORT[i] for i in torch.randperm(len(SHORT))[: self.short_scales].tolist()] if self.training else SHORT
        mel, difference, whole = self._rows(estimate, partial(self.target, reference), drawn)
        return mel.mean(), (difference.sum(1) / whole.sum(1).clamp_min(SMALLEST_WHOLE)).mean()

    def each(self, estimate: Tensor, targets: Target, number: int) -> tuple[Tensor, Tensor]:
        """Return (mel, stft), each [B], of samples [B, n], every row by itself; `number` chooses the short scales."""
        drawn = [SHORT[(number * self.short_scales + i) % len(SHORT)] for i in range(self.short_scales)]
        mel, difference, whole = self._rows(estimate, targets, drawn)
        return mel, (difference / whole.clamp_min(SMALLEST_WHOLE)).mean(0)

    def _rows(self, estimate: Tensor, targets: Target, drawn: list[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Return mel [B], with `drawn` for all short scales, and of each STFT window both L1, [windows, B]."""
        mels, differences, wholes = zip(*(self.scale(estimate, targets, size) for size in STFT_WINDOWS), strict=True)
        extra = torch.stack([self.scale(estimate, targets, size)[0] for size in drawn]).sum(0)
        mel = torch.stack(mels).sum(0) + extra * (len(SHORT) / len(drawn))
        return mel, torch.stack(differences), torch.stack(wholes)
