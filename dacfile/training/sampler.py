"""Random training segments: balanced over categories, levelled, augmented as real archives differ.

One generator state drives everything, so a resumed run draws what an uninterrupted one would have drawn.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import soxr

from dacfile.training.corpus import Corpus, Stretch
from dacfile.training.synthetic import synthetic

# Below this level (about -80 dB) a segment is silence and says nothing about a codec.
SILENCE_RMS = 1e-4
# The categories that the loudness and the level loss are made for; synthetic is what is made by formula.
SPEECH, SYNTHETIC = "speech", "synthetic"


@dataclass(frozen=True)
class SamplerConfig:
    """How segments are drawn; shares are relative."""

    shares: dict[str, float] = field(default_factory=lambda: {"speech": 0.4, "music": 0.4, "environment": 0.2})
    # Files count by length to this power: long ones more, but not in proportion.
    length_power: float = 0.75
    level_db: float = -19.0
    level_spread_db: float = 5.0
    # Share of segments that keep their level within the recording, as files do in use: quiet passages stay quiet.
    keep_dynamics: float = 0.6
    mix: float = 0.08
    equalise: float = 0.15
    low_pass: float = 0.05
    # Share of segments played at another speed, and of those with hiss, as tapes have both. The bundled weights were
    # trained without.
    resample: float = 0.0
    noise: float = 0.0
    # Share of segments made by formula in place of recorded.
    synthetic: float = 0.08


class Batch(NamedTuple):
    """Segments float32 [B, n], and which of them are speech and which made by formula, bool [B]."""

    samples: np.ndarray
    speech: np.ndarray
    synthetic: np.ndarray


class Sampler:
    """Draws batches from a corpus."""

    def __init__(self, corpus: Corpus, config: SamplerConfig, seed: int) -> None:
        self.corpus = corpus
        self.config = config
        self.random = np.random.default_rng(seed)
        weights: dict[str, float] = {}
        raw = np.array([s.samples**config.length_power for s in corpus.stretches])
        for stretch, weight in zip(corpus.stretches, raw, strict=True):
            weights[stretch.category] = weights.get(stretch.category, 0.0) + weight
        share = [config.shares.get(s.category, 1.0) / weights[s.category] for s in corpus.stretches]
        self.odds = raw * np.array(share)
        self.odds /= self.odds.sum()
        self.levels: dict[int, float] = {}

    def batch(self, size: int, samples: int) -> Batch:
        """Return `size` segments of `samples` samples."""
        segments, drawn = zip(*(self.augmented(samples) for _ in range(size)), strict=True)
        categories = np.array(drawn)
        return Batch(np.stack(segments), categories == SPEECH, categories == SYNTHETIC)

    def augmented(self, samples: int) -> tuple[np.ndarray, str]:
        """Return one levelled segment with random sign, sometimes mixed with another or filtered, and its category."""
        draw, config = self.random.random(4), self.config
        audio, category = self.levelled(samples)
        if draw[0] < config.mix:
            audio = audio + self.levelled(samples)[0] * 10 ** (-self.random.uniform(0, 12) / 20)
        if draw[1] < config.equalise:
            audio = filtered(audio, self.equaliser(samples // 2 + 1))
        if draw[2] < config.low_pass:
            audio = filtered(audio, self.low_pass(samples // 2 + 1))
        if draw[3] < config.noise:
            audio = audio + self.hiss(samples) * root_mean_square(audio)
        return (audio * self.random.choice((-1.0, 1.0))).astype(np.float32), category

    def levelled(self, samples: int) -> tuple[np.ndarray, str]:
        """Return a segment that is not silent, at a random level, its peak at most 1, and its category.

        The level is that of the segment, or that of the whole recording so that the segment keeps its place in it.
        """
        if self.random.random() < self.config.synthetic:
            audio = synthetic(samples, self.random)
            return self.to_level(audio, root_mean_square(audio)), SYNTHETIC
        while True:
            chosen = int(self.random.choice(len(self.odds), p=self.odds))
            stretch = self.corpus.stretches[chosen]
            audio = self.raw(stretch, samples)
            rms = root_mean_square(audio)
            if rms > SILENCE_RMS:
                break
        if self.random.random() < self.config.keep_dynamics:
            rms = self.recording_level(chosen)
        return self.to_level(audio, rms), stretch.category

    def to_level(self, audio: np.ndarray, rms: float) -> np.ndarray:
        """Return audio with a random gain that would bring `rms` to about the usual level, its peak at most 1."""
        level = self.config.level_db + self.config.level_spread_db * self.random.standard_normal()
        gain = min(10 ** (level / 20) / rms, 1.0 / float(np.abs(audio).max()))
        return audio * gain

    def recording_level(self, chosen: int) -> float:
        """Return the RMS of a whole stretch, measured once."""
        if chosen not in self.levels:
            self.levels[chosen] = root_mean_square(self.corpus.read(self.corpus.stretches[chosen]))
        return self.levels[chosen]

    def raw(self, stretch: Stretch, samples: int) -> np.ndarray:
        """Return a random part of a stretch, padded with zeros where it is too short, sometimes faster or slower."""
        if not self.random.random() < self.config.resample:
            return self.part(stretch, samples)
        speed = 2 ** self.random.uniform(-0.4, 0.4)
        return soxr.resample(self.part(stretch, round(samples * speed) + 2), speed, 1.0)[:samples]

    def part(self, stretch: Stretch, samples: int) -> np.ndarray:
        """Return a random part of a stretch, padded with zeros where it is too short."""
        start = int(self.random.integers(0, max(1, stretch.samples - samples + 1)))
        audio = self.corpus.read(stretch, start, samples)
        return np.pad(audio, (0, samples - len(audio)))

    def hiss(self, samples: int) -> np.ndarray:
        """Return steady noise of a random colour, 20 to 60 dB below 1 but for that."""
        white = self.random.standard_normal(samples) * 10 ** (-self.random.uniform(20, 60) / 20)
        return filtered(white, self.equaliser(samples // 2 + 1))

    def equaliser(self, bins: int) -> np.ndarray:
        """Return a smooth random gain curve within about +-8 dB."""
        knots = self.random.uniform(-8, 8, 8)
        position = np.log1p(np.arange(bins)) / np.log(bins) * (len(knots) - 1)
        return 10 ** (np.interp(position, np.arange(len(knots)), knots) / 20)

    def low_pass(self, bins: int) -> np.ndarray:
        """Return a steep low-pass somewhere in the upper three quarters of the band, as lossy archives have."""
        edge = self.random.uniform(0.25, 0.95) * bins
        return 1 / (1 + np.exp(np.clip((np.arange(bins) - edge) / (0.005 * bins), -40, 40)))


def filtered(audio: np.ndarray, response: np.ndarray) -> np.ndarray:
    """Return audio with a zero-phase frequency response [samples // 2 + 1] applied (circularly)."""
    return np.fft.irfft(np.fft.rfft(audio) * response, len(audio))


def root_mean_square(audio: np.ndarray) -> float:
    """Return the RMS of samples [n]."""
    return float(np.sqrt(np.mean(np.square(audio, dtype=np.float64))))
