"""A source as libsndfile and mutagen see it: only read, without its name, its errors kept for later."""

from __future__ import annotations

import os
from typing import BinaryIO

FARTHEST = (1 << 63) - 1  # what C code can hold as a position
BLOCK = 1 << 16


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


class Window:
    """Random access to a view through one block of it, for walks from page to page or from frame to frame.

    Raises OSError when the view has met one: a walk that ended there would have counted too few.
    """

    def __init__(self, view: View) -> None:
        self._view = view
        self.size = view.seek(0, os.SEEK_END)
        self._start, self._data = 0, b""

    def at(self, offset: int, count: int) -> bytes:
        """Return `count` bytes from `offset` on, fewer at the end."""
        low = offset - self._start
        if low < 0 or low + count > len(self._data):
            self._view.seek(offset)
            self._start, self._data, low = offset, self._view.read(max(count, BLOCK)), 0
            if self._view.error is not None:
                raise self._view.error
        return self._data[low : low + count]

    def find(self, mark: bytes, offset: int) -> int:
        """Return where `mark` is found next from `offset` on, or the size."""
        while self.at(offset, len(mark)):
            place = self._data.find(mark, offset - self._start)
            if place >= 0:
                return self._start + place
            offset = max(self._start + len(self._data) - len(mark), offset) + 1
        return self.size
