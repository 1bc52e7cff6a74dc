"""Short-time spectra with the gradients written out: those that autograd derives cost several times the spectra.

It would scatter each frame into a full-length zero tensor, and turn the gradient of a real transform by a complex one
of twice the size. Both are linear maps, so the gradient is the transposed map: overlap-add, and an inverse transform.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional as F

# Windows overlap so many times, unless told otherwise.
OVERLAP = 4
# Magnitudes below have no direction, and so no gradient.
SMALLEST = 1e-12


class _Frames(Function):
    """Cut [B, n] into windowed frames [B, frames, size]."""

    @staticmethod
    def forward(ctx: Any, samples: Tensor, window: Tensor, hop: int) -> Tensor:
        ctx.save_for_backward(window)
        ctx.shape, ctx.hop = samples.shape, hop
        return samples.unfold(1, len(window), hop) * window

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (window,) = ctx.saved_tensors
        weighted = gradients[0] * window
        hop, count = ctx.hop, weighted.shape[1]
        total = weighted.new_zeros(ctx.shape)
        for i, part in enumerate(weighted.split(hop, -1)):
            total[:, i * hop : (i + count) * hop].unflatten(1, (count, hop)).add_(part)
        return total, None, None


class _RealTransform(Function):
    """Transform real [..., size] to complex [..., size / 2 + 1]."""

    @staticmethod
    def forward(ctx: Any, frames: Tensor) -> Tensor:
        ctx.size = frames.shape[-1]
        return torch.fft.rfft(frames)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        half = gradients[0] * 0.5  # the inverse counts every bin twice, but for the first and the last
        ends = torch.view_as_real(half)[..., :: ctx.size // 2, :]
        ends[..., 0] *= 2
        ends[..., 1] = 0  # means nothing in a real signal, but not every inverse transform on CUDA leaves it out
        return torch.fft.irfft(half, ctx.size, norm="forward")


class _Magnitude(Function):
    """Take the magnitude of complex numbers."""

    @staticmethod
    def forward(ctx: Any, spectrum: Tensor) -> Tensor:
        real, imaginary = torch.view_as_real(spectrum).unbind(-1)
        magnitude = (real * real).addcmul_(imaginary, imaginary).sqrt_()
        ctx.save_for_backward(spectrum, magnitude)
        return magnitude

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        spectrum, magnitude = ctx.saved_tensors
        ratio = gradients[0] / magnitude.clamp_min(SMALLEST)
        return torch.view_as_complex(torch.view_as_real(spectrum) * ratio[..., None])


def frames(samples: Tensor, window: Tensor, overlap: int = OVERLAP) -> Tensor:
    """Cut samples [B, n] into centred frames [B, frames, size] under `window` [size], ends reflected.

    They are size / `overlap` apart; samples after the last whole step are left out.
    """
    size = len(window)
    hop = size // overlap
    padded = F.pad(samples, (size // 2, size // 2), mode="reflect")
    return cast(Tensor, _Frames.apply(padded[:, : padded.shape[1] // hop * hop], window, hop))


def real_transform(windowed: Tensor) -> Tensor:
    """Return the spectrum, complex [..., size / 2 + 1], of real frames [..., size] of even size."""
    return cast(Tensor, _RealTransform.apply(windowed))


def magnitude(spectrum: Tensor) -> Tensor:
    """Return the magnitude, real [...], of a complex spectrum [...]."""
    return cast(Tensor, _Magnitude.apply(spectrum))


def band_powers(samples: Tensor, window: Tensor, bands: Tensor, overlap: int = OVERLAP) -> Tensor:
    """Return powers [B, frames, bands] of samples [B, n], where `bands` [bins, bands] weighs the lowest bins."""
    spectrum = real_transform(frames(samples, window, overlap))[..., : len(bands)]
    return torch.view_as_real(spectrum).square().sum(-1) @ bands
