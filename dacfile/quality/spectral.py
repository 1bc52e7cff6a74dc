"""Spectral distances in the definition of the DAC paper (Kumar et al., arXiv 2306.06546, sections 3.4 and 4).

All functions take float tensors [..., samples] of equal shape and return one value per leading index, so that a batch
of segments or of channels is measured at once. They are differentiable. Lower is better, 0 is equal.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import pad

MEL_SCALES = ((32, 5), (64, 10), (128, 20), (256, 40), (512, 80), (1024, 160), (2048, 320))
STFT_WINDOWS = (2048, 512)
# Magnitudes below this count as equal: about -100 dB, the step of 16-bit audio is not far below it.
FLOOR = 1e-5


def mel_distance(reference: Tensor, estimate: Tensor, rate: int) -> Tensor:
    """Return the log-mel distance: L1 of log10 mel magnitudes, mean over bins and frames, sum over seven scales.

    Takes float tensors [..., samples] and the sample rate in Hz; returns [...].
    Raises ValueError when the shapes differ.
    """
    return torch.stack(mel_distances(reference, estimate, rate)).sum(0)


def mel_distances(reference: Tensor, estimate: Tensor, rate: int) -> list[Tensor]:
    """Return the seven terms of `mel_distance`, windows 32 to 2,048, each of shape [...]."""
    reference, estimate = _long_enough(reference, estimate)
    return [
        _log_l1(*(mel_magnitudes(x, rate, window, bands) for x in (reference, estimate)))
        for window, bands in MEL_SCALES
    ]


def stft_distance(reference: Tensor, estimate: Tensor) -> Tensor:
    """Return the STFT distance: L1 of magnitudes plus L1 of log10 squared magnitudes, windows 2,048 and 512, summed.

    Takes float tensors [..., samples] and returns [...]. An empty band costs as much as its distance from `FLOOR`, so
    round both sides to the same word length before comparing them.
    Raises ValueError when the shapes differ.
    """
    reference, estimate = _long_enough(reference, estimate)
    total = torch.zeros(reference.shape[:-1], dtype=reference.dtype, device=reference.device)
    for window in STFT_WINDOWS:
        left, right = magnitudes(reference, window), magnitudes(estimate, window)
        total = total + 2 * _log_l1(left, right) + (left - right).abs().mean((-2, -1))
    return total


def magnitudes(x: Tensor, window: int) -> Tensor:
    """Return STFT magnitudes [..., window / 2 + 1, frames]: periodic Hann, hop window / 4, centred, reflected ends."""
    flat = x.reshape(-1, x.shape[-1])
    shape = torch.hann_window(window, dtype=x.dtype, device=x.device)
    spectrum = torch.stft(flat, window, window // 4, window=shape, center=True, pad_mode="reflect", return_complex=True)
    return spectrum.abs().reshape(*x.shape[:-1], *spectrum.shape[-2:])


def mel_magnitudes(x: Tensor, rate: int, window: int, bands: int) -> Tensor:
    """Return mel magnitudes [..., bands, frames] of x [..., samples]."""
    return _filters(rate, window, bands).to(x) @ magnitudes(x, window)


def mel_filters(rate: int, window: int, bands: int) -> Tensor:
    """Return triangular mel filters [bands, window / 2 + 1], float64, from 0 Hz to Nyquist, each of unit area in Hz.

    Slaney's Auditory Toolbox scale: linear below 1 kHz (200/3 Hz a mel), logarithmic above (27 mels for a factor 6.4).
    A band narrower than a bin stays empty, as in the reference.
    """
    top = _mel_of_hz(rate / 2)
    edges = torch.tensor([_hz_of_mel(top * i / (bands + 1)) for i in range(bands + 2)], dtype=torch.float64)
    low, centre, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    hz = torch.arange(window // 2 + 1, dtype=torch.float64) * rate / window
    triangles = torch.minimum((hz - low) / (centre - low), (high - hz) / (high - centre)).clamp(min=0)
    return triangles * 2 / (high - low)


_filters = lru_cache(maxsize=64)(mel_filters)


def _mel_of_hz(hz: float) -> float:
    return hz * 3 / 200 if hz < 1000 else 15 + 27 * math.log(hz / 1000) / math.log(6.4)


def _hz_of_mel(mel: float) -> float:
    return mel * 200 / 3 if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27)


def _log_l1(left: Tensor, right: Tensor) -> Tensor:
    return (left.clamp(min=FLOOR).log10() - right.clamp(min=FLOOR).log10()).abs().mean((-2, -1))


def _long_enough(reference: Tensor, estimate: Tensor) -> tuple[Tensor, Tensor]:
    """Check the shapes and pad clips shorter than the longest window with zeros: reflection needs that much."""
    if reference.shape != estimate.shape:
        raise ValueError(f"reference {tuple(reference.shape)} and estimate {tuple(estimate.shape)} differ in shape")
    missing = max(0, MEL_SCALES[-1][0] - reference.shape[-1])
    return (pad(reference, (0, missing)), pad(estimate, (0, missing))) if missing else (reference, estimate)
