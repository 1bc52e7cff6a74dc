"""A source at the model's rate: read, resampled and measured in one pass, handed out again in a second one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np

from dacfile.audio.files import AudioReader
from dacfile.audio.resample import Resampler
from dacfile.audio.stereo import LevelMeter, Levels
from dacfile.errors import LimitError, SourceChanged
from dacfile.limits import DEFAULT_LIMITS

KEEP_BYTES = 128 << 20  # of resampled float32 kept from the first pass: 6 minutes of stereo are read only once
DIGEST_BYTES = 16


class Material:
    """The samples of a source at `rate`, and what is known of them after the first pass, which happens at once.

    `samples` counts the source's own samples per channel, `length` those at `rate`. `digest` is the first 16 bytes of
    the SHA-256 of the source's samples as float32, little-endian, channels interleaved. Raises as AudioReader.blocks.
    """

    def __init__(self, reader: AudioReader, rate: int, keep_bytes: int = KEEP_BYTES) -> None:
        self.reader = reader
        self.rate = rate
        self._kept: list[np.ndarray] | None = []
        self._keep_bytes = keep_bytes
        self.samples, self.length, self.digest, self.levels = self._first_pass()

    @property
    def seconds(self) -> float:
        """Duration of the source."""
        return self.samples / self.reader.info.rate

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield the samples at `rate`, float32 [n, C]; raises SourceChanged when they are not those measured."""
        if self._kept is not None:
            yield from self._kept
            return
        digest = hashlib.sha256()
        yield from self._resampled(digest)
        if digest.digest()[:DIGEST_BYTES] != self.digest:
            raise SourceChanged("changed while it was being read; try again when it is at rest")

    def _first_pass(self) -> tuple[int, int, bytes, Levels]:
        meter = LevelMeter(self.rate, self.reader.info.channels)
        digest = hashlib.sha256()
        length = 0
        for block in self._resampled(digest):
            meter.push(block)
            length += len(block)
            self._keep(block)
        if self._taken > DEFAULT_LIMITS.source_samples:
            raise LimitError.over("samples", self._taken, DEFAULT_LIMITS.source_samples)
        return self._taken, length, digest.digest()[:DIGEST_BYTES], meter.levels()

    def _keep(self, block: np.ndarray) -> None:
        self._keep_bytes -= block.nbytes
        if self._keep_bytes < 0:
            self._kept = None
        if self._kept is not None:
            self._kept.append(block)

    def _resampled(self, digest: hashlib._Hash) -> Iterator[np.ndarray]:
        info = self.reader.info
        resampler = Resampler(info.rate, self.rate, info.channels)
        for block in self.reader.blocks():
            digest.update(np.ascontiguousarray(block, "<f4").data)
            for piece in resampler.pieces(block):
                yield np.asfortranarray(piece)  # channel after channel: reductions are 10 x faster
        self._taken = resampler.taken
        yield resampler.finish()
