"""A reader for programs: facts, tags and codes of a `.dacz` file without torch, audio with it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from dacfile.arguments import whole
from dacfile.blocks import decode_codes
from dacfile.container import SAME, Head, Picture, Reader
from dacfile.errors import UsageError
from dacfile.limits import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    from dacfile.report import FileReport
    from dacfile.stream import WindowCodec

EPSILON = 1e-9  # of a frame: 0.3 s times 500 frames a second is 150, not a little more


class DaczFile:
    """An open `.dacz` file; a context manager. Opening reads only its two ends.

    Raises DaczError when it is not an intact `.dacz` file, OSError when it cannot be read.
    """

    def __init__(self, path: str | PathLike[str], limits: Limits = DEFAULT_LIMITS) -> None:
        self.path = Path(path)
        self._limits = limits
        self._reader = Reader(self.path, limits)

    def __enter__(self) -> DaczFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._reader.close()

    @property
    def head(self) -> Head:
        """What the file's header says: rates, model, prior, gains."""
        return self._reader.head

    @property
    def tags(self) -> tuple[tuple[str, str], ...]:
        """Tags as (key, value) pairs, in order, duplicates kept."""
        return self._reader.tags

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """Embedded pictures."""
        return self._reader.pictures

    @property
    def rate(self) -> int:
        """Sample rate of the source, Hz."""
        return self.head.source_rate

    @property
    def channels(self) -> int:
        """Number of channels of the source."""
        return self.head.channels

    @property
    def samples(self) -> int:
        """Samples per channel of the source."""
        return self._reader.source_samples or 0

    @property
    def frames(self) -> int:
        """Frames of codes."""
        return self._reader.total_frames

    @property
    def seconds(self) -> float:
        """Duration of the source."""
        return self.samples / self.rate

    @property
    def source_digest(self) -> bytes:
        """First 16 bytes of the SHA-256 of the source's samples, zeros if not recorded."""
        return self._reader.tail.source_digest if self._reader.tail else bytes(16)

    @cached_property
    def info(self) -> FileReport:
        """Sizes, bit rates and where the bytes go; reads and checks the whole file once."""
        from dacfile.report import describe

        return describe(self.path, self._limits)

    def codes(self, start: float = 0.0, stop: float | None = None, codebooks: int | None = None) -> np.ndarray:
        """Return the codes of the frames that hold [start, stop) seconds, uint16 [channels, codebooks, frames].

        With mid/side the first two channels are mid and side. 65,535 stands where nothing is stored: a layer that was
        left out, or a silent channel; a channel that equals channel 0 has its codes. Gains, equalisers and attacks,
        with which `read` decodes, are no part of the codes. Raises UsageError for times or a number of codebooks that
        make no sense, EntropyMismatch, PriorNotFound.
        """
        from dacfile.installed import prior_of

        layers = self.head.codebooks if codebooks is None else whole(codebooks, "codebooks")
        if not 1 <= layers <= self.head.codebooks:
            raise UsageError(f"{layers} codebooks: this file has 1 to {self.head.codebooks}")
        first, end = self._frame_range(start, stop)
        parts = [np.zeros((self.channels, layers, 0), np.uint16)]
        size = self.head.frames_per_block
        numbers = range(first // size, -(-end // size) if end > first else first // size)
        blocks = (self._reader.block(number) for number in numbers)
        for block in decode_codes(blocks, self.head, prior_of(self.head, self.path), layers):
            dense = block.dense(layers)
            for channel, mode in enumerate(block.modes):
                if mode == SAME:
                    dense[channel] = dense[0]
            parts.append(dense[..., max(first - block.first_frame, 0) : end - block.first_frame])
        return np.concatenate(parts, axis=-1)

    def blocks(
        self,
        start: float = 0.0,
        stop: float | None = None,
        codebooks: int | None = None,
        codec: WindowCodec | None = None,
    ) -> Iterator[np.ndarray]:
        """Yield the audio of [start, stop) seconds in pieces, float32 [samples, channels] at the source's rate.

        `codec` saves loading the model again for every file. Raises DaczError.
        """
        from dacfile.decoder import Decoder
        from dacfile.installed import Codecs, prior_of

        prior = prior_of(self.head, self.path)
        decoder = Decoder(self._reader, codec or Codecs().for_head(self.head), prior, codebooks)
        low, high = self._clamp(start), self._clamp(math.inf if stop is None else stop)
        return decoder.samples(round(low * self.rate), round(high * self.rate))

    def _frame_range(self, start: float, stop: float | None) -> tuple[int, int]:
        per_second = self.head.rate / self.head.hop
        first = math.floor(self._clamp(start) * per_second + EPSILON)
        end = self.frames if stop is None else math.ceil(self._clamp(stop) * per_second - EPSILON)
        return min(first, end), min(end, self.frames)

    def _clamp(self, seconds: float) -> float:
        if not seconds >= 0:
            raise UsageError(f"{seconds:g} seconds is not a place in a file")
        return min(seconds, self.seconds)
