"""Channel decisions: mid/side or not, layers, gains that bring every channel to one level and never past full scale."""

from __future__ import annotations

import numpy as np
import pytest
from audio_files import tone

from dacfile.audio.stereo import (
    ChannelPlan,
    LevelMeter,
    linear,
    mid_side,
    plan_channels,
    quantised_gain,
    restore,
    weaker_layers,
)
from dacfile.errors import UnsupportedAudio, UsageError

RATE = 16_000


def plan(samples: np.ndarray, codebooks: int = 9, stereo: str = "auto") -> ChannelPlan:
    meter = LevelMeter(RATE, samples.shape[1])
    for start in range(0, len(samples), 5000):
        meter.push(samples[start : start + 5000])
    return plan_channels(meter.levels(), codebooks, stereo)


def stereo(mid: float, side: float) -> np.ndarray:
    """Return left and right of a mid and a side of these levels."""
    parts = tone(3 * RATE, 2, RATE) * np.array([mid, side], np.float32)
    return np.stack([parts[:, 0] + parts[:, 1], parts[:, 0] - parts[:, 1]], axis=1)


@pytest.mark.parametrize("channels", [1, 2, 3, 6])
@pytest.mark.parametrize("level", [1e-4, 0.02, 1.0, 30.0])
def test_coded_channels_have_one_level_and_stay_within_full_scale(channels: int, level: float) -> None:
    samples = tone(2 * RATE, channels, RATE, level)
    decided = plan(samples)
    coded = decided.apply(samples)
    assert np.abs(coded).max() <= 1.000001
    after = plan(coded, stereo="lr")
    assert max(abs(gain) for gain in after.gains) <= 1  # nothing left to do: the target is reached
    np.testing.assert_allclose(decided.invert(coded), samples, rtol=0, atol=2e-6 * level)


def test_peaks_limit_the_gain() -> None:
    samples = tone(2 * RATE, 1, RATE, 0.001)
    samples[777] = 0.5
    assert np.abs(plan(samples).apply(samples)).max() == pytest.approx(1, abs=1e-3)


def test_identical_channels_have_a_silent_side() -> None:
    decided = plan(stereo(0.5, 0))
    assert decided.mid_side
    assert decided.layers == (9, 0)
    assert decided.coded == [0]
    assert decided.gains[1] == 0


def test_identical_channels_without_mid_side_are_the_same() -> None:
    decided = plan(np.repeat(tone(RATE, 1, RATE), 2, axis=1), stereo="lr")
    assert decided.same == (False, True)
    assert decided.coded == [0]
    assert decided.gains[0] == decided.gains[1]


def test_the_same_only_as_long_as_it_is() -> None:
    samples = np.repeat(tone(RATE, 1, RATE), 3, axis=1)
    samples[-1, 2] = 0.123
    assert plan(samples).same == (False, True, False)


@pytest.mark.parametrize(("side", "layers"), [(0.25, 6), (0.125, 4), (0.03, 2), (0.01, 2), (1e-5, 2)])
def test_the_weaker_the_side_the_fewer_its_layers(side: float, layers: int) -> None:
    decided = plan(stereo(0.5, side))
    assert decided.mid_side
    assert decided.layers == (9, layers)


def test_a_strong_side_makes_the_mid_the_weaker_one() -> None:
    decided = plan(stereo(0.125, 0.5))
    assert decided.mid_side
    assert decided.layers == (4, 9)


def test_a_mid_and_a_side_of_similar_level_are_left_alone() -> None:
    decided = plan(stereo(0.5, 0.4))
    assert not decided.mid_side
    assert decided.layers == (9, 9)


@pytest.mark.parametrize("right", [0.0, 0.01])
def test_a_channel_that_is_much_weaker_is_coded_as_it_is(right: float) -> None:
    samples = tone(2 * RATE, 2, RATE) * np.array([1, right], np.float32)
    decided = plan(samples)
    assert not decided.mid_side
    assert decided.layers == (9, 9 if right else 0)


@pytest.mark.parametrize(("mode", "expected"), [("lr", False), ("ms", True)])
def test_the_user_decides(mode: str, expected: bool) -> None:
    assert plan(stereo(0.5, 0.2), stereo=mode).mid_side is expected
    assert plan(tone(2 * RATE, 2, RATE) * np.array([1, 0.01], np.float32), stereo=mode).mid_side is expected
    assert not plan(tone(RATE, 3, RATE), stereo=mode).mid_side


def test_silence_is_not_amplified() -> None:
    decided = plan(np.zeros((RATE, 3), np.float32))
    assert decided.gains == (0, 0, 0)
    assert decided.layers == (0, 0, 0)
    assert decided.coded == []


def test_unknown_mode() -> None:
    with pytest.raises(UsageError, match="'both'; use one of auto, lr, ms"):
        plan(tone(10, 2, RATE), stereo="both")


def test_samples_beyond_any_gain() -> None:
    assert quantised_gain(float("nan"), 1e6) < -119 * 256
    with pytest.raises(UnsupportedAudio, match="1e\\+30"):
        quantised_gain(600.0, 1e30)
    with np.errstate(all="raise"), pytest.raises(UnsupportedAudio, match="are not audio"):
        plan(tone(RATE, 2, RATE) * np.float32(1e30))


def test_gains_fit_in_16_bits() -> None:
    assert quantised_gain(-500.0, 1e-20) == 32767
    assert quantised_gain(-np.inf, 1e-20) == 32767
    assert linear((32767, -32768, 0))[2] == 1


@pytest.mark.parametrize("codebooks", [1, 4, 9, 18, 32])
def test_layers_fall_with_the_difference_and_never_to_none(codebooks: int) -> None:
    depths = [weaker_layers(codebooks, d) for d in range(0, 200, 3)]
    assert depths[0] == round(codebooks * 7 / 9)
    assert depths == sorted(depths, reverse=True)
    assert min(depths) == -(-codebooks * 2 // 9)


def test_mid_side_is_undone() -> None:
    samples = tone(500, 2)
    coded = np.concatenate([mid_side(samples), samples[:, :1]], axis=1) * linear((256, -512, 0))
    np.testing.assert_allclose(restore(coded, (256, -512, 0), True)[:, :2], samples, atol=1e-6)


def test_what_lies_on_one_side_is_coded_as_left_and_right() -> None:
    noise = np.random.default_rng(1).standard_normal(3 * RATE).astype(np.float32) * np.float32(0.02)
    middle = stereo(0.5, 0)
    assert plan(middle + noise[:, None] * np.array([1, -1], np.float32)).mid_side
    assert not plan(middle + noise[:, None] * np.array([1, 0], np.float32)).mid_side
