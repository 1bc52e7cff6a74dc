"""How the channels of a source become coded channels: mid/side or not, gains, and how many layers each gets."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from dacfile.audio.balance import BalanceMeter
from dacfile.audio.loudness import LoudnessMeter
from dacfile.errors import UnsupportedAudio, UsageError

STEREO = ("auto", "lr", "ms")
TARGET = -16.0  # LUFS of a coded channel: the level at which models are trained
GAIN_STEPS = 256  # per dB: gains are Q7.8
GAIN_MIN, GAIN_MAX = -32768, 32767
LARGEST = 10 ** (-GAIN_MIN / (20 * GAIN_STEPS))  # the peak that the smallest gain brings down to 1
# Two channels are coded as mid and side where these differ by so many dB, and left and right by no more than so much
# (`dacfile.audio.balance`): elsewhere it loses more for what it saves than fewer codebooks would.
MID_SIDE_FROM = 4.0
LARGEST_DEPARTURE = 0.05
EQUAL_DEPTH = 7 / 9  # share of the layers that a side as loud as the mid would get...
DEPTH_SPAN = 36.0  # ...falling by one over this many dB...
LEAST_DEPTH = 2 / 9  # ...but never below this share: fewer sound worse than none


@dataclass(frozen=True)
class Levels:
    """Measures of the channels, and of two channels also of their mid and side: left, right, mid, side.

    `peaks` are absolute values, `loudness` LUFS (-inf: silent), `same` says which channels equal channel 0 throughout,
    `departure` how unlike left and right are (`dacfile.audio.balance`).
    """

    channels: int
    peaks: tuple[float, ...]
    loudness: tuple[float, ...]
    same: tuple[bool, ...]
    departure: float = 0.0


@dataclass(frozen=True)
class ChannelPlan:
    """Decisions for one file, made once: gains in 1/256 dB per coded channel; 0 layers mean silent throughout."""

    mid_side: bool
    gains: tuple[int, ...]
    layers: tuple[int, ...]
    same: tuple[bool, ...]

    @property
    def coded(self) -> list[int]:
        """The coded channels that need the network."""
        return [c for c, depth in enumerate(self.layers) if depth and not self.same[c]]

    def apply(self, samples: np.ndarray) -> np.ndarray:
        """Return the coded channels of source channels float32 [n, C], with gain."""
        if self.mid_side:
            samples = mid_side(samples)
        return samples * linear(self.gains)

    def invert(self, coded: np.ndarray) -> np.ndarray:
        """Return the source channels of coded channels float32 [n, C]."""
        return restore(coded, self.gains, self.mid_side)


def mid_side(samples: np.ndarray) -> np.ndarray:
    """Return mid (L + R) / 2 and side (L - R) / 2 of float32 [n, 2]."""
    left, right = samples.T
    return np.stack([(left + right) / 2, (left - right) / 2]).T


def restore(coded: np.ndarray, gains: tuple[int, ...], is_mid_side: bool) -> np.ndarray:
    """Undo gains (1/256 dB) and mid/side of channels 0 and 1: coded float32 [n, C] to source float32 [n, C]."""
    samples = coded / linear(gains)
    if is_mid_side:
        mid, side = samples[:, 0].copy(), samples[:, 1].copy()
        samples[:, 0], samples[:, 1] = mid + side, mid - side
    return samples


def linear(gains: tuple[int, ...]) -> np.ndarray:
    """Return the factors, float32 [C], of gains in 1/256 dB."""
    return (10.0 ** (np.array(gains, np.float64) / (20 * GAIN_STEPS))).astype(np.float32)


class LevelMeter:
    """Measure a source block by block, for `plan_channels`."""

    def __init__(self, rate: int, channels: int) -> None:
        self._balance = BalanceMeter(rate) if channels == 2 else None
        self._meter = LoudnessMeter(rate, channels, mid_side=channels == 2)
        self._peaks = np.zeros(4 if channels == 2 else channels)
        self._same = np.array([c > 0 for c in range(channels)])

    def push(self, samples: np.ndarray) -> None:
        """Take float32 samples [n, C]."""
        if not len(samples):
            return
        signals = [*samples.T, *mid_side(samples).T] if self._balance else samples.T
        self._peaks = np.maximum(self._peaks, [max(signal.max(), -signal.min()) for signal in signals])
        if self._peaks.max() <= LARGEST:  # what is larger will be refused, and its energy could overflow
            self._meter.push(samples)
            if self._balance:
                self._balance.push(samples)
        for c in np.flatnonzero(self._same):
            self._same[c] = np.array_equal(samples[:, c], samples[:, 0])

    def levels(self) -> Levels:
        """Return the measures; call it once, after the last block."""
        loudness = tuple(float(value) for value in self._meter.integrated())
        peaks = tuple(float(value) for value in self._peaks)
        departure = self._balance.departure() if self._balance else 0.0
        return Levels(len(self._same), peaks, loudness, tuple(bool(value) for value in self._same), departure)


def plan_channels(levels: Levels, codebooks: int, stereo: str = "auto") -> ChannelPlan:
    """Decide how a source is coded with at most `codebooks` layers a channel.

    Raises UsageError for an unknown `stereo`, UnsupportedAudio when the samples are too large for any gain.
    """
    check_stereo(stereo)
    channels = levels.channels
    pair = channels == 2 and _prefers_mid_side(levels, stereo)
    signals = [2, 3] if pair else list(range(channels))
    peaks, loudness = [levels.peaks[s] for s in signals], [levels.loudness[s] for s in signals]
    layers = [codebooks if peak > 0 else 0 for peak in peaks]
    if pair and all(layers):
        weaker = int(loudness[1] <= loudness[0])
        layers[weaker] = weaker_layers(codebooks, abs(loudness[0] - loudness[1]))
    same = (False, False) if pair else tuple(levels.same[c] and layers[c] > 0 for c in range(channels))
    gains = tuple(quantised_gain(level, peak) for level, peak in zip(loudness, peaks, strict=True))
    return ChannelPlan(pair, gains, tuple(layers), same)


def check_stereo(stereo: str) -> None:
    """Raise UsageError for an unknown way to code two channels."""
    if stereo not in STEREO:
        raise UsageError(f"unknown stereo mode {stereo!r}; use one of {', '.join(STEREO)}")


def weaker_layers(codebooks: int, difference: float) -> int:
    """Return the layers of the weaker one of mid and side, `difference` dB below the other.

    Left and right get the sum of both errors. A channel that is d dB weaker has an error that is d dB weaker at equal
    depth; layers that would push it further below the stronger one's error are not heard. The numbers are those of
    the least size at equal mel distance (benchmarks/stereo.py, docs/decisions.md).
    """
    return max(math.ceil(codebooks * LEAST_DEPTH), round(codebooks * (EQUAL_DEPTH - difference / DEPTH_SPAN)))


def quantised_gain(loudness: float, peak: float) -> int:
    """Return the gain in 1/256 dB that brings a channel to TARGET LUFS with its peak at most 1; 0 for silence.

    Raises UnsupportedAudio when 128 dB do not suffice to bring the peak down to 1.
    """
    if peak <= 0:
        return 0
    if peak > LARGEST:
        raise UnsupportedAudio(f"samples up to {peak:.3g} are not audio (full scale is 1)")
    limit = math.floor(-20 * math.log10(peak) * GAIN_STEPS)
    wanted = round((TARGET - loudness) * GAIN_STEPS) if math.isfinite(loudness) else limit
    return min(max(min(wanted, limit), GAIN_MIN), GAIN_MAX)


def _prefers_mid_side(levels: Levels, stereo: str) -> bool:
    """Say whether two channels are coded as mid/side.

    Where mid and side differ in level the weaker one needs few layers. Where they do not, left and right are better as
    they are: each then has an error in proportion to its own level. One channel alone makes mid and side equal. And
    mid/side would lose what left and right have to themselves above the band whose waveform is coded.
    """
    if stereo != "auto":
        return stereo == "ms"
    if levels.departure > LARGEST_DEPARTURE:
        return False
    mid, side = (max(value, -200.0) for value in levels.loudness[2:])
    return abs(mid - side) >= MID_SIDE_FROM
