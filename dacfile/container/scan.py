"""Finding the intact chunks of a damaged file, wherever they are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain

from dacfile.errors import ChecksumError, DaczError, StructureError, UnsupportedFeature
from dacfile.limits import Limits

from . import wire
from .block import Block, max_block_bytes, min_block_bytes, parse_block
from .head import Head, check_tail, parse_head
from .source import ByteSource
from .tags import Picture, parse_picture, parse_tags

_MARKS = (wire.MAGIC, wire.END)
_KNOWN = re.compile(b"|".join(map(re.escape, (*wire.ORDER, *_MARKS))))
_LONGEST = max(map(len, _MARKS))
_WINDOW = 1 << 20
_ENDED = len(wire.ORDER)  # the rank of what no known chunk can follow


@dataclass
class Found:
    """The intact parts of a damaged file; `blocks` maps a sequence number to (offset, frames).

    `start` and `stop` say where parts of another file end or begin (bytes; None: there are none before or behind).
    """

    head: Head
    head_is_copy: bool
    head_offset: int
    start: int | None = None
    stop: int | None = None
    rank: int = -1  # of the last chunk, in the order that chunks have to have
    blocks: dict[int, tuple[int, int]] = field(default_factory=dict)
    disputed: set[int] = field(default_factory=set)  # numbers of which there are two blocks, so that neither is taken
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

    A block does not say which file it belongs to. Where files were joined, the order of chunks tells them apart, and
    only what lies in one file with the first intact header counts.
    """

    def __init__(self, source: ByteSource, limits: Limits) -> None:
        self._source, self._limits = source, limits
        self._size = source.size or 0
        self._budget, self._strict = 0, False

    def scan(self) -> Found:
        """Return all intact parts of one file, the first that has an intact header.

        Raises `ChecksumError` if neither HEAD nor its copy is among them, `StructureError` if parts of two files are
        mixed such that nobody can tell which belong together.
        """
        with suppress(_Mixed):  # damage may have taken the end of one file with the beginning of the next
            return self._scan(strict=False)
        try:
            return self._scan(strict=True)
        except _Mixed as error:
            raise StructureError(f"parts of two files are mixed and cannot be told apart: {error}") from error

    def _scan(self, strict: bool) -> Found:
        """Return the parts of one file; `strict`: only those that lie side by side with the header."""
        self._budget, self._strict = 4 * self._size + (64 << 20), strict
        found, before = self.find_head(), 0
        for offset, kind, end in self._intact(found.head):
            if _begins_another(found, kind) or (strict and offset != before):
                if offset > found.head_offset:
                    found.stop = offset
                    break
                found = _emptied(found, offset)
            before = end
            if kind not in _MARKS:
                self._take(found, offset)
            found.rank = _rank_after(found.rank, kind)
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
        """Return what is found with nothing but a head in it.

        Raises `ChecksumError` if there is no intact one, `NotDacz` for an empty file.
        """
        if not self._size:
            wire.check_magic(b"")
        for offset in chain((len(wire.MAGIC),), self._matches(0)):
            kind, length = self._header(offset)
            if kind in (wire.HEAD, wire.HEAD_COPY) and length <= self._limits.head_bytes and self._is_intact(offset):
                return Found(parse_head(self._payload(offset)[1], self._limits), kind == wire.HEAD_COPY, offset)
        raise ChecksumError("neither the header nor its copy is intact: nothing can be saved")

    def _intact(self, head: Head) -> Iterator[tuple[int, bytes, int]]:
        """Yield (offset, type, end) of intact chunks and of the marks where a file begins or ends.

        Each is looked for where the one before ends, then where a known type or a mark is found.
        """
        offset = len(wire.MAGIC)
        matches = self._matches(offset)
        while offset < self._size:
            mark = self._mark(offset)
            end = offset + len(mark) if mark else self._intact_end(offset, head)
            if end:
                yield offset, mark or self._header(offset)[0], end
                offset = end
            else:
                offset = self._next_match(matches, offset)

    def _mark(self, offset: int) -> bytes:
        """Return the magic or the end bytes if they stand at `offset`, else nothing."""
        self._source.seek(offset)
        here = self._source.read_up_to(_LONGEST)
        return here if here in _MARKS else b""

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
            elif kind == wire.HEAD_COPY:
                self._check_copy(found, offset, length)
            elif kind == wire.TAIL and length == wire.TAIL_BYTES:
                tail = wire.parse_tail(self._payload(offset)[1])
                self._check_tail(found, tail)
                found.tail = tail
            elif kind not in wire.ORDER:
                self._take_other(found, offset, length)
        except UnsupportedFeature:
            raise
        except DaczError:
            return  # intact but contradictory: as good as lost

    def _take_block(self, found: Found, offset: int) -> None:
        block = self.block(offset, found.head)
        if block.sequence >= self.most_blocks(found.head) or block.sequence in found.disputed:
            return
        if block.sequence in found.blocks:
            self._compare(found, block, offset)
            return
        found.blocks[block.sequence] = offset, block.frames
        if block.last:
            found.last = block

    def _compare(self, found: Found, block: Block, offset: int) -> None:
        """Take neither of two blocks of the same number if they differ; only blocks of equal size are read."""
        first = found.blocks[block.sequence][0]
        if self._header(first) == self._header(offset) and self.block(first, found.head) == block:
            return
        if not self._strict:
            raise _Mixed(f"there are two blocks {block.sequence}")
        del found.blocks[block.sequence]
        found.disputed.add(block.sequence)

    def _check_tail(self, found: Found, tail: wire.Tail) -> None:
        try:
            check_tail(tail, found.head, self._limits)
        except StructureError as error:
            if not self._strict:
                raise _Mixed(str(error)) from error
            raise

    def _check_copy(self, found: Found, offset: int, length: int) -> None:
        """Raise `_Mixed` for the copy of another header; only one of equal size is read."""
        if self._header(found.head_offset)[1] != length or (
            self._payload(found.head_offset)[1] != self._payload(offset)[1]
        ):
            raise _Mixed("the header and its copy differ")

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
            start += len(window) - _LONGEST + 1


class _Mixed(Exception):
    """Two intact chunks that cannot be of one file, but nothing between them tells where the other one begins."""


def _begins_another(found: Found, kind: bytes) -> bool:
    """Say whether a chunk or mark cannot be of the file that was found so far: it comes too early, or again."""
    if kind in _MARKS:
        return kind == wire.MAGIC
    rank = wire.ORDER.get(kind, _ENDED - 1)  # unknown ones may stand anywhere but behind TAIL
    return rank < found.rank or (rank == found.rank and kind in wire.ONCE)


def _rank_after(rank: int, kind: bytes) -> int:
    """Return the rank of the last chunk when one more, or a mark, has come; nothing can follow TAIL and the end."""
    if kind in (wire.TAIL, wire.END):
        return _ENDED
    return max(rank, wire.ORDER.get(kind, 0)) if kind not in _MARKS else rank


def _emptied(found: Found, offset: int) -> Found:
    """Return what is known when another file begins: `start` is set if there was one before it."""
    start = None if found.rank < 0 and found.start is None else offset
    return Found(found.head, found.head_is_copy, found.head_offset, start)
