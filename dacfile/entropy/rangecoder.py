"""The range coder of spec/priors.md, section "Range coder"; the only module that knows `constriction`.

Probabilities come as integer counts whose sum over the alphabet of N symbols is exactly `2**24 - N`; symbol i then has
the probability `(counts[i] + 1) / 2**24`, with no rounding anywhere (constriction's quantiser becomes the identity).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import constriction
import numpy as np

from dacfile.errors import EntropyMismatch

PRECISION = 24
WORD_BYTES = 4
_MASK64 = (1 << 64) - 1
_FAMILY = constriction.stream.model.Categorical(perfect=False)
_CHECK_COUNTS = (
    (16_777_212, 0, 0, 0),
    (4_194_304, 8_388_608, 4_194_299, 1),
    (0, 0, 0, 16_777_212),
    (1, 2, 3, 16_777_206),
)
_CHECK_SYMBOLS = (0, 1, 3, 2, 0, 3, 2, 1)
_CHECK_BYTES = "4000063ffdad7ffb07fff808"

Result = TypeVar("Result")


def total_count(symbols: int) -> int:
    """Return what the counts of an alphabet of `symbols` symbols must sum to."""
    return (1 << PRECISION) - symbols


def _guarded(call: Callable[..., Result], *arguments: Any) -> Result:
    """Call into constriction; its AssertionError, KeyError and PanicException (a BaseException) mean invalid data."""
    try:
        return call(*arguments)
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:
        raise EntropyMismatch(f"range coder: impossible data ({type(error).__name__}): wrong prior?") from error


def _one_model(counts: np.ndarray) -> Any:
    return constriction.stream.model.Categorical(counts, perfect=False)


class Encoder:
    """Codes symbols into one stream; `finish` returns its bytes."""

    def __init__(self) -> None:
        self_check()
        self._coder = constriction.stream.queue.RangeEncoder()

    def put(self, symbols: np.ndarray, counts: np.ndarray) -> None:
        """Code int32 `symbols` [n]; float32 or float64 `counts` [n, N], or [N] for one table that serves all."""
        if counts.ndim == 1:
            _guarded(self._coder.encode, symbols, _one_model(counts))
        else:
            _guarded(self._coder.encode, symbols, _FAMILY, counts)

    def finish(self) -> bytes:
        """Return the stream as big-endian words, cut after the last byte that a zero-padding reader needs."""
        words = self._coder.get_compressed()
        _, (lower, width) = self._coder.pos()
        return _shortened(words, int(lower), int(width))


def _shortened(words: np.ndarray, lower: int, width: int) -> bytes:
    """Replace the sealing words by the shortest bytes that name a point inside `[lower, lower + width)`."""
    if not len(words):
        return b""
    point = (lower + (1 << 32) - 1) >> 32 & 0xFFFFFFFF
    sealed_with_two = point == (lower + width & _MASK64) >> 32
    data = words[: len(words) - 1 - sealed_with_two].astype(">u4").tobytes()
    for kept in range(WORD_BYTES):
        step = 1 << 8 * (WORD_BYTES - kept)
        rounded = -(-point // step) * step
        if rounded < 1 << 32 and ((rounded << 32) - lower & _MASK64) < width:
            return data + rounded.to_bytes(WORD_BYTES, "big")[:kept]
    return data + point.to_bytes(WORD_BYTES, "big")


class Decoder:
    """Decodes the symbols of one stream in the order in which they were coded; bytes past the end read as zeros."""

    def __init__(self, data: bytes) -> None:
        self_check()
        padded = data + bytes(-len(data) % WORD_BYTES)
        words = np.frombuffer(padded, ">u4").astype(np.uint32)
        self._decode = _guarded(constriction.stream.queue.RangeDecoder, words).decode

    def take(self, counts: np.ndarray) -> np.ndarray:
        """Decode one symbol for each row of float `counts` [n, N]; returns int32 [n]. Raises EntropyMismatch."""
        if not len(counts):
            return np.zeros(0, np.int32)
        return _guarded(self._decode, _FAMILY, counts)

    def take_same(self, counts: np.ndarray, amount: int) -> np.ndarray:
        """Decode `amount` symbols of one table `counts` [N]. The caller has checked `amount` against the block."""
        if amount <= 0:
            return np.zeros(0, np.int32)
        return _guarded(self._decode, _one_model(counts), amount)


@cache
def self_check() -> None:
    """Code eight symbols once per process and compare with known bytes. Raises EntropyMismatch if they differ."""
    coder = constriction.stream.queue.RangeEncoder()
    for symbol, row in zip(_CHECK_SYMBOLS, _CHECK_COUNTS * 2, strict=True):
        coder.encode(np.array([symbol], np.int32), _one_model(np.array(row, np.float32)))
    words = coder.get_compressed().astype(">u4").tobytes().hex()
    if words != _CHECK_BYTES:
        raise EntropyMismatch("the installed constriction codes other bytes than the format defines; install 0.5.0")
