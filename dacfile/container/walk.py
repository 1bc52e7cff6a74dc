"""One pass over a file, chunk after chunk: order, limits, CRCs, SHA-256, and TAIL against what was seen (spec 3.3)."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from os import PathLike
from typing import BinaryIO

from dacfile.errors import ChecksumError, LimitError, StructureError, Truncated, UnsupportedFeature
from dacfile.limits import Limits

from . import wire
from .block import Block, max_block_bytes, min_block_bytes, parse_block
from .head import Head, check_tail, parse_head
from .source import ByteSource
from .tags import Picture, parse_picture, parse_tags


@contextmanager
def walking(
    stream_or_path: BinaryIO | str | PathLike[str], limits: Limits, keep_others: bool = False
) -> Iterator[Walk]:
    """Open a file, stream or pipe and give a pass over it that stands before the first block."""
    with ExitStack() as stack:
        if isinstance(stream_or_path, (str, PathLike)):
            stream_or_path = stack.enter_context(open(stream_or_path, "rb"))
        walk = Walk(ByteSource(stream_or_path), limits, keep_others)
        walk.start()
        yield walk


class Walk:
    """Reads a file from its first byte to its last, and nothing twice.

    `start` reads up to the first block and fills `head`, `tags`, `pictures`, `lost`; `blocks` yields the blocks and
    leaves `tail`, `index` and `offsets` (of the blocks) behind. Unknown ancillary chunks are collected in `others`
    if `keep_others`, and skipped otherwise (their CRC is checked all the same).
    """

    def __init__(self, source: ByteSource, limits: Limits, keep_others: bool = False) -> None:
        self.source, self.limits = source, limits
        self.head: Head
        self.tags: tuple[tuple[str, str], ...] = ()
        self.pictures: list[Picture] = []
        self.lost: tuple[tuple[int, int], ...] = ()
        self.others: list[wire.OtherChunk] = []
        self.tail: wire.Tail
        self.index: tuple[int, ...] | None = None
        self.index_offset = 0
        self.offsets = array("Q")
        self.blocks_end = 0  # where the distance of the last block ends
        self._keep_others, self._other_bytes = keep_others, 0
        self._head_payload = b""
        self._sha256 = hashlib.sha256()
        self._kind, self._length, self._offset, self._header = b"", 0, 0, b""
        self._rank, self._seen, self._chunks = 0, set[bytes](), 0
        self._total_frames, self._last = 0, False

    def start(self) -> None:
        """Read magic, HEAD, tags, pictures: all up to the first block, or to TAIL if there is none."""
        magic = self.source.read_up_to(len(wire.MAGIC))
        if 0 < len(magic) < len(wire.MAGIC) and wire.MAGIC.startswith(magic):
            raise Truncated(f"the file has only {len(magic)} bytes: it was cut off")
        wire.check_magic(magic)
        self._sha256.update(magic)
        self._next()
        if self._kind != wire.HEAD:
            raise StructureError("the first chunk is not HEAD")
        self._head_payload = self._payload(self.limits.head_bytes)
        self.head = parse_head(self._head_payload, self.limits)
        self._next()
        self._skip_to_block()

    @property
    def position(self) -> int:
        """Offset of the chunk that was looked at last: after `start`, of the first block."""
        return self._offset

    def blocks(self) -> Iterator[Block]:
        """Yield the blocks in order, then check TAIL, END and that nothing follows."""
        while self._kind == wire.BLOCK:
            yield self._block()
            self._next()
            self._skip_to_block()
        self._finish()

    def _next(self) -> None:
        """Read the header of the next chunk and check that its type may come here."""
        self._offset = self.source.position
        self._header = self.source.read(wire.CHUNK_HEADER.size, "the header of a chunk")
        self._kind, self._length = wire.CHUNK_HEADER.unpack(self._header)
        if not wire.is_chunk_type(self._kind):
            raise StructureError(f"no chunk at byte {self._offset}, where one has to start")
        if self._kind != wire.BLOCK:
            self._chunks += 1
            if self._chunks > self.limits.chunks:
                raise LimitError.over("chunks", self._chunks, self.limits.chunks)
        self._check_order()

    def _check_order(self) -> None:
        rank = wire.ORDER.get(self._kind)
        if rank is None:
            return
        name = f"chunk {self._kind.decode()} at byte {self._offset}"
        if rank < self._rank:
            raise StructureError(f"{name} is out of order")
        if self._kind in wire.ONCE and self._kind in self._seen:
            raise StructureError(f"{name} is there for the second time")
        self._rank = rank
        self._seen.add(self._kind)

    def _payload(self, largest: int) -> bytes:
        """Return the payload of the current chunk, its CRC checked; nothing longer than `largest` is read."""
        if self._length > largest:
            self.source.require(self._length, f"chunk {self._kind.decode()}")  # a wrong length is damage, not a limit
            raise LimitError.over(f"chunk {self._kind.decode()} at byte {self._offset}: bytes", self._length, largest)
        return b"".join(self._checked_pieces())

    def _checked_pieces(self) -> Iterator[bytes]:
        """Yield the payload in pieces, and check the CRC after the last one."""
        name = f"chunk {self._kind.decode()}"
        crc = wire.checksum(self._header)
        hashed = self._kind != wire.TAIL
        if hashed:
            self._sha256.update(self._header)
        for piece in self.source.pieces(self._length, name):
            crc = wire.checksum(piece, crc)
            if hashed:
                self._sha256.update(piece)
            yield piece
        stored = self.source.read(wire.CRC.size, name)
        if hashed:
            self._sha256.update(stored)
        wire.check_chunk_crc(self._kind, self._offset, wire.CRC.unpack(stored)[0], crc)

    def _block(self) -> Block:
        if self._last:
            raise StructureError(f"a block at byte {self._offset}, after the last one")
        if not min_block_bytes(self.head) <= self._length <= max_block_bytes(self.head):
            raise StructureError(f"block at byte {self._offset}: {self._length} bytes, which HEAD does not allow")
        block = parse_block(self._payload(self._length), self.head)
        if block.sequence != len(self.offsets):
            raise StructureError(f"block {block.sequence} where block {len(self.offsets)} has to be")
        if block.sequence >= self.limits.blocks:
            raise LimitError.over("blocks", block.sequence + 1, self.limits.blocks)
        self.offsets.append(self._offset)
        self._last = block.last
        self._total_frames += block.frames
        self.blocks_end = self.source.position
        return block

    def _skip_to_block(self) -> None:
        """Read chunks until the current one is a BLOC or TAIL."""
        while self._kind not in (wire.BLOCK, wire.TAIL):
            self._ancillary()
            self._next()

    def _ancillary(self) -> None:
        limits = self.limits
        if self._kind == wire.TAGS:
            self.tags = parse_tags(self._payload(limits.tags_bytes), limits)
        elif self._kind == wire.PICTURE:
            if len(self.pictures) == limits.pictures:
                raise LimitError.over("pictures", limits.pictures + 1, limits.pictures)
            self.pictures.append(parse_picture(self._payload(limits.picture_bytes)))
        elif self._kind == wire.LOST:
            self.lost = wire.parse_lost(self._payload(4 + 8 * limits.blocks))
        elif self._kind == wire.HEAD_COPY:
            if self._payload(limits.head_bytes) != self._head_payload:
                raise StructureError("the copy of HEAD differs from HEAD")
        elif self._kind == wire.INDEX:
            self.index_offset = self._offset
            self.index = wire.parse_index(self._payload(4 + 4 * limits.blocks))
        else:
            self._other()

    def _other(self) -> None:
        kind = self._kind.decode()
        if wire.is_critical(self._kind) or not self._keep_others:
            for _ in self._checked_pieces():
                pass
            if wire.is_critical(self._kind):
                raise UnsupportedFeature(f"chunk {kind} is unknown: the file needs a newer version of this program")
            return
        self._other_bytes += self._length
        if self._other_bytes > self.limits.other_bytes:
            raise LimitError.over("bytes of unknown chunks", self._other_bytes, self.limits.other_bytes)
        payload = self._payload(self._length)
        self.others.append(wire.OtherChunk(self._kind, payload, len(self.offsets)))

    def _finish(self) -> None:
        if self._length != wire.TAIL_BYTES:
            raise StructureError(f"TAIL has {self._length} bytes, not {wire.TAIL_BYTES}")
        digest = self._sha256.digest()
        self.tail = wire.parse_tail(self._payload(wire.TAIL_BYTES))
        if self.source.read(len(wire.END), "the end magic") != wire.END:
            raise StructureError("the end magic is not where it has to be")
        if not self.source.at_end():
            raise StructureError("there are bytes after the end of the file")
        check_tail(self.tail, self.head, self.limits)
        self._compare_with_tail(digest)

    def _compare_with_tail(self, digest: bytes) -> None:
        tail = self.tail
        if self.offsets and not self._last:
            raise StructureError("the last block is missing")
        if (tail.blocks, tail.total_frames) != (len(self.offsets), self._total_frames):
            raise StructureError("TAIL and the blocks disagree on the number of blocks or frames")
        if tail.file_size != self.source.position:
            raise StructureError(f"the file has {self.source.position} bytes, but TAIL says {tail.file_size}")
        if not wire.checksum_matches(int.from_bytes(tail.sha256), int.from_bytes(digest)):
            raise ChecksumError("the SHA-256 of the file does not match: it was changed after it was written")

    @property
    def has_head_copy(self) -> bool:
        """Say whether a copy of HEAD was found (and checked)."""
        return wire.HEAD_COPY in self._seen

    def check_index(self) -> None:
        """Compare index and TAIL with where the blocks really are; raises `StructureError`. Call it at the end."""
        if self.tail.index_offset != self.index_offset:
            raise StructureError("TAIL does not say where the index is")
        if self.index is None:
            return
        ends = [*self.offsets[1:], self.blocks_end]
        if self.index != tuple(end - start for start, end in zip(self.offsets, ends, strict=False)):
            raise StructureError("the index and the blocks disagree")
