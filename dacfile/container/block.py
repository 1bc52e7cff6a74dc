"""The BLOC payload: a run of frames, coded independently of the other blocks (spec section 6)."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple, TypeVar

from dacfile.errors import StructureError, UnsupportedFeature

from .head import CODER_RAW, Head
from .wire import U32_MAX

SILENT, SAME, CODED = 0, 1, 2
# As stored: CODED with an equaliser; with attacks and perhaps one. 3 was another form, before version 1.0 was final.
_EQUALISED, _ATTACKED = 4, 5
STRETCH = 64  # frames that share the gains of an equaliser
STRETCH_BYTES = 40  # of such gains, not range coded
ATTACK_STEPS = 16  # places of an attack within a frame
MOST_ATTACKS = 255  # in a channel of a block

_FIXED = struct.Struct("<IHBB")  # sequence, frames, flags, reserved
_LAYER = struct.Struct("<HI")  # length, codes_crc
_SIZE = struct.Struct("<H")  # of an equaliser
_ATTACK = struct.Struct("<HB")  # position, depth
FIXED_BYTES = _FIXED.size
_LAST = 0x01

_T = TypeVar("_T")


@dataclass(frozen=True)
class Layer:
    """The stored bytes of one codebook of one channel, and the CRC-32 of its codes as u16 little-endian."""

    data: bytes
    codes_crc: int


class Attack(NamedTuple):
    """An attack in a channel of a block, before which decoded samples are turned down (`dacfile.attacks`).

    `position` counts sixteenths of a frame from the block's first one on, `depth` is in dB, 1..255.
    """

    position: int
    depth: int


@dataclass(frozen=True)
class ChannelBlock:
    """One channel of a block: SILENT, SAME (as channel 0) or CODED with 1..K layers, coarse to fine.

    A CODED one may have an equaliser (`dacfile.equaliser_code`), at most `raw_equaliser_bytes` long, else it is empty;
    and up to `most_attacks`, in their order.
    """

    mode: int
    layers: tuple[Layer, ...] = ()
    equaliser: bytes = b""
    attacks: tuple[Attack, ...] = ()


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


def most_attacks(frames: int) -> int:
    """Return how many attacks a channel of so many frames may have: one a frame, and no more than a byte counts."""
    return min(frames, MOST_ATTACKS)


def max_block_bytes(head: Head) -> int:
    """Return the largest BLOC payload that HEAD allows: what a reader has to be ready to hold."""
    layer = _LAYER.size + head.raw_layer_bytes(head.frames_per_block)
    equaliser = _SIZE.size + raw_equaliser_bytes(head.frames_per_block)
    attacks = 1 + most_attacks(head.frames_per_block) * _ATTACK.size
    return FIXED_BYTES + head.channels * (2 + equaliser + attacks + head.codebooks * layer)


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
    bare, tables, at = _parse_tables(payload, head, sequence, frames)
    if at + sum(size for size, _ in _coding_order(tables)) != len(payload):
        raise StructureError(f"block {sequence}: the lengths of its layers disagree with the length of the chunk")
    layers: list[list[Layer]] = [[] for _ in tables]
    for index, (size, crc) in _coding_order([[(c, entry) for entry in table] for c, table in enumerate(tables)]):
        layers[index].append(Layer(payload[at : at + size], crc))
        at += size
    channels = tuple(replace(channel, layers=tuple(own)) for channel, own in zip(bare, layers, strict=True))
    block = Block(sequence, frames, bool(flags & _LAST), channels)
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
        _check_attacks(channel, block.frames, f"{name}, channel {index}")


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


def _check_attacks(channel: ChannelBlock, frames: int, name: str) -> None:
    if channel.attacks and channel.mode != CODED:
        raise StructureError(f"{name}: attacks do not fit its mode")
    if len(channel.attacks) > most_attacks(frames):
        raise StructureError(f"{name}: {len(channel.attacks)} attacks in {frames} frames")
    positions = [-1, *(attack.position for attack in channel.attacks), frames * ATTACK_STEPS]
    if any(second <= first for first, second in pairwise(positions)):
        raise StructureError(f"{name}: attacks that are not in order, or not in its frames")
    if not all(1 <= attack.depth <= 255 for attack in channel.attacks):
        raise StructureError(f"{name}: an attack of no depth, or beyond 255 dB")


def _pack_table(channel: ChannelBlock) -> bytes:
    if channel.mode != CODED:
        return bytes((channel.mode,))
    mode = _ATTACKED if channel.attacks else _EQUALISED if channel.equaliser else CODED
    parts = [bytes((mode, len(channel.layers)))]
    if mode != CODED:
        parts += _SIZE.pack(len(channel.equaliser)), channel.equaliser
    if mode == _ATTACKED:
        parts += bytes((len(channel.attacks),)), *(_ATTACK.pack(*attack) for attack in channel.attacks)
    return b"".join((*parts, *(_LAYER.pack(len(layer.data), layer.codes_crc) for layer in channel.layers)))


def _parse_tables(
    payload: bytes, head: Head, sequence: int, frames: int
) -> tuple[list[ChannelBlock], list[list[tuple[int, int]]], int]:
    """Return every channel without its layers, (length, codes_crc) of these, and where they start."""
    channels, tables, at = [], [], FIXED_BYTES
    for index in range(head.channels):
        channel, table, at = _parse_entry(payload, at, head, frames, f"block {sequence}, channel {index}")
        channels.append(channel)
        tables.append(table)
    return channels, tables, at


def _parse_entry(
    payload: bytes, at: int, head: Head, frames: int, name: str
) -> tuple[ChannelBlock, list[tuple[int, int]], int]:
    """Return a channel without its layers, (length, codes_crc) of these, and where its entry of the table ends.

    Everything is read by offset from bytes that are already here, so a wrong count allocates nothing.
    """
    mode = payload[at] if at < len(payload) else SILENT
    stored = mode in (CODED, _EQUALISED, _ATTACKED)
    count = payload[at + 1] if stored and at + 1 < len(payload) else 0
    if stored and not 1 <= count <= head.codebooks:
        raise StructureError(f"{name}: {count} layers, not 1..{head.codebooks}")
    at += 2 if stored else 1
    equaliser, attacks = b"", tuple[Attack, ...]()
    if mode in (_EQUALISED, _ATTACKED):
        equaliser, at = _parse_equaliser(payload, at, int(mode == _EQUALISED), raw_equaliser_bytes(frames), name)
    if mode == _ATTACKED:
        attacks, at = _parse_attacks(payload, at, name)
    end = at + count * _LAYER.size
    if end > len(payload):
        raise StructureError(f"{name}: the block's table does not fit in the chunk")
    if not stored and mode not in (SILENT, SAME):
        raise UnsupportedFeature(f"{name}: mode {mode} is unknown; update this program")
    channel = ChannelBlock(CODED if stored else mode, (), equaliser, attacks)
    return channel, list(_LAYER.iter_unpack(payload[at:end])), end


def _parse_equaliser(payload: bytes, at: int, least: int, most: int, name: str) -> tuple[bytes, int]:
    """Return the equaliser whose length, `least` to `most`, is stored at `at`, and where it ends.

    A wrong length would make the modes after it meaningless.
    """
    start = at + _SIZE.size
    size = int.from_bytes(payload[at:start], "little")
    if not least <= size <= min(most, len(payload) - start):
        raise StructureError(f"{name}: an equaliser of {size} bytes does not fit its frames or the chunk")
    return payload[start : start + size], start + size


def _parse_attacks(payload: bytes, at: int, name: str) -> tuple[tuple[Attack, ...], int]:
    """Return the attacks whose number is stored at `at`, and where they end."""
    count, start = payload[at] if at < len(payload) else 0, at + 1
    end = start + count * _ATTACK.size
    if not count or end > len(payload):
        raise StructureError(f"{name}: {count} attacks do not fit its mode or the chunk")
    return tuple(Attack(*numbers) for numbers in _ATTACK.iter_unpack(payload[start:end])), end


def _coding_order(channels: Sequence[Sequence[_T]]) -> Iterator[_T]:
    """Yield layer by layer and, in each, channel by channel: the first n layers are the start of every block."""
    for k in range(max(map(len, channels), default=0)):
        for layers in channels:
            if k < len(layers):
                yield layers[k]
