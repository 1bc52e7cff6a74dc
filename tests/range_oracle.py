"""The range coder of the spec in plain Python integers: slow, independent of any library, used as oracle in tests."""

from __future__ import annotations

import bisect
from collections.abc import Sequence

WORD = 1 << 32
MASK64 = (1 << 64) - 1


def cumulative(counts: Sequence[int]) -> list[int]:
    """Left edges of the symbols' intervals in units of 2**-24, and 2**24 at the end."""
    edges = [0]
    for count in counts:
        edges.append(edges[-1] + int(count) + 1)
    if edges[-1] != 1 << 24:
        raise ValueError("counts must sum to 2^24 - N")
    return edges


def encode(symbols: Sequence[int], tables: Sequence[Sequence[int]]) -> list[int]:
    """Return constriction's 32-bit words; one unbounded integer stands in for its carry handling."""
    low, width, words = 0, MASK64, 0
    for symbol, edges in zip(symbols, map(cumulative, tables), strict=True):
        unit = width >> 24
        low += unit * edges[symbol]
        width = unit * (edges[symbol + 1] - edges[symbol])
        if width < WORD:
            low, width, words = low << 32, width << 32, words + 1
    if not symbols:
        return []
    sealed = (low + WORD - 1) >> 32
    out = [(sealed >> 32 * (words - i)) % WORD for i in range(words + 1)]
    return out + [0] * (sealed % WORD == (low + width & MASK64) >> 32)


class Decoder:
    """Reads symbols from the bytes of a stream; bytes past the end are zeros."""

    def __init__(self, data: bytes) -> None:
        self.data, self.position, self.low, self.width = data, 0, 0, MASK64
        self.point = self.word() << 32 | self.word()

    def word(self) -> int:
        chunk = self.data[self.position : self.position + 4].ljust(4, b"\0")
        self.position += 4
        return int.from_bytes(chunk, "big")

    def symbol(self, counts: Sequence[int]) -> int:
        edges = cumulative(counts)
        unit = self.width >> 24
        quantile = (self.point - self.low & MASK64) // unit
        if quantile >= 1 << 24:
            raise ValueError("invalid data")
        symbol = bisect.bisect_right(edges, quantile) - 1
        self.low = self.low + unit * edges[symbol] & MASK64
        self.width = unit * (edges[symbol + 1] - edges[symbol])
        if self.width < WORD:
            self.low, self.width = self.low << 32 & MASK64, self.width << 32
            self.point = (self.point << 32 & MASK64) | self.word()
        return symbol
