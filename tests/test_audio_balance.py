"""The balance of left and right: what is 0, what the formula says, and that blocks do not matter."""

from __future__ import annotations

import numpy as np
import pytest

from dacfile.audio.balance import EVERY, BalanceMeter

RATE = 16_000


def departure(samples: np.ndarray, block: int = 5000) -> float:
    meter = BalanceMeter(RATE)
    for start in range(0, len(samples), block):
        meter.push(samples[start : start + block])
    return meter.departure()


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    return np.random.default_rng(4).standard_normal((6 * EVERY + 99, 2)).astype(np.float32) * np.float32(0.1)


@pytest.mark.parametrize("factor", [1, -1])
def test_channels_of_one_level_do_not_depart(noise: np.ndarray, factor: int) -> None:
    assert departure(np.stack([noise[:, 0], factor * noise[:, 0]], 1)) == 0


def test_a_level_difference_is_told_in_powers_of_ten(noise: np.ndarray) -> None:
    # Powers 1 and 1/4, whose mean is 5/8.
    expected = 0.5 * (0.5 * np.log10(8 / 5) + 0.5 * np.log10(5 / 2))
    assert departure(noise[:, :1] * np.array([1, 0.5], np.float32)) == pytest.approx(expected, rel=1e-4)


def test_instruments_on_either_side_depart_although_the_channels_are_equally_loud() -> None:
    time = np.arange(8 * EVERY) / RATE
    tones = 0.3 * np.stack([np.sin(2 * np.pi * hertz * time) for hertz in (500, 4000)], 1).astype(np.float32)
    assert departure(tones) > 5 * departure(np.stack([tones.sum(1), tones[:, 0] - tones[:, 1]], 1))


def test_turns_count_even_if_they_even_out(noise: np.ndarray) -> None:
    left = noise[:, 0]
    louder = np.where(np.arange(len(left)) // (2 * EVERY) % 2, 2.0, 0.5).astype(np.float32)
    assert departure(np.stack([left, louder * left], 1)) == pytest.approx(departure(np.stack([left, 2 * left], 1)), 0.1)


@pytest.mark.parametrize("block", [1, 700, EVERY, 10**6])
def test_blocks_make_no_difference(noise: np.ndarray, block: int) -> None:
    assert departure(noise[: 3 * EVERY], block) == departure(noise[: 3 * EVERY], 5000)


def test_silence_and_faint_noise_do_not_count(noise: np.ndarray) -> None:
    assert departure(np.zeros_like(noise)) == 0
    assert departure(noise * np.float32(1e-6) * np.array([1, 0.01], np.float32)) < 1e-3


def test_what_is_too_short_does_not_depart(noise: np.ndarray) -> None:
    assert departure(np.zeros((0, 2), np.float32)) == 0
    assert departure(noise[: EVERY - 1]) == 0
    assert departure(noise[:EVERY]) > 0
