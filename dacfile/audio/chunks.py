"""The chunks that RIFF and AIFF files are made of."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

MAX_CHUNKS = 1_000  # real files have a handful


def chunks(stream: BinaryIO, offset: int, order: str) -> Iterator[tuple[int, bytes, int]]:
    """Yield place, name and length of the chunks from `offset` on; the stream is at the content of each.

    `order` is that of the bytes of a length, as `struct` has it: "<" in RIFF, ">" in AIFF.
    """
    for _ in range(MAX_CHUNKS):
        stream.seek(offset)
        head = stream.read(8)
        if len(head) < 8:
            return
        kind, length = struct.unpack(f"{order}4sI", head)
        yield offset, kind, length
        offset += 8 + length + length % 2
