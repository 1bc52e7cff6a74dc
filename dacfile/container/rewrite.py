"""Copying a file with other blocks: everything that this version does not know is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from os import PathLike
from typing import BinaryIO

from dacfile.errors import UsageError
from dacfile.limits import DEFAULT_LIMITS, Limits

from .block import Block
from .head import Head
from .walk import walking
from .wire import OtherChunk, Tail
from .writer import Writer


def rewrite(
    source: BinaryIO | str | PathLike[str],
    target: BinaryIO,
    change_blocks: Callable[[Iterator[Block]], Iterable[Block]],
    change_head: Callable[[Head], Head] = lambda head: head,
    limits: Limits = DEFAULT_LIMITS,
) -> Tail:
    """Copy `source` to `target` with its blocks and head changed; return the new TAIL.

    `change_blocks` gets the blocks in order and yields as many, with the same sequence numbers and frames; it may look
    ahead. Tags, pictures and unknown ancillary chunks keep their places. The whole source is checked on the way:
    what was written counts only if no error was raised.
    """
    with walking(source, limits, keep_others=True) as walk:
        writer = Writer(target, change_head(walk.head), walk.tags, walk.pictures, walk.lost, limits)
        written = 0
        for block in change_blocks(walk.blocks()):
            written = _write_others(writer, walk.others, written, block.sequence)
            writer.write_block(block)
        _write_others(writer, walk.others, written, None)
        if (writer.blocks_written, writer.frames_written) != (walk.tail.blocks, walk.tail.total_frames):
            raise UsageError("rewrite: the changed blocks are not as many, or not as long, as those read")
        return writer.finish(walk.tail.source_samples, walk.tail.source_digest)


def drop_layers(
    source: BinaryIO | str | PathLike[str], target: BinaryIO, layers: int, limits: Limits = DEFAULT_LIMITS
) -> Tail:
    """Copy `source` to `target` keeping the first `layers` layers of every channel; return the new TAIL.

    Needs neither model nor prior: what is kept decodes as before. Raises `UsageError` unless `layers` is 1 or more.
    """
    if layers < 1:
        raise UsageError(f"codebooks: {layers} is less than 1")

    def change_head(head: Head) -> Head:
        rate = -(-head.channels * layers * head.bits_per_code * head.rate // head.hop)
        return replace(head, nominal_bitrate=min(head.nominal_bitrate, rate))

    return rewrite(source, target, lambda blocks: (_cut(block, layers) for block in blocks), change_head, limits)


def _cut(block: Block, layers: int) -> Block:
    channels = tuple(replace(channel, layers=channel.layers[:layers]) for channel in block.channels)
    return replace(block, channels=channels)


def _write_others(writer: Writer, others: list[OtherChunk], written: int, before_block: int | None) -> int:
    """Write the unknown chunks that come before this block (None: all that are left); return how many are written."""
    for other in others[written:]:
        if before_block is not None and other.before_block > before_block:
            break
        writer.write_other(other.type, other.payload)
        written += 1
    return written
