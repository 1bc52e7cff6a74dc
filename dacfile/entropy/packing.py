"""Raw layers: codes as fixed-width bit fields, the first code in the lowest bits of the first byte."""

from __future__ import annotations

import numpy as np


def bits_per_code(codebook_size: int) -> int:
    """Return the width in bits of a raw code of a codebook with `codebook_size` entries."""
    return max(1, (codebook_size - 1).bit_length())


def raw_size(frames: int, codebook_size: int) -> int:
    """Return the bytes of a raw layer of `frames` codes; a range-coded layer is always shorter."""
    return (frames * bits_per_code(codebook_size) + 7) // 8


def pack(codes: np.ndarray, codebook_size: int) -> bytes:
    """Pack uint16 `codes` [frames] into `raw_size` bytes; unused high bits of the last byte are zero."""
    bits = bits_per_code(codebook_size)
    fields = (codes[:, None] >> np.arange(bits, dtype=np.uint16)) & 1
    return np.packbits(fields.astype(np.uint8), bitorder="little").tobytes()


def unpack(data: bytes, frames: int, codebook_size: int) -> np.ndarray:
    """Return the uint16 codes [frames] of a raw layer; `data` must hold `raw_size` bytes."""
    bits = bits_per_code(codebook_size)
    fields = np.unpackbits(np.frombuffer(data, np.uint8), count=frames * bits, bitorder="little").reshape(frames, bits)
    return (fields.astype(np.uint16) << np.arange(bits, dtype=np.uint16)).sum(1, dtype=np.uint16)
