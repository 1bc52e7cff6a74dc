"""The levels of an equaliser as bytes, and how many bits they take (spec/dacz-v1.md, section 9.7).

A block of n frames has ceil(n / 64) stretches of 80 levels, 4 bits each. Nearly all levels are those of the same point
in the stretch before, so that the range coder makes a third of it, by a fixed table: the probability of each level
after each other one.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from dacfile.container.block import STRETCH_BYTES, count_stretches, raw_equaliser_bytes
from dacfile.entropy.counts import normalise
from dacfile.entropy.rangecoder import Decoder, Encoder

POINTS = 2 * STRETCH_BYTES  # with a gain, at equal distances on the mel scale from 0 Hz to half the sample rate
LEVELS = 16
FLAT = 8  # the level of 0 dB
FIRST = LEVELS  # the row of the table for the first stretch of a block, which has none before it
# How often each level follows each other one, and, in the last row, is the first: of 1,000 levels that an encoder
# chose for validation audio.
_OFTEN = (
    (641, 73, 111, 89, 34, 2, 31, 1, 15, 1, 1, 1, 1, 1, 1, 1),
    (49, 481, 84, 115, 39, 63, 2, 2, 71, 12, 24, 12, 1, 12, 24, 12),
    (30, 25, 419, 142, 69, 119, 3, 9, 142, 9, 1, 1, 8, 1, 1, 24),
    (31, 35, 37, 382, 1, 147, 46, 170, 16, 72, 1, 1, 46, 1, 15, 1),
    (9, 18, 50, 4, 356, 1, 129, 195, 189, 4, 19, 4, 22, 1, 1, 1),
    (2, 5, 10, 48, 1, 479, 1, 2, 409, 14, 1, 27, 4, 1, 1, 1),
    (1, 1, 2, 29, 90, 1, 506, 1, 187, 109, 36, 1, 7, 23, 1, 6),
    (4, 14, 4, 34, 53, 9, 1, 665, 1, 82, 102, 11, 1, 14, 7, 1),
    (1, 1, 1, 2, 8, 27, 1, 1, 886, 5, 16, 43, 5, 3, 1, 1),
    (2, 1, 2, 1, 6, 1, 61, 9, 76, 754, 1, 37, 37, 12, 4, 1),
    (1, 1, 3, 2, 9, 3, 8, 37, 284, 6, 603, 3, 27, 13, 3, 2),
    (2, 1, 1, 2, 9, 1, 6, 9, 411, 22, 2, 488, 1, 39, 6, 3),
    (9, 4, 4, 17, 1, 9, 5, 5, 84, 125, 197, 1, 487, 1, 29, 22),
    (5, 1, 10, 15, 15, 1, 25, 11, 124, 2, 154, 211, 1, 378, 45, 4),
    (1, 10, 1, 10, 1, 1, 1, 1, 128, 11, 4, 178, 9, 147, 460, 41),
    (1, 1, 1, 1, 1, 1, 1, 1, 116, 3, 3, 40, 71, 47, 167, 550),
    (5, 5, 9, 11, 14, 41, 1, 1, 785, 4, 22, 72, 12, 11, 5, 3),
)


@cache
def _counts() -> np.ndarray:
    """Return the table as counts for the range coder, float32 [LEVELS + 1, LEVELS]."""
    return normalise(np.array(_OFTEN)).astype(np.float32)


@cache
def bits() -> np.ndarray:
    """Return how many bits a level takes, float64 [level before or FIRST, level]."""
    often = np.array(_OFTEN, np.float64)
    return np.asarray(np.log2(often.sum(1, keepdims=True) / often))


def pack(levels: np.ndarray) -> bytes:
    """Return the bytes of levels uint8 [S, POINTS]; none for some that change nothing."""
    if (levels == FLAT).all():
        return b""
    encoder, before = Encoder(), np.full(POINTS, FIRST)
    for row in levels:
        encoder.put(row.astype(np.int32), _counts()[before])
        before = row
    raw = (levels[:, ::2] | levels[:, 1::2] << 4).tobytes()
    coded = encoder.finish()
    return coded if 0 < len(coded) < len(raw) else raw


def unpack(data: bytes, frames: int) -> np.ndarray:
    """Return the levels uint8 [S, POINTS] of a block of so many frames; of no bytes those that change nothing.

    Raises EntropyMismatch for bytes that the range coder finds invalid.
    """
    count = count_stretches(frames)
    if not data:
        return np.full((count, POINTS), FLAT, np.uint8)
    if len(data) == raw_equaliser_bytes(frames):
        pairs = np.frombuffer(data, np.uint8).reshape(count, -1)
        return np.stack([pairs & 15, pairs >> 4], -1).reshape(count, POINTS)
    decoder, rows = Decoder(data), [np.full(POINTS, FIRST)]
    for _ in range(count):
        rows.append(decoder.take(_counts()[rows[-1]]))
    return np.stack(rows[1:]).astype(np.uint8)
