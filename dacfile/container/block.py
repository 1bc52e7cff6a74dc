"""The BLOC payload: a run of frames, coded independently of the other blocks (spec section 6)."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from dacfile.errors import StructureError, UnsupportedFeature

from .head import CODER_RAW, Head
from .wire import U32_MAX

SILENT, SAME, CODED = 0, 1, 2
_EQUALISED = 4  # as stored: CODED, with an equaliser; 3 was another form of it, before version 1.0 was final
STRETCH = 64  # frames that share the gains of an equaliser
STRETCH_BYTES = 40  # of such gains, not range coded

_FIXED = struct.Struct("<IHBB")  # sequence, frames, flags, reserved
_LAYER = struct.Struct("<HI")  # length, codes_crc
_SIZE = struct.Struct("<H")  # of an equaliser
FIXED_BYTES = _FIXED.size
_LAST = 0x01

_T = TypeVar("_T")


@dataclass(frozen=True)
class Layer:
    """The stored bytes of one codebook of one channel, and the CRC-32 of its codes as u16 little-endian."""

    data: bytes
    codes_crc: int


@dataclass(frozen=True)
class ChannelBlock:
    """One channel of a block: SILENT, SAME (as channel 0) or CODED with 1..K layers, coarse to fine.

    A CODED one may have an equaliser (`dacfile.equaliser_code`), at most `raw_equaliser_bytes` long; else it is empty.
    """

    mode: int
    layers: tuple[Layer, ...] = ()
    equaliser: bytes = b""


@dataclass(frozen=True)
class Block:
    """A run of `frames` frames of all channels; all blocks but the last have HEAD's `frames_per_block`."""

    sequence: int
    frames: int
    last: bool
    channels: tuple[ChannelBlock, ...]


def count_stretches(frames: int) -> int:
    """Return how many stretches so many frames have; the last one may be shorter."""
    return -(-frames // STRETCH)


def raw_equaliser_bytes(frames: int) -> int:
    """Return the length of an equaliser for so many frames that is not range coded: the largest one."""
    return count_stretches(frames) * STRETCH_BYTES


def max_block_bytes(head: Head) -> int:
    """Return the largest BLOC payload that HEAD allows: what a reader has to be ready to hold."""
    layer = _LAYER.size + head.raw_layer_bytes(head.frames_per_block)
    equaliser = _SIZE.size + raw_equaliser_bytes(head.frames_per_block)
    return FIXED_BYTES + head.channels * (2 + equaliser + head.codebooks * layer)


def min_block_bytes(head: Head) -> int:
    """Return the smallest BLOC payload: every channel silent."""
    return FIXED_BYTES + head.channels


def pack_block(block: Block, head: Head) -> bytes:
    """Return the BLOC payload; raises `StructureError` for a block that no reader would accept."""
    check_block(block, head)
    tables = b"".join(_pack_table(channel) for channel in block.channels)
    data = b"".join(layer.data for layer in _coding_order([channel.layers for channel in block.channels]))
    return _FIXED.pack(block.sequence, block.frames, _LAST if block.last else 0, 0) + tables + data


def parse_block(payload: bytes, head: Head) -> Block:
    """Return the fields of a BLOC payload whose CRC is right; raises `StructureError` or `UnsupportedFeature`."""
    if len(payload) < FIXED_BYTES:
        raise StructureError(f"BLOC has {len(payload)} bytes, fewer than {FIXED_BYTES}")
    sequence, frames, flags, reserved = _FIXED.unpack_from(payload)
    if flags & ~_LAST or reserved:
        raise UnsupportedFeature(f"block {sequence} uses reserved bits: the file needs a newer version of this program")
    modes, equalisers, tables, at = _parse_tables(payload, head, sequence, raw_equaliser_bytes(frames))
    sizes = [size for size, _ in _coding_order(tables)]
    if at + sum(sizes) != len(payload):
        raise StructureError(f"block {sequence}: the lengths of its layers disagree with the length of the chunk")
    channels: list[list[Layer]] = [[] for _ in tables]
    for index, (size, crc) in _coding_order([[(c, entry) for entry in table] for c, table in enumerate(tables)]):
        channels[index].append(Layer(payload[at : at + size], crc))
        at += size
    parts = zip(modes, channels, equalisers, strict=True)
    blocks = tuple(ChannelBlock(mode, tuple(layers), equaliser) for mode, layers, equaliser in parts)
    block = Block(sequence, frames, bool(flags & _LAST), blocks)
    check_block(block, head)
    return block


def check_block(block: Block, head: Head) -> None:
    """Raise `StructureError` if the block contradicts HEAD or itself."""
    name = f"block {block.sequence}"
    if not 0 <= block.sequence <= U32_MAX:
        raise StructureError(f"{name}: its number does not fit in 32 bits")
    if not 1 <= block.frames <= head.frames_per_block:
        raise StructureError(f"{name} has {block.frames} frames, not 1..{head.frames_per_block}")
    if not block.last and block.frames != head.frames_per_block:
        raise StructureError(f"{name} has {block.frames} frames, but only the last may have fewer than the others")
    if len(block.channels) != head.channels:
        raise StructureError(f"{name} has {len(block.channels)} channels, not {head.channels}")
    raw = head.raw_layer_bytes(block.frames)
    for index, channel in enumerate(block.channels):
        _check_channel(channel, index, head, raw, f"{name}, channel {index}")
        _check_equaliser(channel, raw_equaliser_bytes(block.frames), f"{name}, channel {index}")


def _check_channel(channel: ChannelBlock, index: int, head: Head, raw: int, name: str) -> None:
    if channel.mode not in (SILENT, SAME, CODED):
        raise UnsupportedFeature(f"{name}: mode {channel.mode} is unknown; the file needs a newer version")
    if channel.mode == SAME and index == 0:
        raise StructureError(f"{name}: it cannot be the same as itself")
    if (channel.mode == CODED) != bool(channel.layers) or len(channel.layers) > head.codebooks:
        raise StructureError(f"{name}: {len(channel.layers)} layers do not fit its mode or {head.codebooks} codebooks")
    for layer in channel.layers:
        if len(layer.data) > raw or (head.coder == CODER_RAW and len(layer.data) != raw):
            raise StructureError(f"{name}: a layer of {len(layer.data)} bytes, where a raw one has {raw}")
        if not 0 <= layer.codes_crc <= U32_MAX:
            raise StructureError(f"{name}: a codes_crc that does not fit in 32 bits")


def _check_equaliser(channel: ChannelBlock, raw: int, name: str) -> None:
    if channel.equaliser and channel.mode != CODED:
        raise StructureError(f"{name}: an equaliser does not fit its mode")
    if len(channel.equaliser) > raw:
        raise StructureError(f"{name}: an equaliser of {len(channel.equaliser)} bytes, where a raw one has {raw}")


def _pack_table(channel: ChannelBlock) -> bytes:
    if channel.mode != CODED:
        return bytes((channel.mode,))
    entries = (_LAYER.pack(len(layer.data), layer.codes_crc) for layer in channel.layers)
    equaliser = channel.equaliser and _SIZE.pack(len(channel.equaliser)) + channel.equaliser
    mode = _EQUALISED if equaliser else CODED
    return b"".join((bytes((mode, len(channel.layers))), equaliser, *entries))


def _parse_tables(
    payload: bytes, head: Head, sequence: int, largest: int
) -> tuple[list[int], list[bytes], list[list[tuple[int, int]]], int]:
    """Return the modes, equalisers, and (length, codes_crc) of the layers of every channel, and where the layers start.

    Everything is read by offset from bytes that are already here, so a wrong count allocates nothing. `largest` is the
    length of a raw equaliser.
    """
    modes, equalisers, tables, at = [], [], [], FIXED_BYTES
    for index in range(head.channels):
        mode = payload[at] if at < len(payload) else SILENT
        stored = mode in (CODED, _EQUALISED)
        count = payload[at + 1] if stored and at + 1 < len(payload) else 0
        if stored and not 1 <= count <= head.codebooks:
            raise StructureError(f"block {sequence}, channel {index}: {count} layers, not 1..{head.codebooks}")
        at += 2 if stored else 1
        equaliser = _parse_equaliser(payload, at, largest, sequence) if mode == _EQUALISED else b""
        start = at + (_SIZE.size + len(equaliser) if equaliser else 0)
        end = start + count * _LAYER.size
        if end > len(payload):
            raise StructureError(f"block {sequence}: its table of channels does not fit in the chunk")
        if mode not in (SILENT, SAME, CODED, _EQUALISED):
            raise UnsupportedFeature(f"block {sequence}, channel {index}: mode {mode} is unknown; update this program")
        modes.append(CODED if stored else mode)
        equalisers.append(equaliser)
        tables.append([_LAYER.unpack_from(payload, start + k * _LAYER.size) for k in range(count)])
        at = end
    return modes, equalisers, tables, at


def _parse_equaliser(payload: bytes, at: int, largest: int, sequence: int) -> bytes:
    """Return the equaliser whose length is stored at `at`; a wrong one would make the modes after it meaningless."""
    start = at + _SIZE.size
    size = int.from_bytes(payload[at:start], "little")
    if not 1 <= size <= min(largest, len(payload) - start):
        raise StructureError(f"block {sequence}: an equaliser of {size} bytes does not fit its frames or the chunk")
    return payload[start : start + size]


def _coding_order(channels: Sequence[Sequence[_T]]) -> Iterator[_T]:
    """Yield layer by layer and, in each, channel by channel: the first n layers are the start of every block."""
    for k in range(max(map(len, channels), default=0)):
        for layers in channels:
            if k < len(layers):
                yield layers[k]
