"""Change the sample rate in blocks, with soxr: any pair of rates, exact lengths, no delay."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import soxr

from dacfile.errors import LimitError

QUALITY = "HQ"  # 20 bits: errors below those of 16-bit sources, at 2,700 x real time a channel
REACH = 256  # samples of the lower rate after which the filter has forgotten; 128 are enough for errors below 1e-6

PIECE_VALUES = 1 << 22  # samples of all channels that come out at once, about: 16 MiB
# Samples of all channels that one sample in makes: soxr gives back some hundred times as many at the end of the stream.
MOST_GROWTH = 1 << 18


def resampled_length(samples: int, rate_in: int, rate_out: int) -> int:
    """Return how many samples at `rate_out` cover `samples` samples at `rate_in`: the ratio, rounded up.

    There and back again is never shorter than the start, so the exact length comes back by cutting.
    """
    return -(-samples * rate_out // rate_in)


class Resampler:
    """Resample float32 blocks of one stream; equal rates pass through unchanged.

    Raises LimitError for a ratio of rates that would take gigabytes of memory (1 Hz of many channels).
    """

    def __init__(self, rate_in: int, rate_out: int, channels: int) -> None:
        growth = rate_out * channels // rate_in
        if growth > MOST_GROWTH:
            raise LimitError.over(f"{rate_in} to {rate_out} Hz: samples made of one", growth, MOST_GROWTH)
        self.rate_in, self.rate_out, self.channels = rate_in, rate_out, channels
        self.taken = self.given = 0
        self._stream: soxr.ResampleStream | None = None
        if rate_in != rate_out:
            self._stream = soxr.ResampleStream(rate_in, rate_out, channels, "float32", QUALITY)

    def pieces(self, samples: np.ndarray) -> Iterator[np.ndarray]:
        """Take float32 [n, C] and yield what is ready in pieces: a short block at a low rate can be hours."""
        size = max(PIECE_VALUES * self.rate_in // (self.rate_out * self.channels), 1)
        for start in range(0, len(samples), size):
            yield self.push(samples[start : start + size])

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Take float32 [n, C] and return what is ready, float32 [m, C] (m may be 0)."""
        self.taken += len(samples)
        ready = samples if self._stream is None else self._convert(samples, last=False)
        self.given += len(ready)
        return ready

    def finish(self, total: int | None = None) -> np.ndarray:
        """Return the rest: `total` samples will have been given in all (default: `resampled_length` of those taken)."""
        if total is None:
            total = resampled_length(self.taken, self.rate_in, self.rate_out)
        # soxr rounds its length to nearest: silence after the end gives it what rounding up may need
        silence = np.zeros((self.rate_in // self.rate_out + 1, self.channels), np.float32)
        rest = silence[:0] if self._stream is None or not self.taken else self._convert(silence, last=True)
        missing = max(total - self.given, 0)
        exact = np.zeros((missing, self.channels), np.float32)
        exact[: len(rest)] = rest[:missing]
        self.given += missing
        return exact

    def _convert(self, samples: np.ndarray, last: bool) -> np.ndarray:
        if self._stream is None:
            return samples
        block = np.ascontiguousarray(samples, dtype=np.float32)
        out = self._stream.resample_chunk(block if self.channels > 1 else block[:, 0], last=last)
        return out.reshape(-1, self.channels)


def range_for(start: int, stop: int, rate_in: int, rate_out: int, total_in: int) -> tuple[int, int, int]:
    """Return (first, end, skip): resampling the input [first, end) gives the output [start, stop) after `skip` samples.

    `first` lies where both rates have a sample at the same instant, so a part sounds as it does in the whole.
    """
    if rate_in == rate_out:
        return min(start, total_in), min(stop, total_in), 0
    divisor = math.gcd(rate_in, rate_out)
    step_in, step_out = rate_in // divisor, rate_out // divisor
    reach = REACH * max(rate_in // rate_out, 1)
    period = max(start * rate_in // rate_out - reach, 0) // step_in
    end = min(resampled_length(stop, rate_out, rate_in) + reach, total_in)
    first = min(period * step_in, end)
    return first, end, start - period * step_out
