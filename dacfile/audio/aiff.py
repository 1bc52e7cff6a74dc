"""The lengths in AIFF files, which libsndfile does not always write right."""

from __future__ import annotations

import os
import struct
from typing import BinaryIO

from dacfile.audio.chunks import chunks


def write_lengths(stream: BinaryIO, frames: int, frame_bytes: int) -> None:
    """Make a finished AIFF file one of so many frames, whose samples are its last chunk; the stream is left at its end.

    libsndfile counts the byte that fills up an odd number of them as a sample, and where there are only a few, what is
    left of the longer header that it wrote first.
    """
    length = 8 + frames * frame_bytes
    for offset, kind, _ in list(chunks(stream, 12, ">")):
        if kind == b"COMM":
            stream.seek(offset + 10)
            stream.write(struct.pack(">I", frames))
        if kind == b"SSND":
            _end_at(stream, offset, length)
            break
    stream.seek(0, os.SEEK_END)


def _end_at(stream: BinaryIO, offset: int, length: int) -> None:
    """Let the chunk at `offset` with so many bytes be the last; a filling byte makes them even."""
    stream.seek(offset + 4)
    stream.write(struct.pack(">I", length))
    end = offset + 8 + length
    stream.truncate(end)
    if length % 2:
        stream.seek(end)
        stream.write(b"\0")
    stream.seek(4)
    stream.write(struct.pack(">I", end + length % 2 - 8))
