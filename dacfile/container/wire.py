"""Bytes of the frame that holds a `.dacz` file together: magic, chunks, index and tail (spec sections 3, 7 and 8).

Pure functions between bytes and dataclasses; no files. All integers are little-endian.
"""

from __future__ import annotations

import re
import struct
import zlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from dacfile.errors import ChecksumError, NotDacz, StructureError

# PNG's trick with other letters: a high bit, CR-LF, ctrl-Z and LF show every kind of text-mode damage at once.
MAGIC = b"\x89DCZ\r\n\x1a\n"
# The same bytes reversed: one look at the end of a file tells whether it is all there.
END = MAGIC[::-1]

CHUNK_HEADER = struct.Struct("<4sI")  # type, length of the payload
CRC = struct.Struct("<I")
CHUNK_OVERHEAD = CHUNK_HEADER.size + CRC.size

HEAD, TAGS, PICTURE, LOST = b"HEAD", b"tags", b"pict", b"lost"
BLOCK, HEAD_COPY, INDEX, TAIL = b"BLOC", b"hcpy", b"indx", b"TAIL"
# The order of the known chunks; those named in ONCE appear once at most. Unknown ones may stand anywhere between.
ORDER = {HEAD: 0, TAGS: 1, PICTURE: 2, LOST: 3, BLOCK: 4, HEAD_COPY: 5, INDEX: 6, TAIL: 7}
ONCE = frozenset((HEAD, TAGS, LOST, HEAD_COPY, INDEX, TAIL))

_TYPE = re.compile(rb"[A-Za-z]{4}")
_TAIL = struct.Struct("<QQIQQ32s16s")
_COUNT = struct.Struct("<I")
_RANGE = struct.Struct("<II")

TAIL_BYTES = _TAIL.size
TAIL_CHUNK_BYTES = CHUNK_OVERHEAD + TAIL_BYTES
U32_MAX = 0xFFFFFFFF

_FOREIGN = (
    (b"\x89DCZ\n\x1a\n", "its line ends were changed (CR-LF to LF): copy it again in binary mode"),
    (b"\x89DCZ\r\r\n", "its line ends were changed (LF to CR-LF): copy it again in binary mode"),
    (b"\x09DCZ", "its high bits were cleared by a 7-bit transfer: copy it again in binary mode"),
    (b"\xc2\x89DCZ", "it was re-encoded as UTF-8 text: copy it again in binary mode"),
    (b"\xef\xbf\xbdDCZ", "it was decoded as text, which cannot be undone: copy it again in binary mode"),
    (b"\x93NUMPY", "it looks like a .dac file of descript-audio-codec, which dacfile does not read"),
    (b"ECDC", "it looks like an EnCodec file (.ecdc), which dacfile does not read"),
    (b"RIFF", "it looks like a WAV file: use dacz compress"),
    (b"RIFX", "it looks like a WAV file: use dacz compress"),
    (b"RF64", "it looks like a WAV file: use dacz compress"),
    (b"FORM", "it looks like an AIFF file: use dacz compress"),
    (b"fLaC", "it looks like a FLAC file: use dacz compress"),
    (b"OggS", "it looks like an Ogg file: use dacz compress"),
    (b"ID3", "it looks like an MP3 file: use dacz compress"),
    (b"\xff\xfb", "it looks like an MP3 file: use dacz compress"),
)


@dataclass(frozen=True)
class Tail:
    """Facts known only when all blocks are written, and digests (spec section 8).

    `source_samples` is per channel at the source rate; `source_digest` (16 bytes) is of the source samples, zero if
    not recorded; `sha256` covers every byte before the TAIL chunk.
    """

    source_samples: int
    total_frames: int
    blocks: int
    index_offset: int
    file_size: int
    sha256: bytes
    source_digest: bytes


@dataclass(frozen=True)
class OtherChunk:
    """An ancillary chunk that this version does not know; `before_block` blocks came before it."""

    type: bytes
    payload: bytes
    before_block: int


def checksum(data: bytes, start: int = 0) -> int:
    """Return the CRC-32 of `data` (as in zlib, PNG, gzip), continued from `start`."""
    return zlib.crc32(data, start)


def checksum_matches(stored: int, computed: int) -> bool:
    """Say whether a CRC is right; the one place for it, so that a fuzzer can look behind the CRCs."""
    return stored == computed


def check_magic(first: bytes) -> None:
    """Raise `NotDacz`, with a hint at what the file may be, unless `first` (8 bytes) is the magic."""
    if first == MAGIC:
        return
    if not first:
        raise NotDacz("not a .dacz file: it is empty")
    for prefix, hint in _FOREIGN:
        if first.startswith(prefix):
            raise NotDacz(f"not a .dacz file: {hint}")
    raise NotDacz("not a .dacz file: it does not start with the .dacz magic")


def is_chunk_type(kind: bytes) -> bool:
    """Say whether `kind` is four ASCII letters."""
    return _TYPE.fullmatch(kind) is not None


def is_critical(kind: bytes) -> bool:
    """Say whether a reader must understand chunks of this type (upper-case first letter)."""
    return kind[:1].isupper()


def pack_chunk(kind: bytes, payload: bytes) -> bytes:
    """Return the chunk: type, length, payload, CRC-32 over all three."""
    body = CHUNK_HEADER.pack(kind, len(payload)) + payload
    return body + CRC.pack(checksum(body))


def check_chunk_crc(kind: bytes, offset: int, stored: int, computed: int) -> None:
    """Raise `ChecksumError` unless the chunk's CRC is right."""
    if not checksum_matches(stored, computed):
        raise ChecksumError(f"chunk {kind.decode()} at byte {offset} is damaged: its CRC does not match")


def pack_index(distances: Sequence[int]) -> bytes:
    """Return the `indx` payload: the distance in bytes from each block to the next (the last: to its own end)."""
    return _COUNT.pack(len(distances)) + struct.pack(f"<{len(distances)}I", *distances)


def parse_index(payload: bytes) -> tuple[int, ...]:
    """Return the distances of an `indx` payload; raises `StructureError` if its length disagrees with its count."""
    if len(payload) < _COUNT.size or len(payload) != _COUNT.size + 4 * _COUNT.unpack_from(payload)[0]:
        raise StructureError("index: its length disagrees with the number of its entries")
    return struct.unpack_from(f"<{len(payload) // 4 - 1}I", payload, _COUNT.size)


def block_offsets(distances: Sequence[int], first: int) -> array[int]:
    """Return each block's byte offset and, at the end, the offset after the last one."""
    return array("Q", accumulate(distances, initial=first))


def pack_lost(ranges: Sequence[tuple[int, int]]) -> bytes:
    """Return the `lost` payload: (first block, number of blocks) of every gap that salvage filled with silence."""
    return b"".join((_COUNT.pack(len(ranges)), *(_RANGE.pack(*one) for one in ranges)))


def parse_lost(payload: bytes) -> tuple[tuple[int, int], ...]:
    """Return the gaps of a `lost` payload; raises `StructureError` unless they are ascending and apart."""
    if len(payload) < _COUNT.size or len(payload) != _COUNT.size + 8 * _COUNT.unpack_from(payload)[0]:
        raise StructureError("lost: its length disagrees with the number of its entries")
    ranges: tuple[tuple[int, int], ...] = tuple(_RANGE.iter_unpack(payload[_COUNT.size :]))
    end = -1
    for first, count in ranges:
        if first <= end or count == 0:
            raise StructureError("lost: its entries are empty or out of order")
        end = first + count
    return ranges


def pack_tail(tail: Tail) -> bytes:
    """Return the TAIL payload, 84 bytes."""
    return _TAIL.pack(
        tail.source_samples,
        tail.total_frames,
        tail.blocks,
        tail.index_offset,
        tail.file_size,
        tail.sha256,
        tail.source_digest,
    )


def parse_tail(payload: bytes) -> Tail:
    """Return the fields of a TAIL payload; raises `StructureError` unless it has 84 bytes."""
    if len(payload) != TAIL_BYTES:
        raise StructureError(f"TAIL has {len(payload)} bytes, not {TAIL_BYTES}")
    return Tail(*_TAIL.unpack(payload))
