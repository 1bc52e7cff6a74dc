"""How many frames an MP3 file really has: libsndfile believes the header, or guesses by the first frame's bit rate.

It never reads more than that: without a count here the rest of joined files, and of files whose bit rate varies, would
be lost without a word.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import BinaryIO

from dacfile.audio.view import View, Window
from dacfile.errors import UnsupportedAudio

KILOBITS = {  # per second, by MPEG version 1 or not, and layer; for the values 1 to 14 in the header
    (True, 1): range(32, 449, 32),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
RATES = (44_100, 48_000, 32_000)  # Hz, of MPEG 1
HALVED = {3: 0, 2: 1, 0: 2}  # how often these are halved, by the version in the header: MPEG 1, 2, 2.5
KIND = 0xFFFE0C00  # sync, version, layer and sample rate in a frame header: the same in all frames of a file
SPARE_FRAMES = 2  # a header may or may not count itself, and a last frame that is cut off
ROOMY = 9 << 12  # a bit rate whose frames have room for a count, at any sample rate
NO_CRC = 1 << 16
COUNTS = (b"Xing", b"Info")
HAS_FRAMES = 1  # the flag of such a header that says it has the number of frames


@dataclass(frozen=True)
class Frames:
    """The frames of a file: bytes before the first, its header, the number of frames with audio, and of those it tells.

    `told` is None where no frame tells it, so that libsndfile would have to guess.
    """

    offset: int
    header: int
    count: int
    told: int | None


def count_frames(view: View) -> Frames | None:
    """Return what the frames of an MP3 file are, None when none are found; `view` is left at 0."""
    window = Window(view)
    found = _frames(window)
    first = next(found, None)
    count = sum(1 for _ in found)
    view.seek(0)
    if first is None:
        return None
    told = _told(window.at(*first[:2]), first[2])
    return Frames(first[0], first[2], count + (told is None), told)


def with_count(stream: BinaryIO, frames: Frames) -> View:
    """Return the stream with a frame before the first that tells their number, where none does in Layer III."""
    if frames.told is not None or _layer(frames.header) != 3:
        return View(stream)
    header = frames.header & ~0xF200 & 0xFFFFFFFF | ROOMY | NO_CRC
    tag = struct.pack(">4sII", COUNTS[0], HAS_FRAMES, frames.count)
    frame = (struct.pack(">I", header) + bytes(_side_bytes(header)) + tag).ljust(_frame_bytes(header), b"\0")
    return View(stream, frames.offset, 0, frame)


def check_mp3(frames: Frames, samples: int) -> None:
    """Raise UnsupportedAudio when a file has more frames than libsndfile reads, which are `samples` per channel."""
    expected = samples // _frame_samples(frames.header) if frames.told is None else frames.told
    if frames.count > expected + SPARE_FRAMES:
        raise UnsupportedAudio(
            f"several MP3 files in one, or a false header: only {expected} of {frames.count} frames could be read; "
            "split it, or have its header written anew"
        )


def _frames(window: Window) -> Iterator[tuple[int, int, int]]:
    """Yield place, bytes and header of each whole frame; tags and what else is between them is passed over."""
    offset, kind = 0, 0
    while len(head := window.at(offset, 4)) == 4:
        header = int.from_bytes(head)
        size = _frame_bytes(header)
        if size and (header & KIND == kind or _agrees(window.at(offset + size, 4), header)):
            if offset + size > window.size:
                return
            yield offset, size, header
            offset, kind = offset + size, header & KIND
        else:
            tag = _tag_bytes(window.at(offset, 32))
            offset, kind = offset + tag if tag else window.find(b"\xff", offset + 1), 0


def _agrees(head: bytes, header: int) -> bool:
    return len(head) == 4 and (int.from_bytes(head) ^ header) & KIND == 0


def _tag_bytes(head: bytes) -> int:
    """Return the bytes of the ID3 or APE tag that begins with these 32, 0 when there is none."""
    if head.startswith(b"ID3") and len(head) >= 10:
        size = sum((byte & 127) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
        return 10 + size + (10 if head[5] & 0x10 else 0)
    if head.startswith(b"APETAGEX") and len(head) == 32:
        return 32 + int.from_bytes(head[12:16], "little") * (head[23] >> 5 & 1)
    return 128 if head.startswith(b"TAG") else 0


@lru_cache(maxsize=1024)
def _frame_bytes(header: int) -> int:
    """Return the length of a frame with its header, 0 when there can be none with this header."""
    version, layer = header >> 19 & 3, _layer(header)
    bits, rate = header >> 12 & 15, header >> 10 & 3
    if header >> 21 != 0x7FF or version == 1 or layer == 4 or bits in (0, 15) or rate == 3:
        return 0
    hertz = RATES[rate] >> HALVED[version]
    slots = _frame_samples(header) * KILOBITS[version == 3, layer][bits - 1] * 125
    unit = 4 if layer == 1 else 1
    return (slots // unit // hertz + (header >> 9 & 1)) * unit


def _layer(header: int) -> int:
    """Return the layer, 1 to 3, or 4 for none."""
    return 4 - (header >> 17 & 3)


def _frame_samples(header: int) -> int:
    """Return the samples per channel of one frame."""
    layer = _layer(header)
    if layer == 1:
        return 384
    return 576 if layer == 3 and header >> 19 & 3 != 3 else 1152


def _side_bytes(header: int) -> int:
    """Return the bytes of the side information of Layer III, after which a count stands."""
    mono = header >> 6 & 3 == 3
    return (17 if mono else 32) if header >> 19 & 3 == 3 else (9 if mono else 17)


def _told(frame: bytes, header: int) -> int | None:
    """Return the number of frames that the first one tells, None when it is one like the others."""
    for start in (4 + _side_bytes(header), 6 + _side_bytes(header)):  # some count the checksum, others do not
        tag = frame[start : start + 12]
        if len(tag) == 12 and tag[:4] in COUNTS and tag[7] & HAS_FRAMES:
            return int.from_bytes(tag[8:])
    return None
