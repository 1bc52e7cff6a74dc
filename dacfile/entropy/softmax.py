"""Integer logits to integer counts: the soft-max of spec/priors.md, by table look-up and exact arithmetic.

All values are whole numbers below 2**53 held in float64, so every step is exact; the tests compare with plain integers.
"""

from __future__ import annotations

import math

import numpy as np

from dacfile.entropy.rangecoder import total_count

LOGIT_UNIT = 32  # logits are whole numbers of 1/32 nat
TABLE_SIZE = 384  # beyond 12 nats below the largest logit every symbol weighs 1
PEAK = 1 << 16
_RECIPROCAL_BITS = 20


def exponential_table() -> list[int]:
    """Return floor(65536 exp(-i / 32) + 1/2), at least 1, for i in 0..383; spec/priors.md lists the values.

    No value lies closer than 1e-3 to a rounding boundary, so any libm gives the same table.
    """
    return [max(1, math.floor(PEAK * math.exp(-i / LOGIT_UNIT) + 0.5)) for i in range(TABLE_SIZE)]


# Divided by a power of two, which is exact, so that no shift is left to do below.
_TABLE = np.array(exponential_table(), np.float64) * 0.5**_RECIPROCAL_BITS


def counts_of(logits: np.ndarray) -> np.ndarray:
    """Turn whole-numbered `logits` [..., M] into float64 counts that sum to 2**24 - M."""
    counts = shares_of(logits)
    counts[..., 0] += total_count(counts.shape[-1]) - np.add.reduce(counts, -1)
    return counts


def shares_of(logits: np.ndarray) -> np.ndarray:
    """Return what `counts_of` does, with the first count still without what the rounding has left over."""
    # Bare ufuncs in place of methods: for the few rows of a sequential step the call, not the arithmetic, is the cost.
    below = np.empty(logits.shape, np.intp)
    np.subtract(np.maximum.reduce(logits, -1, keepdims=True), logits, out=below, casting="unsafe")
    weights = _TABLE.take(below, mode="clip")
    weights *= np.floor(total_count(weights.shape[-1]) / np.add.reduce(weights, -1, keepdims=True))
    return np.floor(weights, out=weights)
