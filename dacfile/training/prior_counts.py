"""Count tables learned from codes: the prior of last resort, and the yardstick for the network."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from dacfile.entropy.counts import CountPrior, normalise

# Weight of the uniform distribution, in codes: keeps entries that the training codes never use cheap enough.
UNIFORM_CODES = 256
_RESOLUTION = 16  # integer weights are sixteenths of a code, so that the uniform share does not round away


def train_counts(codes: Iterable[np.ndarray], codebook_size: int = 1024, phases: int = 1) -> np.ndarray:
    """Return tables int32 [codebooks, phases, N], normalised to sums of 2**24 - N.

    `codes`: uint16 arrays [layers, frames], each beginning at a frame index divisible by `phases`; those with fewer
    layers than others count for the layers that they have.
    """
    arrays = list(codes)
    layers = max((len(array) for array in arrays), default=1)
    seen = np.zeros((layers, phases, codebook_size), np.int64)
    for array in arrays:
        for layer, row in enumerate(array):
            for phase in range(phases):
                seen[layer, phase] += np.bincount(row[phase::phases], minlength=codebook_size)
    weights = seen * _RESOLUTION + max(1, UNIFORM_CODES * _RESOLUTION // codebook_size)
    return normalise(weights).astype(np.int32)


def train_count_prior(
    codes: Iterable[np.ndarray], codebook_size: int = 1024, phases: int = 1, info: dict[str, str] | None = None
) -> CountPrior:
    """Return the count-table prior of `codes`; see `train_counts`."""
    return CountPrior(train_counts(codes, codebook_size, phases), info)
