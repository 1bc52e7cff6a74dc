"""Reading bytes that may be hostile, from files and pipes: nothing is allocated from an unchecked number."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import BinaryIO

from dacfile.errors import Truncated

# Pieces in which bytes are asked for: `read(n)` allocates n bytes at once even if the file has thirty.
PIECE = 1 << 16


class ByteSource:
    """A position in a stream, with exact reads; `size` is None for what cannot seek."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.size = _size(stream)
        self.position = 0
        if self.size is not None:
            stream.seek(0)

    @property
    def seekable(self) -> bool:
        """Say whether `seek` works."""
        return self.size is not None

    def seek(self, position: int) -> None:
        """Go to `position`, counted from the start of the file; only where `seekable`."""
        self._stream.seek(position)
        self.position = position

    def require(self, count: int, what: str) -> None:
        """Raise `Truncated` if it is known that fewer than `count` bytes are left."""
        if self.size is not None and count > self.size - self.position:
            raise Truncated(f"the file ends inside {what} (at byte {self.size}): it was cut off")

    def pieces(self, count: int, what: str) -> Iterator[bytes]:
        """Yield `count` bytes in pieces of at most 64 KiB; raises `Truncated` if there are fewer."""
        self.require(count, what)
        while count:
            piece = self._stream.read(min(count, PIECE))
            if not piece:
                raise Truncated(f"the data end inside {what} (at byte {self.position}): they were cut off")
            self.position += len(piece)
            count -= len(piece)
            yield piece

    def read(self, count: int, what: str) -> bytes:
        """Return exactly `count` bytes; raises `Truncated`."""
        return b"".join(self.pieces(count, what))

    def at_end(self) -> bool:
        """Say whether no byte is left."""
        return not self._stream.read(1)

    def read_up_to(self, count: int) -> bytes:
        """Return `count` bytes, or fewer at the end of the data; for a `count` that is a constant."""
        parts: list[bytes] = []
        while count and (piece := self._stream.read(count)):
            parts.append(piece)
            count -= len(piece)
            self.position += len(piece)
        return b"".join(parts)


def _size(stream: BinaryIO) -> int | None:
    try:
        return stream.seek(0, io.SEEK_END) if stream.seekable() else None
    except (AttributeError, OSError):
        return None
