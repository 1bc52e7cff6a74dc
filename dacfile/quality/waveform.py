"""On the waveform itself: scale-invariant signal-to-distortion ratio, the delay between signals, word lengths."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

# A perfect copy has no finite ratio; means over clips need one.
CEILING_DB = 100.0
WORD_BITS = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "PCM_24": 24}


def si_sdr(reference: Tensor, estimate: Tensor) -> Tensor:
    """Return the scale-invariant signal-to-distortion ratio in dB (Le Roux et al., arXiv 1811.02508), means removed.

    Takes float tensors [..., samples] of equal shape and returns float64 [...], limited to +-100 dB;
    NaN where the reference is silent (constant), since nothing can be said about it then.
    Raises ValueError when the shapes differ.
    """
    if reference.shape != estimate.shape:
        raise ValueError(f"reference {tuple(reference.shape)} and estimate {tuple(estimate.shape)} differ in shape")
    ref, est = (x.double() - x.double().mean(-1, keepdim=True) for x in (reference, estimate))
    energy = (ref * ref).sum(-1)
    target = ((ref * est).sum(-1) / energy)[..., None] * ref
    ratio = (target * target).sum(-1) / ((est - target) ** 2).sum(-1)
    decibels = (10 * ratio.log10()).nan_to_num(nan=-CEILING_DB).clamp(-CEILING_DB, CEILING_DB)
    return torch.where(energy > 0, decibels, torch.nan)


def find_delay(reference: Tensor, estimate: Tensor, limit: int) -> int:
    """Return by how many samples `estimate` lags `reference` (both [samples]): the peak of their cross-correlation.

    Only lags of at most `limit` samples either way are looked at; 0 where either is silent.
    """
    size = max(len(reference), len(estimate)) + limit
    spectra = [torch.fft.rfft(x.double(), size) for x in (reference, estimate)]
    correlation = torch.fft.irfft(spectra[0].conj() * spectra[1], size)
    lags = torch.cat((correlation[: limit + 1], correlation[size - limit :]))
    if not bool(lags.any()):
        return 0
    best = int(lags.argmax())
    return best if best <= limit else best - (2 * limit + 1)


def round_to_word(samples: np.ndarray, subtype: str) -> np.ndarray:
    """Return float samples as a file of soundfile's `subtype` would hold them: rounded, limited to full scale.

    Subtypes that are not integer PCM (float, lossy ones) are left as they are.
    """
    bits = WORD_BITS.get(subtype)
    if bits is None:
        return samples
    scale = 2.0 ** (bits - 1)
    return (np.clip(np.round(samples * scale), -scale, scale - 1) / scale).astype(samples.dtype)
