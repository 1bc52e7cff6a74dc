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


_TABLE = np.array(exponential_table(), np.float64)


def counts_of(logits: np.ndarray) -> np.ndarray:
    """Turn whole-numbered `logits` [..., M] into float64 counts that sum to 2**24 - M; overwrites `logits`."""
    # Bare ufuncs in place of methods: for the few rows of a sequential step the call, not the arithmetic, is the cost.
    np.subtract(np.maximum.reduce(logits, -1, keepdims=True), logits, out=logits)
    np.minimum(logits, TABLE_SIZE - 1, out=logits)
    weights = _TABLE.take(logits.astype(np.intp))
    total = total_count(weights.shape[-1])
    scale = np.floor((total << _RECIPROCAL_BITS) / np.add.reduce(weights, -1, keepdims=True))
    weights *= scale
    weights *= 0.5**_RECIPROCAL_BITS
    np.floor(weights, out=weights)
    weights[..., 0] += total - np.add.reduce(weights, -1)
    return weights
