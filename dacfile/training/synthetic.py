"""Sounds made by formula that a corpus of recordings hardly holds and archives do: pure tones, glides, bells, clicks.

Frequencies are in cycles per sample and times in samples, so that one recipe serves every rate.
"""

from __future__ import annotations

import numpy as np

LOWEST, HIGHEST = 0.0012, 0.42  # about 50 Hz and 18 kHz at 44.1 kHz
LONGEST_CLICK = 16384


def synthetic(samples: int, random: np.random.Generator) -> np.ndarray:
    """Return float64 [samples] of tones or of clicks, half of the time in faint noise."""
    audio = tones(samples, random) if random.random() < 0.6 else clicks(samples, random)
    if random.random() < 0.5:
        level = np.abs(audio).max() * 10 ** (-random.uniform(50, 80) / 20)
        audio = audio + level * random.standard_normal(samples)
    return audio


def tones(samples: int, random: np.random.Generator) -> np.ndarray:
    """Return one to six partials: steady, gliding down, or struck and ringing. Often it is only one."""
    time, audio = np.arange(samples), np.zeros(samples)
    for _ in range(1 if random.random() < 0.3 else random.integers(1, 7)):
        cycles = partial(random) * time
        if random.random() < 0.2:
            cycles *= 1 - 0.5 * random.random() * time / samples  # glides down, by less than its own frequency
        wave = np.sin(2 * np.pi * (cycles + random.random()))
        if random.random() < 0.5:
            wave *= ringing(time - random.integers(0, max(1, samples * 2 // 3)), log_uniform(2e3, 4e4, random))
        audio += wave * 10 ** (-random.uniform(0, 20) / 20)
    return audio


def partial(random: np.random.Generator) -> float:
    """Return a frequency: every octave equally likely or, as often, every hertz: half of the band is one octave."""
    return log_uniform(LOWEST, HIGHEST, random) if random.random() < 0.5 else random.uniform(LOWEST, HIGHEST)


def clicks(samples: int, random: np.random.Generator) -> np.ndarray:
    """Return one to twelve short attacks of one kind: a burst of noise and a damped resonance."""
    audio, time = np.zeros(samples), np.arange(min(samples, LONGEST_CLICK))
    frequency, body = log_uniform(0.01, HIGHEST, random), log_uniform(60, 2e3, random)
    resonance = np.sin(2 * np.pi * frequency * time) * ringing(time, body)
    noise = random.standard_normal(len(time)) * ringing(time, log_uniform(8, 300, random))
    share = random.random()
    click = share * resonance + (1 - share) * noise
    for start in random.integers(0, samples * 9 // 10, random.integers(1, 13)):
        part = audio[start : start + len(click)]
        part += click[: len(part)] * 10 ** (-random.uniform(0, 12) / 20)
    return audio


def ringing(since: np.ndarray, decay: float) -> np.ndarray:
    """Return an envelope that starts at 0, with an attack of 16 samples, and falls by 1/e every `decay` samples."""
    return np.where(since < 0, 0.0, np.minimum(1, since / 16) * np.exp(-np.maximum(since, 0) / decay))


def log_uniform(low: float, high: float, random: np.random.Generator) -> float:
    """Return a number between `low` and `high`, every octave equally likely."""
    return float(np.exp(random.uniform(np.log(low), np.log(high))))
