"""Finding the intact chunks of a damaged file, wherever they are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain

from dacfile.errors import ChecksumError, DaczError, UnsupportedFeature
from dacfile.limits import Limits

from . import wire
from .block import Block, max_block_bytes, min_block_bytes, parse_block
from .head import Head, check_tail, parse_head
from .source import ByteSource
from .tags import Picture, parse_picture, parse_tags

_KNOWN = re.compile(b"|".join(wire.ORDER))
_WINDOW = 1 << 20


@dataclass
class Found:
    """The intact parts of a damaged file; `blocks` maps a sequence number to (offset, frames)."""

    head: Head
    head_is_copy: bool
    blocks: dict[int, tuple[int, int]] = field(default_factory=dict)
    last: Block | None = None  # the block that says it is the last one
    tags: tuple[tuple[str, str], ...] = ()
    pictures: list[Picture] = field(default_factory=list)
    lost: tuple[tuple[int, int], ...] = ()
    others: list[wire.OtherChunk] = field(default_factory=list)
    tail: wire.Tail | None = None


class Scanner:
    """Looks for intact chunks in a stream that can seek.

    A chunk counts only if its CRC is right. Hostile files could make every byte look like the start of a large
    chunk, so blocks have to make sense before their CRC is computed, and for the other types there is a budget.
    """

    def __init__(self, source: ByteSource, limits: Limits) -> None:
        self._source, self._limits = source, limits
        self._size = source.size or 0
        self._budget = 4 * self._size + (64 << 20)

    def scan(self) -> Found:
        """Return all intact parts; raises `ChecksumError` if neither HEAD nor its copy is among them."""
        found = self.find_head()
        for offset in self._candidates(found.head):
            self._take(found, offset)
        return found

    def most_blocks(self, head: Head) -> int:
        """Return how many blocks a file may have had of which this is what is left.

        A sequence number of a few bytes must not ask for gigabytes of silence: at least about a sixteenth of the
        smallest possible file has to be there.
        """
        possible = self._size // (wire.CHUNK_OVERHEAD + min_block_bytes(head))
        return min(16 * possible + 4_096, self._limits.blocks)

    def block(self, offset: int, head: Head) -> Block:
        """Return the block whose chunk `scan` found at `offset`."""
        return parse_block(self._payload(offset)[1], head)

    def find_head(self) -> Found:
        """Return what is found with nothing but a head in it; raises `ChecksumError` if there is no intact one."""
        for offset in chain((len(wire.MAGIC),), self._matches(0)):
            kind, length = self._header(offset)
            if kind in (wire.HEAD, wire.HEAD_COPY) and length <= self._limits.head_bytes and self._is_intact(offset):
                return Found(parse_head(self._payload(offset)[1], self._limits), kind == wire.HEAD_COPY)
        raise ChecksumError("neither the header nor its copy is intact: nothing can be saved")

    def _candidates(self, head: Head) -> Iterator[int]:
        """Yield the offsets of intact chunks: each where the one before ends, or where a known type is found."""
        offset = len(wire.MAGIC)
        matches = self._matches(offset)
        while offset < self._size:
            end = self._intact_end(offset, head)
            if end:
                yield offset
                offset = end
            else:
                offset = self._next_match(matches, offset)

    def _next_match(self, matches: Iterator[int], offset: int) -> int:
        return next((match for match in matches if match > offset), self._size)

    def _intact_end(self, offset: int, head: Head) -> int:
        """Return where the chunk at `offset` ends, or 0 if there is no intact one."""
        kind, length = self._header(offset)
        end = offset + wire.CHUNK_OVERHEAD + length
        if not wire.is_chunk_type(kind) or end > self._size or (wire.is_critical(kind) and kind not in wire.ORDER):
            return 0
        if kind == wire.BLOCK:
            return end if length <= max_block_bytes(head) and self._is_intact_block(offset, head) else 0
        if length > self._budget:
            return 0
        if self._is_intact(offset):
            return end
        self._budget -= length
        return 0

    def _is_intact_block(self, offset: int, head: Head) -> bool:
        try:
            self.block(offset, head)
        except UnsupportedFeature:
            if self._is_intact(offset):
                raise
        except DaczError:
            return False
        return self._is_intact(offset)

    def _take(self, found: Found, offset: int) -> None:
        kind, length = self._header(offset)
        try:
            if kind == wire.BLOCK:
                self._take_block(found, offset)
            elif kind == wire.TAGS and length <= self._limits.tags_bytes:
                found.tags = parse_tags(self._payload(offset)[1], self._limits)
            elif kind == wire.PICTURE and length <= self._limits.picture_bytes:
                if len(found.pictures) < self._limits.pictures:
                    found.pictures.append(parse_picture(self._payload(offset)[1]))
            elif kind == wire.LOST and length <= 4 + 8 * self._limits.blocks:
                found.lost = wire.parse_lost(self._payload(offset)[1])
            elif kind == wire.TAIL and length == wire.TAIL_BYTES:
                tail = wire.parse_tail(self._payload(offset)[1])
                check_tail(tail, found.head, self._limits)
                found.tail = tail
            elif kind not in wire.ORDER:
                self._take_other(found, offset, length)
        except UnsupportedFeature:
            raise
        except DaczError:
            return  # intact but contradictory: as good as lost

    def _take_block(self, found: Found, offset: int) -> None:
        block = self.block(offset, found.head)
        if block.sequence in found.blocks or block.sequence >= self.most_blocks(found.head):
            return
        found.blocks[block.sequence] = offset, block.frames
        if block.last:
            found.last = block

    def _take_other(self, found: Found, offset: int, length: int) -> None:
        held = sum(len(other.payload) for other in found.others)
        if held + length <= self._limits.other_bytes and len(found.others) < self._limits.chunks:
            kind, payload = self._payload(offset)
            found.others.append(wire.OtherChunk(kind, payload, len(found.blocks)))

    def _header(self, offset: int) -> tuple[bytes, int]:
        if offset + wire.CHUNK_OVERHEAD > self._size:
            return b"", 0
        self._source.seek(offset)
        kind, length = wire.CHUNK_HEADER.unpack(self._source.read(wire.CHUNK_HEADER.size, "a chunk"))
        return kind, length

    def _payload(self, offset: int) -> tuple[bytes, bytes]:
        kind, length = self._header(offset)
        return kind, self._source.read(length, "a chunk")

    def _is_intact(self, offset: int) -> bool:
        kind, length = self._header(offset)
        if offset + wire.CHUNK_OVERHEAD + length > self._size:
            return False
        crc = wire.checksum(wire.CHUNK_HEADER.pack(kind, length))
        for piece in self._source.pieces(length, "a chunk"):
            crc = wire.checksum(piece, crc)
        (stored,) = wire.CRC.unpack(self._source.read(wire.CRC.size, "a chunk"))
        return wire.checksum_matches(stored, crc)

    def _matches(self, start: int) -> Iterator[int]:
        """Yield every offset from `start` on where the name of a known chunk type stands."""
        while start < self._size:
            self._source.seek(start)
            window = self._source.read_up_to(_WINDOW)
            for match in _KNOWN.finditer(window):
                yield start + match.start()
            if len(window) < _WINDOW:
                return
            start += len(window) - 3
