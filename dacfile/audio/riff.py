"""The little of RIFF/WAVE headers that libsndfile does not tell: the channel mask, and lengths that are wrong."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import BinaryIO

from dacfile.audio.chunks import chunks
from dacfile.audio.view import View

EXTENSIBLE = 0xFFFE  # wFormatTag of a `fmt ` chunk that carries a channel mask
UNKNOWN = (0xFFFFFFFF, (1 << 64) - 1)  # what programs that cannot seek back leave as the length of `data`; or 0
NEAR = 1 << 16  # such programs also take what is so little below 2 or 4 GiB
LARGEST = 0xFFFFFFFE  # what a RIFF length can say


@dataclass(frozen=True)
class WaveHeader:
    """What was found in a RIFF or RF64 header; offsets count from the start of the file."""

    channel_mask: int = 0
    mask_offset: int | None = None
    data_offset: int | None = None
    data_bytes: int = 0  # as the header says
    sample_bytes: int = 0  # that the file has
    size_offset: int = 0  # of the length that libsndfile goes by: 4 bytes, in RF64 8
    is_rf64: bool = False

    @property
    def note(self) -> str | None:
        """What a user should know of the length."""
        if self.data_bytes > self.sample_bytes and self.data_bytes not in UNKNOWN:
            return f"its header promises {self.data_bytes - self.sample_bytes} bytes more than the file has"
        if self.data_bytes != self.sample_bytes and self.sample_bytes:
            return "its header does not say how long it is: read to the end of the file"
        return None


def read_wave_header(stream: BinaryIO) -> WaveHeader | None:
    """Return what the RIFF/RF64 header of a seekable stream says, None when there is none; the stream is left at 0."""
    try:
        file_bytes = stream.seek(0, os.SEEK_END)
        stream.seek(0)
        head = stream.read(12)
        if len(head) < 12 or head[:4] not in (b"RIFF", b"RF64") or head[8:] != b"WAVE":
            return None
        return _walk(stream, file_bytes, head[:4] == b"RF64")
    finally:
        stream.seek(0)


def with_true_length(stream: BinaryIO, header: WaveHeader) -> View:
    """Return the stream as if its header told the length of the samples; beyond 4 GiB as RF64, which can."""
    length = header.sample_bytes
    if header.data_offset is None:
        return View(stream)
    if header.is_rf64:
        return View(stream, header.size_offset, 8, struct.pack("<Q", length))
    if length <= LARGEST:
        return View(stream, header.size_offset, 4, struct.pack("<I", length))
    sizes = struct.pack("<4sIQQQI", b"ds64", 28, header.data_offset + 28 + length, length, 0, 0)
    return View(stream, 0, 12, b"RF64\xff\xff\xff\xffWAVE" + sizes)


def write_channel_mask(stream: BinaryIO, channel_mask: int) -> None:
    """Put a channel mask into a WAVE file that has just been written, if its header has a place for one."""
    end = stream.seek(0, os.SEEK_END)
    header = read_wave_header(stream)
    if header is not None and header.mask_offset is not None:
        stream.seek(header.mask_offset)
        stream.write(struct.pack("<I", channel_mask))
    stream.seek(end)


def _walk(stream: BinaryIO, file_bytes: int, is_rf64: bool) -> WaveHeader:
    mask, mask_offset, sizes_offset, long_bytes = 0, None, None, 0
    for offset, kind, length in chunks(stream, 12, "<"):
        if kind == b"data":
            if sizes_offset and (long_bytes or length == UNKNOWN[0]):  # which here stands for "see ds64"
                declared = long_bytes
            else:
                declared = length
            found = _sample_bytes(stream, offset + 8, declared, file_bytes, is_rf64)
            size_offset = offset + 4 if sizes_offset is None else sizes_offset
            return WaveHeader(mask, mask_offset, offset + 8, declared, found, size_offset, sizes_offset is not None)
        if kind == b"fmt " and length >= 40:
            fmt = stream.read(24)
            if len(fmt) == 24 and struct.unpack_from("<H", fmt)[0] == EXTENSIBLE:
                mask, mask_offset = struct.unpack_from("<I", fmt, 20)[0], offset + 28
        if kind == b"ds64" and is_rf64:
            sizes = stream.read(16)
            if len(sizes) == 16:
                sizes_offset, long_bytes = offset + 16, struct.unpack_from("<Q", sizes, 8)[0]
    return WaveHeader(mask, mask_offset, is_rf64=is_rf64)


def _sample_bytes(stream: BinaryIO, offset: int, declared: int, file_bytes: int, is_rf64: bool) -> int:
    """Return how many bytes of samples there are, by what follows them where the declared length can be false."""
    present = file_bytes - offset
    if declared in UNKNOWN or declared >= present:
        return present
    if not declared:
        return 0 if present >= 8 and _ends_in_chunks(stream, offset, file_bytes) else present
    if is_rf64:
        return declared
    wrapped = declared + ((present - declared) >> 32 << 32)  # the programs that write it count on, past 4 GiB
    doubtful = wrapped > declared or -declared % (1 << 31) < NEAR
    return wrapped if not doubtful or _ends_in_chunks(stream, offset + wrapped, file_bytes) else present


def _ends_in_chunks(stream: BinaryIO, offset: int, file_bytes: int) -> bool:
    """Say whether from `offset` to the end of the file there are chunks alone; samples would hardly look like them."""
    offset += offset % 2
    for place, kind, length in chunks(stream, offset, "<"):
        if not all(0x20 <= letter < 0x7F for letter in kind):
            return False
        offset = place + 8 + length
    return file_bytes - 1 <= offset <= file_bytes + 1
