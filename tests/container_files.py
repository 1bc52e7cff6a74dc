"""Small `.dacz` files for the container tests: raw coder, made of a seeded generator."""

from __future__ import annotations

import hashlib
import io
import random
import zlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from dacfile.container import (
    CODED,
    SAME,
    SILENT,
    Attack,
    Block,
    ChannelBlock,
    Head,
    Layer,
    Picture,
    Reader,
    Writer,
    wire,
)
from dacfile.container.block import count_stretches, raw_equaliser_bytes
from dacfile.equaliser_code import FLAT, POINTS, pack

MODEL_ID = bytes(range(16))
TAGS = (("TITLE", "Tune"), ("ARTIST", "Ärger"), ("ARTIST", "Zwei"))
PICTURE = Picture(3, "image/png", "cover", b"\x89PNG not really")


def make_head(**changes: object) -> Head:
    """Return a head of a stereo file with 2 codebooks of 16 entries and blocks of 40 frames, changed as asked."""
    head = Head(
        rate=16_000,
        hop=4,
        frames_per_block=40,
        codebook_size=16,
        codebooks=2,
        context=1,
        channels=2,
        subtype=3,
        container=1,
        channel_mask=3,
        source_rate=16_000,
        source_samples=None,
        skip=0,
        nominal_bitrate=64_000,
        coder=0,
        transform=0,
        model_id=MODEL_ID,
        prior_id=bytes(16),
        gains=(256, -128),
    )
    if "channels" in changes and "gains" not in changes:
        changes = {**changes, "gains": (0,) * int(str(changes["channels"]))}
    return replace(head, **changes)  # type: ignore[arg-type]


def pack_codes(codes: list[int], bits: int) -> bytes:
    """Return the codes packed as the spec says (section 6.3): first code in the lowest bits of the first byte."""
    number = sum(code << (bits * index) for index, code in enumerate(codes))
    return number.to_bytes((len(codes) * bits + 7) // 8, "little")


def raw_layer(head: Head, frames: int, rng: random.Random) -> Layer:
    """Return a raw layer of random codes."""
    codes = [rng.randrange(head.codebook_size) for _ in range(frames)]
    crc = zlib.crc32(b"".join(code.to_bytes(2, "little") for code in codes))
    return Layer(pack_codes(codes, head.bits_per_code), crc)


def make_block(head: Head, sequence: int, last: bool, frames: int | None = None, seed: int = 0) -> Block:
    """Return a block whose channels are, in turn, coded in full, coded with one layer, the same, silent."""
    frames = head.frames_per_block if frames is None else frames
    rng = random.Random(seed * 1000 + sequence)
    kinds = ((CODED, head.codebooks), (CODED, 1), (SAME, 0), (SILENT, 0))
    channels = []
    for index in range(head.channels):
        mode, layers = kinds[index % len(kinds)]
        channels.append(ChannelBlock(mode, tuple(raw_layer(head, frames, rng) for _ in range(layers))))
    return Block(sequence, frames, last, tuple(channels))


def equaliser(seed: int, frames: int) -> bytes:
    """Return the bytes of a random equaliser for so many frames: raw for even seeds, range coded for odd ones."""
    rng = random.Random(seed)
    if seed % 2 == 0:
        return rng.randbytes(raw_equaliser_bytes(frames))
    rows, row = [], np.full(POINTS, FLAT, np.uint8)
    for _ in range(count_stretches(frames)):
        row = row.copy()
        row[rng.sample(range(POINTS), 6)] = rng.choices(range(16), k=6)
        rows.append(row)
    return pack(np.stack(rows))


def equalised(blocks: list[Block]) -> list[Block]:
    """Return the blocks with random equalisers in their coded channels, but not in all of them."""

    def change(block: Block, index: int, channel: ChannelBlock) -> ChannelBlock:
        if (block.sequence + index) % 3 == 2:
            return channel
        return replace(channel, equaliser=equaliser(101 * block.sequence + index, block.frames))

    return changed_channels(blocks, change)


def attacked(blocks: list[Block]) -> list[Block]:
    """Return the blocks with random attacks in coded channels, but not in all of them; some are close together."""

    def change(block: Block, index: int, channel: ChannelBlock) -> ChannelBlock:
        if (block.sequence + 2 * index) % 4 == 1:
            return channel
        rng = random.Random(103 * block.sequence + index)
        positions = sorted({0, *rng.sample(range(16 * block.frames), min(block.frames - 1, 3))})
        return replace(channel, attacks=tuple(Attack(position, rng.randint(1, 60)) for position in positions))

    return changed_channels(blocks, change)


def changed_channels(blocks: list[Block], change: Callable[[Block, int, ChannelBlock], ChannelBlock]) -> list[Block]:
    """Return the blocks with what `change` makes of their coded channels, by block and number."""

    def changed(block: Block) -> Block:
        numbered = enumerate(block.channels)
        return replace(block, channels=tuple(change(block, i, c) if c.mode == CODED else c for i, c in numbered))

    return [changed(block) for block in blocks]


def make_blocks(head: Head, count: int = 3, last_frames: int = 17) -> list[Block]:
    """Return `count` blocks, the last with `last_frames` frames."""
    last, last_frames = count - 1, min(last_frames, head.frames_per_block)
    return [make_block(head, i, i == last, last_frames if i == last else None) for i in range(count)]


def write_file(head: Head | None = None, blocks: list[Block] | None = None, **options: object) -> bytes:
    """Return a whole file, by default stereo with three blocks and no tags."""
    head = make_head() if head is None else head
    blocks = make_blocks(head) if blocks is None else blocks
    samples = options.pop("source_samples", None)
    stream = io.BytesIO()
    writer = Writer(stream, head, **options)  # type: ignore[arg-type]
    for block in blocks:
        writer.write_block(block)
    if samples is None:
        samples = max(0, sum(block.frames for block in blocks) * head.hop * head.source_rate // head.rate - 3)
        samples = head.source_samples if head.source_samples is not None else samples
    writer.finish(int(str(samples)), bytes(range(16, 32)))
    return stream.getvalue()


def chunk_spans(data: bytes) -> list[tuple[bytes, int, int]]:
    """Return (type, start, end) of every chunk of an intact file."""
    spans, at = [], len(wire.MAGIC)
    while at < len(data) - len(wire.END):
        kind, length = wire.CHUNK_HEADER.unpack_from(data, at)
        spans.append((kind, at, at + length + wire.CHUNK_OVERHEAD))
        at = spans[-1][2]
    return spans


def split(data: bytes) -> list[tuple[bytes, bytes]]:
    """Return (type, payload) of every chunk of an intact file."""
    return [(kind, data[start + 8 : end - 4]) for kind, start, end in chunk_spans(data)]


def join(chunks: list[tuple[bytes, bytes]], **tail_changes: object) -> bytes:
    """Return a file of these chunks with right CRCs and, in TAIL, right size, index offset and SHA-256.

    Everything else in TAIL stays, unless `tail_changes` names it; so a file that lies can be made on purpose.
    """
    data, index_offset = wire.MAGIC, 0
    for kind, payload in chunks:
        if kind == wire.TAIL and len(payload) == wire.TAIL_BYTES:
            size = len(data) + wire.TAIL_CHUNK_BYTES + len(wire.END)
            right = {"index_offset": index_offset, "file_size": size, "sha256": hashlib.sha256(data).digest()}
            tail = replace(wire.parse_tail(payload), **{**right, **tail_changes})  # type: ignore[arg-type]
            payload = wire.pack_tail(tail)
        if kind == wire.INDEX:
            index_offset = len(data)
        data += wire.pack_chunk(kind, payload)
    return data + wire.END


def read_all(source: object) -> list[Block]:
    """Return all blocks, the whole file checked."""
    with Reader(source) as reader:  # type: ignore[arg-type]
        return list(reader.blocks())


class Pipe(io.RawIOBase):
    """A stream that cannot seek and gives a few bytes at a time."""

    def __init__(self, data: bytes, piece: int = 7) -> None:
        self._inner, self._piece = io.BytesIO(data), piece

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def read(self, size: int = -1) -> bytes:
        return self._inner.read(min(size, self._piece) if size >= 0 else self._piece)
