"""Three artefacts of transform and neural codecs as numbers: pre-echo, level pumping, noise in silence.

All take float arrays [samples, channels]; channels are summed in energy. NaN where a clip has nothing to measure.
"""

from __future__ import annotations

import math

import numpy as np

STEP_SECONDS = 0.005
ONSET_DB = 25.0
AUDIBLE_DB = -60.0
LEVEL_SECONDS = 0.4


def energies(x: np.ndarray, rate: int, seconds: float) -> np.ndarray:
    """Return the mean square of consecutive stretches of `seconds`, [stretches]."""
    size = max(1, round(rate * seconds))
    whole = len(x) // size * size
    return (x[:whole].astype(np.float64) ** 2).mean(1).reshape(-1, size).mean(1)


def decibels(energy: np.ndarray) -> np.ndarray:
    return 10 * np.log10(energy + 1e-12)


def pre_echo(reference: np.ndarray, estimate: np.ndarray, rate: int) -> float:
    """Return the level of what is decoded in the 20 ms before attacks, in dB relative to the attack, mean of the worst
    tenth; -inf-like values mean none.

    An attack is a rise of the source by 25 dB within 5 ms, after 20 ms that were as quiet.
    """
    before, after = energies(reference, rate, STEP_SECONDS), energies(estimate, rate, STEP_SECONDS)
    source, values = decibels(before), []
    for i in range(5, len(before)):
        loud = source[i] > AUDIBLE_DB + ONSET_DB
        if loud and source[i] - source[i - 5 : i - 1].max() > ONSET_DB and source[i] > source[i - 1]:
            values.append(float(decibels(after[i - 5 : i - 1]).max() - source[i : i + 4].max()))
    worst = sorted(values)[-max(1, len(values) // 10) :]
    return sum(worst) / len(worst) if worst else math.nan


def level_errors(reference: np.ndarray, estimate: np.ndarray, rate: int) -> tuple[float, float]:
    """Return mean absolute and largest signed difference in dB of the level in stretches of 0.4 s of audible source."""
    source, decoded = (decibels(energies(x, rate, LEVEL_SECONDS)) for x in (reference, estimate))
    audible = source > max(AUDIBLE_DB, source.max(initial=-200.0) - 50)
    if not audible.any():
        audible = source > -110
    if not audible.any():
        return math.nan, math.nan
    errors = (decoded - source)[audible]
    return float(np.abs(errors).mean()), float(errors[np.abs(errors).argmax()])


def floor_in_silence(reference: np.ndarray, estimate: np.ndarray, rate: int) -> float:
    """Return the level in dBFS of what is decoded where the source is digital silence for 100 ms around."""
    source, decoded = energies(reference, rate, STEP_SECONDS), energies(estimate, rate, STEP_SECONDS)
    margin = round(0.1 / STEP_SECONDS)
    loud = np.convolve(source > 0, np.ones(2 * margin + 1), mode="same") > 0
    return float(decibels(decoded[~loud].mean(keepdims=True))[0]) if (~loud).any() else math.nan
