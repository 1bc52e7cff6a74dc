"""A source as libsndfile and mutagen see it: only read, without its name, its errors kept for later."""

from __future__ import annotations

import os
from typing import BinaryIO

FARTHEST = (1 << 63) - 1  # what C code can hold as a position


class View:
    """A read-only view of a seekable stream; where needed with `inserted` in place of the `removed` bytes from `at` on.

    `error` is what went wrong when the stream was read: C code takes that for the end of the file. The view has a
    position of its own and moves that of the stream. Raises OSError when the stream cannot be moved in.
    """

    def __init__(self, stream: BinaryIO, at: int = 0, removed: int = 0, inserted: bytes = b"") -> None:
        self._stream, self._at, self._removed, self._inserted = stream, at, removed, inserted
        self._size = stream.seek(0, os.SEEK_END) - removed + len(inserted)
        self._position = 0
        self.error: OSError | None = None

    def read(self, size: int = -1) -> bytes:
        """Return `size` bytes, fewer at the end; nothing after an error."""
        left = max(self._size - self._position, 0)
        if 0 <= size < left:
            left = size
        parts = []
        while left and (part := self._part(left)):
            parts.append(part)
            left -= len(part)
            self._position += len(part)
        return b"".join(parts)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move and return the position; a place that no file has, out of a false length, leaves it where it is."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if 0 <= start + offset <= FARTHEST:
            self._position = start + offset
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def _part(self, count: int) -> bytes:
        """Return 1 to `count` bytes from the position on, none at the end and after an error."""
        within = self._position - self._at
        if 0 <= within < len(self._inserted):
            return self._inserted[within : within + count]
        if within < 0:
            return self._read(self._position, min(count, -within))
        return self._read(self._position - len(self._inserted) + self._removed, count)

    def _read(self, place: int, count: int) -> bytes:
        try:
            if self.error is None:
                self._stream.seek(place)
                return self._stream.read(count)
        except OSError as error:
            self.error = error
        return b""
