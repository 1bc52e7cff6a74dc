"""Reading a `.dacz` file: facts at once, blocks in order from anything, or by number from what can seek."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from os import PathLike
from types import TracebackType
from typing import BinaryIO

from dacfile.errors import DaczError, StructureError, Truncated, UsageError
from dacfile.limits import DEFAULT_LIMITS, Limits

from . import wire
from .block import Block, max_block_bytes, min_block_bytes, parse_block
from .head import Head, check_tail
from .source import ByteSource
from .tags import Picture
from .walk import Walk


class Reader:
    """An open `.dacz` file.

    From a path or a stream that can seek (it is read from its byte 0), opening reads only the chunks before the first
    block and the TAIL: milliseconds for any length. `blocks` reads everything once, from the start, and checks the
    whole file on the way; `block` reads a single block. A pipe can do `blocks` once, and knows its `tail` afterwards.

    Raises nothing but `DaczError` and `OSError`, whatever the file holds, and never allocates more than its `limits`
    allow and the file has bytes for.
    """

    def __init__(self, stream_or_path: BinaryIO | str | PathLike[str], limits: Limits = DEFAULT_LIMITS) -> None:
        self._owned: BinaryIO | None = None
        if isinstance(stream_or_path, (str, PathLike)):
            self._owned = stream_or_path = open(stream_or_path, "rb")  # noqa: SIM115 - closed by `close`
        try:
            self._open(stream_or_path, limits)
        except BaseException:
            self.close()
            raise

    def _open(self, stream: BinaryIO, limits: Limits) -> None:
        self._source, self._limits = ByteSource(stream), limits
        self._walk: Walk | None = Walk(self._source, limits)
        self._walk.start()
        self.head: Head = self._walk.head
        self.tags: tuple[tuple[str, str], ...] = self._walk.tags
        self.pictures: tuple[Picture, ...] = tuple(self._walk.pictures)
        self.lost: tuple[tuple[int, int], ...] = self._walk.lost
        self.tail: wire.Tail | None = None
        self._first_block = self._walk.position
        self._offsets: array[int] | None = None
        if self._source.seekable:
            self._walk = None
            self.tail = self._read_tail()

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file if it was opened here."""
        if self._owned is not None:
            self._owned.close()

    @property
    def source_samples(self) -> int | None:
        """Samples per channel of the source, at its rate; None while a pipe does not know it yet."""
        return self.tail.source_samples if self.tail else self.head.source_samples

    @property
    def block_count(self) -> int:
        """Number of blocks; raises `UsageError` for a pipe that was not read to its end."""
        return self._known_tail().blocks

    @property
    def total_frames(self) -> int:
        """Number of frames; raises `UsageError` for a pipe that was not read to its end."""
        return self._known_tail().total_frames

    @property
    def file_size(self) -> int:
        """Bytes of the whole file; raises `UsageError` for a pipe that was not read to its end."""
        return self._known_tail().file_size

    def blocks(self) -> Iterator[Block]:
        """Yield all blocks in order, and check the whole file: every CRC, the order, TAIL and the SHA-256.

        Take no block for good before the iterator has ended without an error. The index is not used. Raises
        `UsageError` for a file that was closed, or a pipe that was read already.
        """
        self._check_open()
        walk, self._walk = self._walk, None
        if self._source.seekable:
            self._source.seek(0)
            walk = Walk(self._source, self._limits)
            walk.start()
        if walk is None:
            raise UsageError("a pipe can be read only once")
        for block in walk.blocks():
            position = self._source.position
            yield block
            if self._source.position != position:  # `block` was called in between
                self._source.seek(position)
        self.tail = walk.tail

    def block(self, number: int) -> Block:
        """Return block `number` by the index, or by a scan where there is none.

        Raises `UsageError` for a number that is not there, a pipe or a closed file; `StructureError` or `ChecksumError`
        also where the index does not lead to the block: `blocks` may still work.
        """
        self._check_open()
        if not self._source.seekable:
            raise UsageError("blocks of a pipe can only be read in order")
        if not 0 <= number < self.block_count:
            raise UsageError(f"block {number}: the file has {self.block_count}")
        if self._offsets is None:
            self._offsets = self._find_offsets()
        offset = self._offsets[number]
        payload = self._chunk_at(offset, wire.BLOCK, min_block_bytes(self.head), max_block_bytes(self.head))
        block = parse_block(payload, self.head)
        if block.sequence != number or block.last != (number == self.block_count - 1):
            raise StructureError(f"block {block.sequence} at byte {offset}, where block {number} has to be")
        return block

    def _check_open(self) -> None:
        if self._owned is not None and self._owned.closed:
            raise UsageError("the file was closed")

    def _known_tail(self) -> wire.Tail:
        if self.tail is None:
            raise UsageError("a pipe knows its length only after its last block")
        return self.tail

    def _read_tail(self) -> wire.Tail:
        size = self._source.size or 0
        offset = size - len(wire.END) - wire.TAIL_CHUNK_BYTES
        self._source.seek(size - len(wire.END))
        if offset < self._first_block or self._source.read(len(wire.END), "the end magic") != wire.END:
            raise self._explain_end()
        tail = wire.parse_tail(self._chunk_at(offset, wire.TAIL, wire.TAIL_BYTES, wire.TAIL_BYTES))
        if tail.file_size != size:
            raise StructureError(f"the file has {size} bytes, but TAIL says {tail.file_size}")
        check_tail(tail, self.head, self._limits)
        return tail

    def _explain_end(self) -> DaczError:
        """Return the error for a file that does not end as it has to: cut off, or with bytes after its end."""
        try:
            for kind, end in self._headers(self._first_block):
                if kind == wire.TAIL:
                    self._source.seek(end)
                    found = self._source.read(len(wire.END), "the end magic") == wire.END
                    return StructureError(f"there are bytes after the {'end of the file' if found else 'TAIL chunk'}")
        except DaczError as error:
            return error
        return Truncated("the end of the file is missing: it was cut off")

    def _headers(self, start: int) -> Iterator[tuple[bytes, int]]:
        """Yield the type and the end of every chunk from `start` up to TAIL, reading nothing but headers."""
        offset, steps = start, self._limits.blocks + self._limits.chunks
        for _ in range(steps):
            self._source.seek(offset)
            header = self._source.read(wire.CHUNK_HEADER.size, "the header of a chunk")
            kind, length = wire.CHUNK_HEADER.unpack(header)
            if not wire.is_chunk_type(kind):
                raise StructureError(f"no chunk at byte {offset}, where one has to start")
            offset += wire.CHUNK_OVERHEAD + length
            yield kind, offset
            if kind == wire.TAIL:
                return
        raise StructureError(f"more than {steps} chunks")

    def _find_offsets(self) -> array[int]:
        tail = self._known_tail()
        if tail.index_offset:
            return self._offsets_by_index(tail)
        offsets, offset = array("Q"), self._first_block
        for kind, end in self._headers(self._first_block):
            if kind == wire.BLOCK:
                offsets.append(offset)
            offset = end
        if len(offsets) != tail.blocks:
            raise StructureError("TAIL and the blocks disagree on the number of blocks")
        return offsets

    def _offsets_by_index(self, tail: wire.Tail) -> array[int]:
        size = 4 + 4 * tail.blocks
        payload = self._chunk_at(tail.index_offset, wire.INDEX, size, size)
        offsets = wire.block_offsets(wire.parse_index(payload), self._first_block)
        if offsets[-1] > tail.index_offset:
            raise StructureError("the index points behind itself")
        return offsets

    def _chunk_at(self, offset: int, kind: bytes, least: int, most: int) -> bytes:
        """Return the payload of the chunk at `offset`, which has to be of type `kind`, its CRC checked."""
        name = f"chunk {kind.decode()}"
        if offset > (self._source.size or 0):
            raise StructureError(f"{name} cannot be at byte {offset}: the file is shorter")
        self._source.seek(offset)
        header = self._source.read(wire.CHUNK_HEADER.size, name)
        found, length = wire.CHUNK_HEADER.unpack(header)
        if found != kind or not least <= length <= most:
            raise StructureError(f"no {name} of a possible length at byte {offset}, where it has to be")
        payload = self._source.read(length, name)
        (stored,) = wire.CRC.unpack(self._source.read(wire.CRC.size, name))
        wire.check_chunk_crc(kind, offset, stored, wire.checksum(payload, wire.checksum(header)))
        return payload
