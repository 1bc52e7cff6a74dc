"""The little of RIFF/WAVE headers that libsndfile does not tell: the channel mask, and lengths that are wrong."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import BinaryIO

from dacfile.audio.view import View

EXTENSIBLE = 0xFFFE  # wFormatTag of a `fmt ` chunk that carries a channel mask
MAX_CHUNKS = 1_000  # before `data`; real files have a handful
UNKNOWN = (0, 0xFFFFFFFF)  # what programs that cannot seek back leave as the length of `data`


@dataclass(frozen=True)
class WaveHeader:
    """What was found in a RIFF or RF64 header; offsets count from the start of the file."""

    channel_mask: int = 0
    mask_offset: int | None = None
    data_offset: int | None = None
    data_bytes: int = 0  # as the header says; of RF64 0xFFFFFFFF
    file_bytes: int = 0

    @property
    def data_unknown(self) -> bool:
        """Whether the length of the samples was never filled in."""
        return self.data_bytes in UNKNOWN and self.present > 0

    @property
    def present(self) -> int:
        """Bytes of the file after the header of its `data` chunk."""
        return 0 if self.data_offset is None else self.file_bytes - self.data_offset

    @property
    def missing(self) -> int:
        """Bytes of samples that the header promises and the file does not have."""
        known = self.data_offset is not None and self.data_bytes not in UNKNOWN
        return max(self.data_bytes - self.present, 0) if known else 0


def read_wave_header(stream: BinaryIO) -> WaveHeader | None:
    """Return what the RIFF/RF64 header of a seekable stream says, None when there is none; the stream is left at 0."""
    try:
        file_bytes = stream.seek(0, os.SEEK_END)
        stream.seek(0)
        head = stream.read(12)
        if len(head) < 12 or head[:4] not in (b"RIFF", b"RF64") or head[8:] != b"WAVE":
            return None
        return _walk(stream, file_bytes)
    finally:
        stream.seek(0)


def _walk(stream: BinaryIO, file_bytes: int) -> WaveHeader:
    mask, mask_offset, offset = 0, None, 12
    for _ in range(MAX_CHUNKS):
        stream.seek(offset)
        head = stream.read(8)
        if len(head) < 8:
            break
        kind, length = head[:4], struct.unpack("<I", head[4:])[0]
        if kind == b"data":
            return WaveHeader(mask, mask_offset, offset + 8, length, file_bytes)
        if kind == b"fmt " and length >= 40:
            fmt = stream.read(24)
            if len(fmt) == 24 and struct.unpack_from("<H", fmt)[0] == EXTENSIBLE:
                mask, mask_offset = struct.unpack_from("<I", fmt, 20)[0], offset + 28
        offset += 8 + length + length % 2
    return WaveHeader(mask, mask_offset, None, 0, file_bytes)


def with_data_length(stream: BinaryIO, header: WaveHeader) -> View:
    """Return the stream as if its `data` chunk reached to the end of the file, or as far as a RIFF length can say."""
    if header.data_offset is None:
        raise ValueError("a header without data chunk has no length to replace")
    length = min(header.present, 0xFFFFFFFE)
    return View(stream, header.data_offset - 4, 4, struct.pack("<I", length))


def write_channel_mask(stream: BinaryIO, channel_mask: int) -> None:
    """Put a channel mask into a WAVE file that has just been written, if its header has a place for one."""
    end = stream.seek(0, os.SEEK_END)
    header = read_wave_header(stream)
    if header is not None and header.mask_offset is not None:
        stream.seek(header.mask_offset)
        stream.write(struct.pack("<I", channel_mask))
    stream.seek(end)
