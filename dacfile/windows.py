"""Cut channels into windows that code exactly as the whole file would: a buffer for each direction, numpy only.

A window sees `context` frames more than it keeps on each side, except at the ends of the file, where the network's own
zero padding is what whole-file coding has too. All windows of a file with more than `size` frames are `size` frames
long (the last one is moved back to end with the file), so that windows of many files make one batch. Shorter files
are one window.
The buffers cut at places that only the number of frames decides, so results never depend on how the input arrived.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from dacfile.errors import UsageError
from dacfile.model.facts import Facts

ABSENT = 0xFFFF  # in place of a code: this layer was not stored for this frame, it adds nothing


@dataclass(frozen=True)
class Window:
    """Frames [start, stop) are computed, frames [keep_start, keep_stop) are kept."""

    start: int
    stop: int
    keep_start: int
    keep_stop: int

    @property
    def keep(self) -> slice:
        """The kept frames, counted from the window's first."""
        return slice(self.keep_start - self.start, self.keep_stop - self.start)


def default_size(context: int) -> int:
    """Return the window length, in frames: a sixteenth of it is context, less where contexts are short.

    Shorter windows waste work, longer ones leave the caches and take memory: they are longer than 1,024 frames only
    where more than an eighth would be context. Measured on one core with the published `dac` network (contexts of 8
    and 10 frames): windows of 64 contexts are a tenth faster than windows of 32, and take 6 s of audio.
    """
    return max(min(32 * context, 1024), 16 * context, 512)


def check_size(size: int, context: int) -> None:
    """Raise UsageError when windows of `size` frames would keep nothing."""
    if size <= 2 * context:
        raise UsageError(f"windows of {size} frames are too short, the model needs more than {2 * context}")


def inner_window(start: int, keep: int, size: int, context: int) -> Window:
    """Return a window that is not the last of its file; `keep` is the first frame not yet done."""
    return Window(start, start + size, keep, start + size - context)


def last_window(frames: int, keep: int, size: int) -> Window:
    """Return the window that ends with a file of `frames` frames."""
    return Window(max(frames - size, 0), frames, keep, frames)


def frames_for(facts: Facts, start: int, stop: int, total: int) -> tuple[int, int]:
    """Return the frames [first, end) that decode the samples [start, stop) of a file of `total` samples exactly."""
    frames = facts.frames(total)
    first = max(start // facts.hop - facts.decoder_context, 0)
    end = min(-(-stop // facts.hop) + facts.decoder_context, frames)
    return first, max(first, end) if stop > start else first


@dataclass(frozen=True)
class EncodeJob:
    """One window for the encoder: samples float32 [C, lead + L * hop] of C channels, and which of L frames to keep."""

    samples: np.ndarray
    channels: Sequence[int]
    first_frame: int
    keep: slice

    def shortened(self, facts: Facts) -> EncodeJob:
        """Return the job without the frames before its context, which the last window of a file has."""
        drop = max(self.keep.start - facts.encoder_context, 0)
        samples = self.samples[:, drop * facts.hop :]
        return EncodeJob(samples, self.channels, self.first_frame + drop, _moved(self.keep, drop))


@dataclass(frozen=True)
class DecodeJob:
    """One window for the decoder: codes uint16 [C, n, L], and which of its L * hop - tail samples to keep."""

    codes: np.ndarray
    first_frame: int
    keep: slice

    def shortened(self, facts: Facts) -> DecodeJob:
        """Return the job without the frames before its context, which the last window of a file has."""
        drop = max(self.keep.start // facts.hop - facts.decoder_context, 0)
        return DecodeJob(self.codes[..., drop:], self.first_frame + drop, _moved(self.keep, drop * facts.hop))


def _moved(keep: slice, by: int) -> slice:
    return slice(keep.start - by, keep.stop - by)


class EncodeBuffer:
    """Collect the samples of one file and cut them into jobs for the encoder, holding about one window."""

    def __init__(self, facts: Facts, channels: Sequence[int], size: int = 0) -> None:
        self.facts, self.channels = facts, channels
        self.size = size or default_size(facts.encoder_context)
        check_size(self.size, facts.encoder_context)
        self._start = self._keep = self._samples = 0  # next window, first frame not yet done, samples pushed
        self._origin = 0  # start of the window cut last: the final one may reach back almost as far
        self._held = _Tape(np.zeros((len(channels), facts.lead), np.float32))  # begins with sample _origin * hop - lead

    def push(self, samples: np.ndarray) -> list[EncodeJob]:
        """Add float32 samples [n, C] and return the jobs that are complete.

        A window is complete when its samples are there and the file is known to go on: then it is not the last one.
        """
        self._held.append(np.asarray(samples, np.float32).T)
        self._samples += len(samples)
        return list(self._inner_jobs(ended=False))

    def finish(self) -> list[EncodeJob]:
        """Return the remaining jobs: none for an empty file."""
        jobs = list(self._inner_jobs(ended=True))
        frames = self.facts.frames(self._samples)
        return [*jobs, self._cut(last_window(frames, self._keep, self.size))] if frames else jobs

    def _inner_jobs(self, ended: bool) -> Iterator[EncodeJob]:
        while self.facts.frames(self._samples) > (stop := self._start + self.size):
            if not ended and self._samples < stop * self.facts.hop:
                return
            window = inner_window(self._start, self._keep, self.size, self.facts.encoder_context)
            self._held.drop((window.start - self._origin) * self.facts.hop)
            self._origin = window.start
            yield self._cut(window)
            self._start, self._keep = window.keep_stop - self.facts.encoder_context, window.keep_stop

    def _cut(self, window: Window) -> EncodeJob:
        first = (window.start - self._origin) * self.facts.hop
        length = self.facts.lead + (window.stop - window.start) * self.facts.hop
        samples = self._held.joined()[:, first : first + length]
        padded = np.zeros((samples.shape[0], length), np.float32)  # frames may reach past the end of the file
        padded[:, : samples.shape[1]] = samples
        return EncodeJob(padded, self.channels, window.start, window.keep)


class DecodeBuffer:
    """Collect the codes of one file, or of a run of its frames, and cut them into jobs for the decoder.

    `first_frame` is the absolute index of the first frame that will be pushed. The jobs keep the samples [start, stop)
    of the file; `frames_for` tells which frames these need. `stop` is the length of the file when all of it is wanted;
    it may be None until `finish` when only the end of the file tells.
    """

    def __init__(
        self, facts: Facts, channels: int, first_frame: int = 0, start: int = 0, stop: int | None = None, size: int = 0
    ) -> None:
        self.facts = facts
        self.size = size or default_size(facts.decoder_context)
        check_size(self.size, facts.decoder_context)
        self._first = first_frame
        self._wanted = start, stop
        self._start = self._keep = self._origin = self._frames = 0  # as in EncodeBuffer, counted from first_frame
        self._held = _Tape(np.zeros((channels, facts.codebooks, 0), np.uint16))  # begins with frame _origin

    def push(self, codes: np.ndarray) -> list[DecodeJob]:
        """Add codes uint16 [C, n, t] with n <= K and return the jobs that are complete; ABSENT codes are allowed."""
        self._held.append(_all_layers(codes, self.facts.codebooks))
        self._frames += codes.shape[-1]
        jobs = []
        while self._frames > self._start + self.size:
            window = inner_window(self._start, self._keep, self.size, self.facts.decoder_context)
            self._held.drop(window.start - self._origin)
            self._origin = window.start
            jobs += self._cut(window, window.keep_stop * self.facts.hop)
            self._start, self._keep = window.keep_stop - self.facts.decoder_context, window.keep_stop
        return jobs

    def finish(self, stop: int | None = None) -> list[DecodeJob]:
        """Return the remaining jobs; `stop` replaces that of the constructor."""
        if stop is not None:
            self._wanted = self._wanted[0], stop
        window = last_window(self._frames, self._keep, self.size)
        return self._cut(window, self.facts.decoded(self._frames)) if self._frames else []

    def _cut(self, window: Window, end: int) -> list[DecodeJob]:
        """Return the job of a window that can give samples up to `end` (from first_frame); none if none is wanted."""
        origin = (self._first + window.start) * self.facts.hop
        start, stop = self._wanted
        end += self._first * self.facts.hop
        low = max((self._first + window.keep_start) * self.facts.hop, start)
        high = end if stop is None else min(end, stop)
        if high <= low:
            return []
        codes = self._held.joined()[..., window.start - self._origin : window.stop - self._origin]
        return [DecodeJob(_without_empty_layers(codes), self._first + window.start, slice(low - origin, high - origin))]


class _Tape:
    """An array that grows and shrinks along its last axis; blocks are joined only when somebody reads."""

    def __init__(self, first: np.ndarray) -> None:
        self._parts = [first]

    def append(self, block: np.ndarray) -> None:
        self._parts.append(block)

    def joined(self) -> np.ndarray:
        if len(self._parts) > 1:
            self._parts = [np.concatenate(self._parts, axis=-1)]
        return self._parts[0]

    def drop(self, count: int) -> None:
        self._parts = [self.joined()[..., count:].copy()]


def _all_layers(codes: np.ndarray, codebooks: int) -> np.ndarray:
    missing = codebooks - codes.shape[1]
    if missing < 0:
        raise UsageError(f"codes of {codes.shape[1]} codebooks for a model of {codebooks}")
    return np.pad(_as_codes(codes), ((0, 0), (0, missing), (0, 0)), constant_values=ABSENT)


def _as_codes(codes: np.ndarray) -> np.ndarray:
    """Return integers of any type as uint16; only other types than that can hold what would become another code."""
    if codes.dtype.kind not in "iu":
        raise UsageError(f"codes have to be integers, uint16 at best, not {codes.dtype}")
    if codes.dtype != np.uint16 and codes.size and not (codes.min() >= 0 and codes.max() <= ABSENT):
        raise UsageError(f"codes from {codes.min()} to {codes.max()}: they have to be 0 to {ABSENT:,}")
    return np.asarray(codes, np.uint16)


def check_floating(samples: np.ndarray) -> None:
    """Raise UsageError unless samples are floating-point numbers: of others nobody knows how large they can be."""
    if samples.dtype.kind != "f":
        raise UsageError(f"samples have to be floating-point numbers, -1 to 1 at full scale, not {samples.dtype}")


def _without_empty_layers(codes: np.ndarray) -> np.ndarray:
    used = np.flatnonzero((codes != ABSENT).any(axis=(0, 2)))
    return codes[:, : used[-1] + 1 if len(used) else 1]
