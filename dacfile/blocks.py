"""Codes of a whole file <-> the blocks of the container: modes, layers, entropy coding of several blocks at once.

A channel of a block [a, b) that is not coded has no codes. Its samples [a * hop - lead, b * hop), all that its frames
see, are zero (SILENT) or those of channel 0 (SAME), at the rate of the model and before the gains are undone. A decoder
treats the missing codes as ABSENT and then puts these samples in place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TypeVar

import numpy as np

from dacfile.container import CODED, SAME, SILENT, Attack, Block, ChannelBlock, Head, Layer
from dacfile.entropy import Prior, decode_blocks, encode_blocks
from dacfile.entropy.coder import StoredLayer
from dacfile.equalising import Correction, Equalising
from dacfile.model.facts import Facts
from dacfile.windows import ABSENT

GROUP = 16  # blocks that are entropy coded together: priors are faster on several

_T = TypeVar("_T")


@dataclass(frozen=True)
class CodedBlock:
    """One block: per channel its mode and, if CODED, codes uint16 [layers, frames], perhaps equaliser and attacks."""

    sequence: int
    first_frame: int
    frames: int
    modes: tuple[int, ...]
    codes: tuple[np.ndarray | None, ...]
    equalisers: tuple[bytes, ...] = ()  # of every channel, empty where it has none
    attacks: tuple[tuple[Attack, ...], ...] = ()  # of every channel

    def __post_init__(self) -> None:
        if not self.equalisers:
            object.__setattr__(self, "equalisers", (b"",) * len(self.modes))
        if not self.attacks:
            object.__setattr__(self, "attacks", ((),) * len(self.modes))

    def dense(self, codebooks: int) -> np.ndarray:
        """Return uint16 [C, codebooks, frames], ABSENT where nothing is stored."""
        out = np.full((len(self.modes), codebooks, self.frames), ABSENT, np.uint16)
        for channel, codes in enumerate(self.codes):
            if codes is not None:
                out[channel, : len(codes)] = codes[:codebooks]
        return out


class Silence:
    """Tell which frames see nothing but zeros, from the coded channels' samples as they pass."""

    def __init__(self, facts: Facts, channels: int) -> None:
        self._facts = facts
        self._lead = -(-facts.lead // facts.hop)  # hops before its own that a frame sees
        self._rest = np.zeros((channels, 0), np.float32)
        self._loud = np.zeros((self._lead, channels), bool)  # one row a hop, the first one for hop _first
        self._first = -self._lead

    def push(self, samples: np.ndarray) -> None:
        """Take float32 samples [n, C]."""
        rows = np.concatenate([self._rest, samples.T], axis=1)
        hops = rows.shape[1] // self._facts.hop
        whole = rows[:, : hops * self._facts.hop].reshape(len(rows), hops, self._facts.hop)
        self._loud = np.concatenate([self._loud, (whole != 0).any(axis=2).T])
        self._rest = rows[:, hops * self._facts.hop :]

    def finish(self) -> None:
        """Take the incomplete hop at the end of the file."""
        self._loud = np.concatenate([self._loud, (self._rest != 0).any(axis=1)[None]])

    def silent(self, first_frame: int, frames: int) -> np.ndarray:
        """Return bool [C]: whether these frames see only zeros. Blocks are asked for in order; the past is dropped."""
        start = first_frame - self._lead - self._first
        seen = self._loud[start : start + self._lead + frames]
        keep = start + frames
        self._loud, self._first = self._loud[keep:], self._first + keep
        return np.logical_not(seen.any(axis=0))


class BlockMaker:
    """Cut a file's codes, as they come, into blocks, and entropy code them in groups.

    `layers` and `same` are per channel of the file; codes come only for the channels in `coded`. `equalising`, if any,
    has had the samples of a block before the last of its codes come.
    """

    def __init__(
        self,
        head: Head,
        total_frames: int,
        layers: Sequence[int],
        same: Sequence[bool],
        silence: Silence,
        prior: Prior | None,
        equalising: Equalising | None = None,
    ) -> None:
        self._head, self._total, self._prior, self._silence = head, total_frames, prior, silence
        self._equalising = equalising
        self._layers, self._same = layers, same
        self._coded = [c for c, depth in enumerate(layers) if depth and not same[c]]
        self._held = np.zeros((len(self._coded), head.codebooks, 0), np.uint16)
        self._group: list[CodedBlock] = []
        self._done = 0  # frames in complete blocks

    def push(self, codes: np.ndarray) -> Iterator[Block]:
        """Take uint16 codes [coded channels, K, t]; yield the blocks of every group that is full."""
        self._held = np.concatenate([self._held, codes], axis=-1)
        size = self._head.frames_per_block
        while self._held.shape[-1] >= size:
            self._cut(size)
            if len(self._group) == GROUP:
                yield from self._encode()

    def finish(self) -> Iterator[Block]:
        """Yield the remaining blocks; the last one may be short."""
        if self._held.shape[-1]:
            self._cut(self._held.shape[-1])
        yield from self._encode()

    def silent_file(self) -> Iterator[Block]:
        """Yield the blocks of a file in which no channel has codes."""
        while self._done < self._total:
            self._cut(min(self._head.frames_per_block, self._total - self._done))
        yield from self._encode()

    def _cut(self, frames: int) -> None:
        part, self._held = self._held[..., :frames], self._held[..., frames:]
        modes = self._modes(frames)
        arrays: list[np.ndarray | None] = [None] * len(self._layers)
        for row, channel in enumerate(self._coded):
            if modes[channel] == CODED:
                arrays[channel] = part[row, : self._layers[channel]]
        sequence = self._done // self._head.frames_per_block
        self._group.append(self._equalised(CodedBlock(sequence, self._done, frames, tuple(modes), tuple(arrays))))
        self._done += frames

    def _equalised(self, block: CodedBlock) -> CodedBlock:
        """Return the next block with the corrections of its coded channels, where the file shall have any."""
        if self._equalising is None:
            return block
        places = [place for place, channel in enumerate(self._coded) if block.modes[channel] == CODED]
        codes = block.dense(self._head.codebooks)[self._coded]
        found = self._equalising.of_block(block.first_frame, codes, places)
        by_channel = {self._coded[place]: correction for place, correction in found.items()}
        corrections = [by_channel.get(channel, Correction(b"", ())) for channel in range(len(block.modes))]
        equalisers, attacks = zip(*corrections, strict=True)
        return replace(block, equalisers=equalisers, attacks=attacks)

    def _modes(self, frames: int) -> list[int]:
        modes = [SILENT] * len(self._layers)
        quiet = self._silence.silent(self._done, frames)
        for row, channel in enumerate(self._coded):
            modes[channel] = SILENT if quiet[row] else CODED
        return [SAME if same and modes[0] == CODED else mode for mode, same in zip(modes, self._same, strict=True)]

    def _encode(self) -> Iterator[Block]:
        group, self._group = self._group, []
        yield from encode_codes(group, self._head, self._total, self._prior)


def grouped(blocks: Iterable[_T]) -> Iterator[list[_T]]:
    """Yield the blocks in lists of GROUP, the last one perhaps shorter."""
    blocks = iter(blocks)
    while group := list(islice(blocks, GROUP)):
        yield group


def encode_layers(blocks: Sequence[CodedBlock], head: Head, prior: Prior | None) -> list[list[list[StoredLayer]]]:
    """Return the (bytes, CRC of the codes) of every layer, `[block][channel][layer]`, coded by `prior` (None: raw)."""
    firsts = [block.first_frame for block in blocks]
    return encode_blocks(prior, [block.codes for block in blocks], firsts, head.codebook_size)


def encode_codes(blocks: Sequence[CodedBlock], head: Head, total_frames: int, prior: Prior | None) -> Iterator[Block]:
    """Yield blocks as they are stored, coded by `prior` (None: raw); `total_frames` tells which is a file's last."""
    for block, channels in zip(blocks, encode_layers(blocks, head, prior), strict=True):
        last = block.first_frame + block.frames == total_frames
        yield Block(block.sequence, block.frames, last, stored_channels(block, channels))


def stored_channels(block: CodedBlock, channels: Iterable[Sequence[StoredLayer]]) -> tuple[ChannelBlock, ...]:
    """Return the channels of a block as they are stored, with the (bytes, CRC) of their layers."""
    return tuple(
        ChannelBlock(mode, tuple(Layer(data, crc) for data, crc in layers), equaliser, attacks)
        for mode, layers, equaliser, attacks in zip(block.modes, channels, block.equalisers, block.attacks, strict=True)
    )


def decode_codes(
    blocks: Iterable[Block], head: Head, prior: Prior | None, codebooks: int | None = None
) -> Iterator[CodedBlock]:
    """Yield the codes of blocks, at most `codebooks` layers of each; raises EntropyMismatch when they are not exact."""
    for group in grouped(blocks):
        firsts = [block.sequence * head.frames_per_block for block in group]
        payloads = [[_payload(channel) for channel in block.channels] for block in group]
        frames = [block.frames for block in group]
        decoded = decode_blocks(prior, payloads, frames, codebooks, firsts, head.codebook_size)
        for block, first, codes in zip(group, firsts, decoded, strict=True):
            modes = tuple(channel.mode for channel in block.channels)
            equalisers = tuple(channel.equaliser for channel in block.channels)
            attacks = tuple(channel.attacks for channel in block.channels)
            yield CodedBlock(block.sequence, first, block.frames, modes, tuple(codes), equalisers, attacks)


def _payload(channel: ChannelBlock) -> list[StoredLayer] | None:
    return [(layer.data, layer.codes_crc) for layer in channel.layers] if channel.mode == CODED else None
