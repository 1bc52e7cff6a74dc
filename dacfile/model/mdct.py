"""The modified discrete cosine transform, as matrix products.

Frame t of a signal covers samples [(t - 1) N, (t + 1) N), N being the hop. With the sine window of length 2N the
transform is orthonormal and satisfies the Princen-Bradley condition, so that overlap-add of the inverse frames gives
the signal back (Princen, Johnson, Bradley, ICASSP 1987).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def sine_window(hop: int) -> Tensor:
    """Return the sine window, float64 [2 hop]."""
    return torch.sin(math.pi / (2 * hop) * (torch.arange(2 * hop, dtype=torch.float64) + 0.5))


def basis(hop: int, sine: bool = False) -> Tensor:
    """Return the windowed basis, float64 [2 hop, hop]; `sine` gives the MDST in place of the MDCT."""
    n = torch.arange(2 * hop, dtype=torch.float64)[:, None] + 0.5 + hop / 2
    k = torch.arange(hop, dtype=torch.float64)[None, :] + 0.5
    wave = torch.sin if sine else torch.cos
    return sine_window(hop)[:, None] * wave(math.pi / hop * n * k) * math.sqrt(2 / hop)


def frames(samples: Tensor, hop: int) -> Tensor:
    """Cut samples [B, (L + 1) hop] into overlapping frames [B, L, 2 hop]."""
    return samples.unfold(-1, 2 * hop, hop)


def overlap_add(halves: Tensor) -> Tensor:
    """Add overlapping frames [B, L, 2 hop]; return the samples that two frames cover, [B, (L - 1) hop]."""
    hop = halves.shape[-1] // 2
    return (halves[:, :-1, hop:] + halves[:, 1:, :hop]).flatten(1)
