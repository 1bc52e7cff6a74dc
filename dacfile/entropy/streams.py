"""The decoder of spec/priors.md, section 2, for many streams at once: a symbol of each of them in one call.

`dacfile.entropy.rangecoder` decodes one stream, and as many symbols of it as have their counts. Layers that look at
their own past have the counts of one symbol only, so there many streams go side by side. The tests compare both.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from dacfile.entropy.rangecoder import PRECISION, WORD_BYTES
from dacfile.errors import EntropyMismatch

_ONE = float(1 << PRECISION)
_PRECISION, _WORD = np.uint64(PRECISION), np.uint64(8 * WORD_BYTES)
_SMALL = np.uint64(1 << 32)


class Streams:
    """The state of several range decoders: uint64 arrays [streams]; bytes past the end of a stream read as zeros."""

    def __init__(self, data: Sequence[bytes]) -> None:
        padded = [stream + bytes(-len(stream) % WORD_BYTES + WORD_BYTES) for stream in data]
        self._words = np.frombuffer(b"".join(padded), ">u4").astype(np.uint64)
        sizes = np.array([len(stream) // WORD_BYTES for stream in padded], np.int64)
        self._next = np.cumsum(sizes) - sizes
        self._end = self._next + sizes - 1  # the zero word after each stream
        everything = np.arange(len(data))
        self._offset = self._word(everything) << _WORD  # of the point named by the stream, above `low`
        self._offset |= self._word(everything)
        self._range = np.full(len(data), (1 << 64) - 1, np.uint64)

    def _word(self, rows: np.ndarray) -> np.ndarray:
        at = self._next[rows]
        self._next[rows] = np.minimum(at + 1, self._end[rows])
        return self._words[at]

    def select(self, rows: np.ndarray) -> Streams:
        """Return some of the streams; `restore` puts their state back."""
        part = object.__new__(Streams)
        part._words, part._end = self._words, self._end[rows]
        part._next, part._offset, part._range = self._next[rows], self._offset[rows], self._range[rows]
        return part

    def restore(self, rows: np.ndarray, part: Streams) -> None:
        """Go on from the state of what `select(rows)` returned."""
        self._next[rows], self._offset[rows], self._range[rows] = part._next, part._offset, part._range

    def take(self, shares: np.ndarray) -> np.ndarray:
        """Decode a symbol of every stream; float64 `shares` [streams, M] as `softmax.shares_of` returns them.

        Returns int64 [streams]. Raises EntropyMismatch for impossible data.
        """
        bounds, missing = _bounds(shares)
        unit = self._range >> _PRECISION
        point = (self._offset // unit).astype(np.float64)
        if np.maximum.reduce(point) >= _ONE:
            raise EntropyMismatch("range coder: impossible data: wrong prior?")
        symbols = np.add.reduce(bounds[:, 1:] <= (point - missing)[:, None], 1)
        at = symbols + _multiples(len(bounds), bounds.shape[1])
        left, right = bounds.take(at), bounds.take(at + 1)
        self._offset -= unit * (left + missing).astype(np.uint64)
        self._range = unit * (right - left).astype(np.uint64)
        self._shift()
        return symbols

    def _shift(self) -> None:
        (rows,) = (self._range < _SMALL).nonzero()
        if len(rows):
            self._range[rows] <<= _WORD
            self._offset[rows] = (self._offset[rows] << _WORD) | self._word(rows)


def _bounds(shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (bounds [n, M + 1], missing [n]): symbol s has the interval bounds[s : s + 2] + missing, in 2**-24.

    `missing` is what the first count lacks; the first bound is set so that the first interval begins at 0.
    """
    bounds = np.empty((len(shares), shares.shape[1] + 1))
    np.add.accumulate(shares, 1, out=bounds[:, 1:])
    bounds[:, 1:] += _ramp(shares.shape[1])
    missing = _ONE - bounds[:, -1]
    np.negative(missing, out=bounds[:, 0])
    return bounds, missing


@lru_cache(maxsize=64)
def _multiples(amount: int, step: int) -> np.ndarray:
    return np.arange(amount) * step


@lru_cache(maxsize=64)
def _ramp(symbols: int) -> np.ndarray:
    return np.arange(1.0, symbols + 1)
