"""Writing a `.dacz` file in one pass: nothing is ever sought back to, so a pipe will do."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence
from typing import BinaryIO

from dacfile.errors import LimitError, UsageError
from dacfile.limits import DEFAULT_LIMITS, Limits

from . import wire
from .block import Block, pack_block
from .head import Head, check_tail, pack_head
from .tags import Picture, Tags, pack_picture, pack_tags


class Writer:
    """Writes one file: head at once, then block after block, then `finish`.

    The stream needs only `write`. A writer that is dropped before `finish` leaves an incomplete file, which every
    reader refuses: write to a temporary name. Same calls, same bytes: nothing here depends on time or place.
    """

    def __init__(
        self,
        stream: BinaryIO,
        head: Head,
        tags: Tags = (),
        pictures: Sequence[Picture] = (),
        lost: Sequence[tuple[int, int]] = (),
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self._stream, self._head, self._limits = stream, head, limits
        self._sha256 = hashlib.sha256()
        self._position = 0
        self._offsets = array("Q")
        self._blocks_end = 0
        self._total_frames = 0
        self._last = self._finished = False
        if len(pictures) > limits.pictures:
            raise LimitError.over("pictures", len(pictures), limits.pictures)
        head_payload = pack_head(head, limits)
        leading = [(wire.HEAD, head_payload)]
        if tags:
            leading.append((wire.TAGS, pack_tags(tags, limits)))
        leading += [(wire.PICTURE, pack_picture(picture, limits)) for picture in pictures]
        if lost:
            leading.append((wire.LOST, wire.pack_lost(lost)))
        self._head_payload = head_payload
        self._write(wire.MAGIC)
        for kind, payload in leading:
            self._chunk(kind, payload)

    @property
    def blocks_written(self) -> int:
        """Number of blocks so far: the sequence number of the next one."""
        return len(self._offsets)

    @property
    def frames_written(self) -> int:
        """Frames so far."""
        return self._total_frames

    def write_block(self, block: Block) -> None:
        """Append a block; raises `UsageError` out of order, `StructureError` if it contradicts the head."""
        if self._finished or self._last:
            raise UsageError("a block after the last one")
        if block.sequence != len(self._offsets):
            raise UsageError(f"block {block.sequence} where block {len(self._offsets)} has to be")
        if block.sequence >= self._limits.blocks:
            raise LimitError.over("blocks", block.sequence + 1, self._limits.blocks)
        payload = pack_block(block, self._head)
        self._offsets.append(self._position)
        self._chunk(wire.BLOCK, payload)
        self._blocks_end = self._position
        self._last = block.last
        self._total_frames += block.frames

    def write_other(self, kind: bytes, payload: bytes) -> None:
        """Append a chunk that this version does not know; ancillary only, for rewriting the files of others."""
        if not wire.is_chunk_type(kind) or wire.is_critical(kind) or kind in wire.ORDER:
            raise UsageError(f"{kind!r} is not the type of an unknown ancillary chunk")
        if self._finished:
            raise UsageError("a chunk after the end")
        self._chunk(kind, payload)

    def finish(self, source_samples: int, source_digest: bytes = bytes(16)) -> wire.Tail:
        """Write copy of HEAD, index, TAIL and end magic; return the TAIL.

        `source_samples` is per channel at the source rate, `source_digest` the first 16 bytes of the SHA-256 of the
        source's samples (spec section 8), zeros if not known. Raises `UsageError` if the last block is missing.
        """
        if self._finished or bool(self._offsets) != self._last:
            raise UsageError("finish, but the last block was not written or the file is finished already")
        if len(source_digest) != 16:
            raise UsageError("the digest of the source needs 16 bytes")
        self._finished = True
        self._chunk(wire.HEAD_COPY, self._head_payload)
        index_offset = self._write_index()
        tail = wire.Tail(
            source_samples=source_samples,
            total_frames=self._total_frames,
            blocks=len(self._offsets),
            index_offset=index_offset,
            file_size=self._position + wire.TAIL_CHUNK_BYTES + len(wire.END),
            sha256=self._sha256.digest(),
            source_digest=source_digest,
        )
        check_tail(tail, self._head, self._limits)
        self._chunk(wire.TAIL, wire.pack_tail(tail))
        self._write(wire.END)
        return tail

    def _write_index(self) -> int:
        """Write the index and return its offset, or 0 for none: where distances do not fit in 32 bits."""
        ends = [*self._offsets[1:], self._blocks_end]
        distances = [end - start for start, end in zip(self._offsets, ends, strict=False)]
        if max(distances, default=0) > wire.U32_MAX:
            return 0
        offset = self._position
        self._chunk(wire.INDEX, wire.pack_index(distances))
        return offset

    def _chunk(self, kind: bytes, payload: bytes) -> None:
        self._write(wire.pack_chunk(kind, payload))

    def _write(self, data: bytes) -> None:
        self._stream.write(data)
        self._sha256.update(data)
        self._position += len(data)
