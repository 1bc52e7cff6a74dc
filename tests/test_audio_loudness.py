"""Loudness against the numbers of EBU Tech 3341 and of an independent implementation."""

from __future__ import annotations

import numpy as np
import pytest

from dacfile.audio.loudness import LoudnessMeter

# pyloudnorm 0.1.1, Meter(rate, filter_class="DeMan").integrated_loudness(chirp(rate)) in float64
CHIRP_LUFS = {8000: -9.6145, 16_000: -9.6694, 22_050: -9.7058, 24_000: -9.7137, 44_100: -9.7547}
CHIRP_LUFS |= {48_000: -9.7587, 96_000: -9.7809}


def chirp(rate: int, seconds: float = 6.0) -> np.ndarray:
    """Return 30 Hz to 6 kHz in three levels that alternate every half second."""
    time = np.arange(round(rate * seconds)) / rate
    phase = 2 * np.pi * 30 * seconds / np.log(200) * (200 ** (time / seconds) - 1)
    return (np.sin(phase) * (0.02 + 0.3 * (np.floor(time * 2) % 3))).astype(np.float32)


def sine(rate: int, levels: list[tuple[float, float]]) -> np.ndarray:
    """Return a 1 kHz sine in parts of (dBFS, seconds)."""
    gains = np.concatenate([np.full(round(rate * seconds), 10 ** (level / 20)) for level, seconds in levels])
    return (gains * np.sin(2 * np.pi * 1000 * np.arange(len(gains)) / rate)).astype(np.float32)


def measure(signal: np.ndarray, rate: int, step: int = 7777) -> float:
    meter = LoudnessMeter(rate, 1)
    for start in range(0, len(signal), step):
        meter.push(signal[start : start + step, None])
    return float(meter.integrated()[0])


@pytest.mark.parametrize("rate", sorted(CHIRP_LUFS))
def test_agrees_with_another_implementation_at_every_rate(rate: int) -> None:
    assert measure(chirp(rate), rate) == pytest.approx(CHIRP_LUFS[rate], abs=0.002)


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ([(-23, 20)], -23),
        ([(-33, 20)], -33),
        ([(-36, 10), (-23, 60), (-36, 10)], -23),
        ([(-72, 10), (-36, 10), (-23, 60), (-36, 10), (-72, 10)], -23),
        ([(-26, 20), (-20, 20.1), (-26, 20)], -23),
    ],
)
def test_ebu_tech_3341(levels: list[tuple[float, float]], expected: float) -> None:
    # The signals are in both channels of stereo there, which counts 3.01 dB more than one channel.
    assert measure(sine(48_000, levels), 48_000) == pytest.approx(expected - 3.01, abs=0.1)


def test_blocks_do_not_matter() -> None:
    signal = chirp(16_000)
    assert measure(signal, 16_000, 1) == measure(signal, 16_000, 100_000)


def test_mid_and_side_come_from_left_and_right() -> None:
    left, right = chirp(16_000), chirp(16_000)[::-1]
    meter = LoudnessMeter(16_000, 2, mid_side=True)
    meter.push(np.stack([left, right], axis=1))
    expected = [measure(signal, 16_000) for signal in (left, right, (left + right) / 2, (left - right) / 2)]
    np.testing.assert_allclose(meter.integrated(), expected, atol=1e-3)


def test_silence_is_minus_infinity_and_what_the_gates_drop_is_not() -> None:
    assert measure(np.zeros(50_000, np.float32), 16_000) == -np.inf
    assert measure(np.zeros(0, np.float32), 16_000) == -np.inf
    assert measure(sine(16_000, [(-100, 2)]), 16_000) == pytest.approx(-103.01, abs=0.2)
    assert measure(sine(16_000, [(-20, 0.2)]), 16_000) == pytest.approx(-23.01, abs=0.2)
