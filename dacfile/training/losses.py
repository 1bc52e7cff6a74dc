"""Reconstruction loss: multi-scale log-mel L1 (DAC, arXiv 2306.06546, section 3.4) plus complex STFT L1.

The loss costs as much as the network, so both terms share their spectra, short transforms run as matrix products, and
of the short mel scales only a few are drawn each step (scaled up, so that the expectation stays the same).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dacfile.quality.spectral import MEL_SCALES, mel_filters

LOG_FLOOR = 1e-5
# Windows of the complex term; their mel scales come for free and are part of every step.
STFT_WINDOWS = (2048, 512)
# Up to this window a product with the DFT matrix beats the FFT on a CPU.
MATRIX_WINDOW = 128


def quarter_frames(samples: Tensor, size: int) -> Tensor:
    """Cut samples [B, n] into centred frames [B, frames, size] a quarter window apart, ends reflected.

    Built from four shifted views: the gradient is then four additions, not a scatter.
    """
    hop = size // 4
    padded = F.pad(samples, (size // 2, size // 2), mode="reflect")
    chunks = padded[:, : padded.shape[1] // hop * hop].unflatten(1, (-1, hop))
    count = chunks.shape[1] - 3
    return torch.cat([chunks[:, i : i + count] for i in range(4)], -1)


def windowed_dft(size: int) -> Tensor:
    """Return the Hann-windowed real DFT as a matrix [size, 2 bins]: cosines, then sines."""
    phase = 2 * math.pi / size * torch.outer(torch.arange(size), torch.arange(size // 2 + 1)).double()
    window = torch.hann_window(size, dtype=torch.float64)[:, None]
    return (window * torch.cat([phase.cos(), phase.sin()], 1)).float()


class ReconstructionLoss(nn.Module):
    """Mel and complex-STFT loss of an estimate against a reference.

    Returns (mel, stft): the mean absolute log10-mel difference summed over seven scales, and the L1 of the complex
    difference over the L1 of the reference.
    """

    def __init__(self, rate: int, short_scales: int = 2) -> None:
        super().__init__()
        self.short_scales = short_scales
        for size, mels in MEL_SCALES:
            self.register_buffer(f"filters_{size}", mel_filters(rate, size, mels).T.float().contiguous())
            transform = windowed_dft(size) if size <= MATRIX_WINDOW else torch.hann_window(size)
            self.register_buffer(f"transform_{size}", transform)

    def spectrum(self, samples: Tensor, size: int) -> Tensor:
        """Return real and imaginary parts, [2, B, frames, bins]."""
        framed = quarter_frames(samples, size)
        transform = getattr(self, f"transform_{size}")
        if size <= MATRIX_WINDOW:
            return torch.stack((framed @ transform).chunk(2, -1))
        return torch.view_as_real(torch.fft.rfft(framed * transform)).movedim(-1, 0)

    def log_mel(self, spectrum: Tensor, size: int) -> Tensor:
        """Return log10 mel magnitudes [B, frames, mels]."""
        magnitude = (spectrum[0].square() + spectrum[1].square() + 1e-12).sqrt()
        return (magnitude @ getattr(self, f"filters_{size}")).clamp_min(LOG_FLOOR).log10()

    def scale(self, estimate: Tensor, reference: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """Return (mel, stft) at one window size."""
        with torch.no_grad():
            target = self.spectrum(reference, size)
            target_mel = self.log_mel(target, size)
        spectrum = self.spectrum(estimate, size)
        mel = (self.log_mel(spectrum, size) - target_mel).abs().mean()
        if size not in STFT_WINDOWS:
            return mel, mel.new_zeros(())
        return mel, (spectrum - target).abs().sum() / target.abs().sum().clamp_min(1e-3)

    def forward(self, estimate: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
        """Compare samples [B, n]; all scales when not training."""
        short = [size for size, _ in MEL_SCALES if size not in STFT_WINDOWS]
        drawn = [short[i] for i in torch.randperm(len(short))[: self.short_scales].tolist()] if self.training else short
        mels, stfts = zip(*(self.scale(estimate, reference, size) for size in STFT_WINDOWS), strict=True)
        extra = torch.stack([self.scale(estimate, reference, size)[0] for size in drawn]).sum()
        return torch.stack(mels).sum() + extra * (len(short) / len(drawn)), torch.stack(stfts).mean()
