"""Codes to samples: any range of an open `.dacz` file, at the source's rate, exact in length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from dacfile.arguments import whole
from dacfile.attacks import Attacks
from dacfile.audio.resample import Resampler, range_for, resampled_length
from dacfile.audio.stereo import restore
from dacfile.blocks import CodedBlock, decode_codes
from dacfile.container import CODED, SAME, TRANSFORM_MID_SIDE, Block, Reader
from dacfile.entropy import Prior
from dacfile.equaliser import FrameGains
from dacfile.errors import StructureError, UsageError
from dacfile.model.facts import SIDE, Facts
from dacfile.pieces import piece_frames, regroup
from dacfile.stream import StreamDecoder, WindowCodec, check_model
from dacfile.windows import ABSENT, frames_for


@dataclass(frozen=True)
class Span:
    """Samples [start, stop) of a channel that no codes stand for: silent, or the same as channel 0."""

    channel: int
    start: int
    stop: int
    same: bool


class FileWindowDecoder:
    """Decode the windows of a file: those without codes to zeros, no network runs; channel 1 of mid/side as SIDE.

    `gains` are those of the blocks that have been read.
    """

    def __init__(self, codec: WindowCodec, mid_side: bool, gains: FrameGains) -> None:
        self._codec, self._mid_side, self._gains = codec, mid_side, gains
        self.facts, self.batch = codec.facts, codec.batch

    def decode_windows(self, codes: np.ndarray, first_frames: Sequence[int], channels: Sequence[int]) -> np.ndarray:
        """Decode as the codec does, with the file's gains, but windows without any code to zeros."""
        firsts, places = np.array(first_frames), np.array(channels)
        gains = self._gains.at(firsts, places, codes.shape[-1])
        numbers = np.where(places == 1, SIDE, places) if self._mid_side else places
        rows = np.flatnonzero((codes != ABSENT).any(axis=(1, 2)))
        out = np.zeros((len(codes), self.facts.decoded(codes.shape[-1])), np.float32)
        if len(rows):
            others = () if gains is None else (gains[rows],)
            out[rows] = self._codec.decode_windows(codes[rows], firsts[rows].tolist(), numbers[rows].tolist(), *others)
        return out


def source_length(reader: Reader) -> int:
    """Return the source's samples per channel; raises UsageError for a pipe that does not say it at its start."""
    if reader.source_samples is None:
        raise UsageError("this file says how long it is only at its end: save it to a disk, then decode it")
    return reader.source_samples


class Decoder:
    """Decode an open file; a reader of a pipe can be decoded once, from its start on.

    `codebooks` caps the layers used. Raises ModelMismatch, and UsageError for a cap that makes no sense.
    """

    def __init__(
        self, reader: Reader, codec: WindowCodec, prior: Prior | None = None, codebooks: int | None = None
    ) -> None:
        check_model(reader.head, codec)
        if codebooks is not None and not 1 <= whole(codebooks, "codebooks") <= reader.head.codebooks:
            raise UsageError(f"{codebooks} codebooks: this file has 1 to {reader.head.codebooks}")
        self.reader, self.head = reader, reader.head
        self._mid_side = self.head.transform == TRANSFORM_MID_SIDE
        self._codec, self._prior, self._codebooks = codec, prior, codebooks

    def samples(self, start: int = 0, stop: int | None = None) -> Iterator[np.ndarray]:
        """Yield the source's samples [start, stop), float32 [n, C], at its own rate.

        Positions beyond the end mean the end. Raises DaczError when the file is damaged, also after some samples.
        """
        total = source_length(self.reader)
        stop = total if stop is None else min(stop, total)
        start = min(max(start, 0), stop)
        length = resampled_length(total, self.head.source_rate, self.head.rate)
        first, end, skip = range_for(start, stop, self.head.rate, self.head.source_rate, length)
        resampler = Resampler(self.head.rate, self.head.source_rate, self.head.channels)
        needed = skip + stop - start  # samples of the resampler's output
        for block in self._at_model_rate(first, end, length):
            given = resampler.given
            for part in resampler.pieces(block):
                yield part[max(skip - given, 0) : max(needed - given, 0)]
                given = resampler.given
        given = resampler.given
        if given < needed:
            yield resampler.finish(needed)[max(skip - given, 0) :]

    def _at_model_rate(self, start: int, stop: int, total: int) -> Iterator[np.ndarray]:
        """Yield the samples [start, stop) of `total`, float32 [n, C], at the model's rate, as the source had them."""
        facts = self._codec.facts
        first_frame, end_frame = frames_for(facts, start, stop, total)
        gains, attacks, patches = FrameGains(self.head.frames_per_block), Attacks(facts.hop, start), Patches(start)
        codec = FileWindowDecoder(self._codec, self._mid_side, gains)
        stream = StreamDecoder(codec, self.head.channels, stop, first_frame, start)
        size = piece_frames(self._codec, facts.decoder_context, self.head.channels)
        missing = end_frame - first_frame

        def finished(samples: np.ndarray) -> np.ndarray:
            return restore(patches.apply(attacks.apply(samples)), self.head.gains, self._mid_side)

        for codes in regroup(self._codes(first_frame, end_frame, gains, attacks, patches), size, axis=-1):
            missing -= codes.shape[-1]
            yield finished(stream.push(codes))
        if missing:
            raise StructureError(f"the file has {missing} frames too few for its length")
        yield finished(stream.finish())

    def _codes(
        self, first_frame: int, end_frame: int, gains: FrameGains, attacks: Attacks, patches: Patches
    ) -> Iterator[np.ndarray]:
        """Yield the codes of the frames, uint16 [C, K, t]; note their equalisers, attacks, and where there are none."""
        blocks = blocks_with(self.reader, first_frame, end_frame)
        for block in decode_codes(blocks, self.head, self._prior, self._codebooks):
            patches.add(block, self._codec.facts)
            if (any(block.equalisers) or any(block.attacks)) and not self._codec.facts.equalises:
                raise StructureError(f"block {block.sequence}: an equaliser or attacks, which its model does not have")
            gains.add(block.sequence, block.equalisers, block.frames)
            attacks.add(block.first_frame, block.attacks)
            low = max(first_frame - block.first_frame, 0)
            yield block.dense(self.head.codebooks)[..., low : end_frame - block.first_frame]


def blocks_with(reader: Reader, first_frame: int, end_frame: int) -> Iterator[Block]:
    """Yield the blocks that hold the frames [first_frame, end_frame).

    When these are all frames, or the file is a pipe, the whole file is read and checked to its last byte.
    """
    size = reader.head.frames_per_block
    first, end = first_frame // size, -(-end_frame // size)
    if reader.tail is not None and (first > 0 or end < reader.block_count):
        yield from (reader.block(number) for number in range(first, min(end, reader.block_count)))
        return
    for block in reader.blocks():
        if first <= block.sequence < end:
            yield block


class Patches:
    """Put silence and copies of channel 0 where the file has no codes, as the samples pass."""

    def __init__(self, position: int) -> None:
        self._position = position  # of the next sample
        self._spans: list[Span] = []

    def add(self, block: CodedBlock, facts: Facts) -> None:
        """Note the spans of a block; its samples pass later."""
        start = block.first_frame * facts.hop - facts.lead
        stop = (block.first_frame + block.frames) * facts.hop
        for channel, mode in enumerate(block.modes):
            if mode != CODED:
                self._spans.append(Span(channel, start, stop, mode == SAME))

    def apply(self, samples: np.ndarray) -> np.ndarray:
        """Return the next samples float32 [n, C] with the spans put in place."""
        low, high = self._position, self._position + len(samples)
        for span in sorted(self._spans, key=lambda span: span.same):  # copies of channel 0 after its own silence
            part = slice(max(span.start - low, 0), max(span.stop - low, 0))
            samples[part, span.channel] = samples[part, 0] if span.same else 0
        self._position = high
        self._spans = [span for span in self._spans if span.stop > high]
        return samples
