"""Saving what is intact of a damaged file: every whole block, silence for the others."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from os import PathLike
from typing import BinaryIO

from dacfile.errors import LimitError, StructureError, UsageError
from dacfile.limits import DEFAULT_LIMITS, Limits

from .block import SILENT, Block, ChannelBlock
from .head import Head
from .scan import Found, Scanner
from .source import ByteSource
from .wire import Tail
from .writer import Writer


@dataclass(frozen=True)
class Gap:
    """A run of lost blocks that became silence; times in seconds from the start of the audio."""

    start: float
    stop: float
    first_block: int
    blocks: int

    def __str__(self) -> str:
        last = self.first_block + self.blocks - 1
        which = f"block {last}" if self.blocks == 1 else f"blocks {self.first_block} to {last}"
        return f"silent from {self.start:.3f} s to {self.stop:.3f} s ({which} lost)"


@dataclass(frozen=True)
class SalvageReport:
    """What was saved.

    `complete` means that no audio is missing, that the length is the original one and that there is no other file.
    `start` and `stop` are the bytes where another file in front ends and one behind begins, None where there is none.
    """

    head: Head
    tail: Tail
    kept: int
    gaps: tuple[Gap, ...]
    complete: bool
    length_known: bool
    head_was_damaged: bool
    start: int | None = None
    stop: int | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know, in sentences: every gap, what had to be guessed, and what was left out."""
        return (*map(str, self.gaps), *self.guesses)

    @property
    def guesses(self) -> tuple[str, ...]:
        """What had to be guessed about the whole file, and which other files were left out, in sentences."""
        head = ("the header was damaged; its copy was used",) if self.head_was_damaged else ()
        end = () if self.length_known else ("the end of the file is lost; its length is that of the blocks found",)
        return (*head, *end, *self._others)

    @property
    def _others(self) -> tuple[str, ...]:
        before = (f"parts of another file, in front of byte {self.start}, were left out",) if self.start else ()
        return (*before, *((f"another file, from byte {self.stop} on, was left out",) if self.stop else ()))


@dataclass(frozen=True)
class _Plan:
    blocks: int
    total_frames: int
    source_samples: int
    length_known: bool


def salvageable_head(path: str | PathLike[str], limits: Limits = DEFAULT_LIMITS) -> Head:
    """Return the head of a damaged file, or its copy; raises `ChecksumError` if neither is intact."""
    with open(path, "rb") as stream:
        return Scanner(ByteSource(stream), limits).find_head().head


def salvage(source: BinaryIO | str | PathLike[str], target: BinaryIO, limits: Limits = DEFAULT_LIMITS) -> SalvageReport:
    """Write to `target` a valid file with every intact block of `source`; return what was lost.

    Needs no index, finds the header by its copy, and puts blocks back in order. A lost block becomes silence on all
    channels, and a `lost` chunk records it. Where TAIL is lost, the length is that of HEAD if it knows it, else that
    of the blocks found. Of several files in one, the first with an intact header is saved, and nothing of the others.
    Raises `UsageError` for a pipe, `NotDacz` for an empty file, `ChecksumError` if both copies of the header are
    damaged, `StructureError` if no block is intact or those of two files cannot be told apart, `UnsupportedFeature`
    for a file of a newer version.
    """
    if isinstance(source, (str, PathLike)):
        with open(source, "rb") as stream:
            return salvage(stream, target, limits)
    bytes_in = ByteSource(source)
    if not bytes_in.seekable:
        raise UsageError("salvage needs a file, not a pipe")
    scanner = Scanner(bytes_in, limits)
    found = scanner.scan()
    plan = _plan(found, scanner.most_blocks(found.head))
    missing = _missing(found, plan)
    gaps = gaps_of(missing, found.head, plan.source_samples)
    whole = not missing and plan.length_known
    tail = _write(scanner, found, plan, missing, target, limits, keep_digest=whole)
    kept = plan.blocks - sum(count for _, count in missing)
    complete = whole and found.start is None and found.stop is None
    known, is_copy = plan.length_known, found.head_is_copy
    return SalvageReport(found.head, tail, kept, gaps, complete, known, is_copy, found.start, found.stop)


def _plan(found: Found, most_blocks: int) -> _Plan:
    """Return how long the file was: as TAIL says, or the last block, or HEAD, or at least as the blocks found."""
    head, at_least = found.head, max(found.blocks, default=-1) + 1
    tail = found.tail
    if tail is not None and at_least <= tail.blocks <= most_blocks:
        return _Plan(tail.blocks, tail.total_frames, tail.source_samples, True)
    if at_least == 0:
        raise StructureError("no block is intact: nothing can be saved")
    samples = head.source_samples
    if found.last is not None and found.last.sequence == at_least - 1:
        frames = (at_least - 1) * head.frames_per_block + found.last.frames
    else:
        # One frame more than the samples need: lapped models have one, and it does no harm to the others.
        needed = 0 if samples is None else -(-samples * head.rate // (head.source_rate * head.hop)) + 1
        frames = max(needed, at_least * head.frames_per_block)
    blocks = -(-frames // head.frames_per_block)
    if blocks > most_blocks:
        raise LimitError.over("blocks to fill in", blocks, most_blocks)
    return _Plan(blocks, frames, _held(frames, head) if samples is None else samples, samples is not None)


def _held(frames: int, head: Head) -> int:
    """Return how many samples at the source rate so many frames hold for sure: lapped models need one frame more."""
    return max(frames - 1, 0) * head.hop * head.source_rate // head.rate


def _write(
    scanner: Scanner,
    found: Found,
    plan: _Plan,
    missing: list[tuple[int, int]],
    target: BinaryIO,
    limits: Limits,
    keep_digest: bool,
) -> Tail:
    lost = _merge([*found.lost, *missing])
    writer = Writer(target, found.head, found.tags, found.pictures, lost, limits)
    for other in found.others:
        if other.before_block == 0:
            writer.write_other(other.type, other.payload)
    for number in range(plan.blocks):
        writer.write_block(_block(scanner, found, plan, number))
    for other in found.others:
        if other.before_block:
            writer.write_other(other.type, other.payload)
    digest = found.tail.source_digest if keep_digest and found.tail else bytes(16)
    return writer.finish(plan.source_samples, digest)


def _frames(plan: _Plan, number: int, head: Head) -> int:
    full = head.frames_per_block
    return plan.total_frames - number * full if number == plan.blocks - 1 else full


def _is_usable(found: Found, plan: _Plan, number: int) -> bool:
    """Say whether the block was found, with the length that it has to have."""
    return (
        number in found.blocks and number < plan.blocks and found.blocks[number][1] == _frames(plan, number, found.head)
    )


def _block(scanner: Scanner, found: Found, plan: _Plan, number: int) -> Block:
    last = number == plan.blocks - 1
    if _is_usable(found, plan, number):
        return replace(scanner.block(found.blocks[number][0], found.head), last=last)
    silence = (ChannelBlock(SILENT),) * found.head.channels
    return Block(number, _frames(plan, number, found.head), last, silence)


def _missing(found: Found, plan: _Plan) -> list[tuple[int, int]]:
    """Return the runs of blocks that were not found, as (first, count)."""
    usable = [number for number in sorted(found.blocks) if _is_usable(found, plan, number)]
    edges = pairwise([-1, *usable, plan.blocks])
    return [(before + 1, after - before - 1) for before, after in edges if after - before > 1]


def _merge(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the ranges in order, touching and overlapping ones joined."""
    merged: list[tuple[int, int]] = []
    for first, count in sorted(ranges):
        if merged and first <= merged[-1][0] + merged[-1][1]:
            start, held = merged.pop()
            merged.append((start, max(held, first + count - start)))
        else:
            merged.append((first, count))
    return merged


def gaps_of(ranges: Iterable[tuple[int, int]], head: Head, source_samples: int) -> tuple[Gap, ...]:
    """Return runs of lost blocks, (first, count), as times; what lies behind the end of the audio is cut off."""
    seconds_per_block = head.frames_per_block * head.hop / head.rate
    duration = source_samples / head.source_rate
    gaps = []
    for first, count in ranges:
        start, stop = first * seconds_per_block, (first + count) * seconds_per_block
        gaps.append(Gap(min(start, duration), min(stop, duration), first, count))
    return tuple(gaps)
