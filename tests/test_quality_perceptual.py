"""PESQ, STOI and ViSQOL through our wrappers, and all metrics of a recording at once."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest

from dacfile.errors import UsageError
from dacfile.quality import measure, pesq_wideband, stoi, visqol

PACKAGES = {pesq_wideband: "pesq", stoi: "pystoi", visqol: "visqol"}
SCORES = list(PACKAGES)


def voice(rate: int, seconds: float = 1.5) -> np.ndarray:
    """Return something speech-like: harmonics of a gliding pitch, in syllables."""
    t = np.arange(int(rate * seconds)) / rate
    phase = 2 * np.pi * np.cumsum(120 + 30 * np.sin(4 * t)) / rate
    harmonics = sum(np.sin(k * phase) / k for k in range(1, 20))
    return 0.15 * np.asarray(harmonics) * np.abs(np.sin(2 * np.pi * 2 * t)) ** 0.5


def noisy(x: np.ndarray, level: float) -> np.ndarray:
    return x + level * np.random.default_rng(7).standard_normal(len(x))


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("rate", [16000, 44100])
def test_more_noise_scores_lower_and_a_copy_highest(score, rate: int) -> None:
    pytest.importorskip(PACKAGES[score])
    x = voice(rate)
    copy, little, much = (score(x, noisy(x, level), rate) for level in (0.0, 0.0002, 0.1))
    assert copy > little > much
    assert copy == pytest.approx({"pesq": 4.64, "pystoi": 1.0, "visqol": 4.73}[PACKAGES[score]], abs=0.01)


@pytest.mark.parametrize("score", SCORES)
def test_the_sample_rate_hardly_matters(score) -> None:
    pytest.importorskip(PACKAGES[score])
    values = []
    for rate in (32000, 48000):
        hiss = np.cumsum(np.random.default_rng(1).standard_normal(int(4000 * 1.5)))
        x, coarse = voice(rate), np.interp(np.arange(len(voice(rate))) * 4000 / rate, np.arange(6000), hiss)
        values.append(score(x, x + 0.0005 * coarse, rate))
    assert values[0] == pytest.approx(values[1], abs=0.2)


@pytest.mark.parametrize("score", SCORES)
def test_undefined_and_lowest_values(score) -> None:
    pytest.importorskip(PACKAGES[score])
    x = voice(16000)
    assert math.isnan(score(x[:8000], x[:8000], 16000))
    assert math.isnan(score(0 * x, x, 16000))
    assert score(x, 0 * x, 16000) == (0.0 if score is stoi else 1.0)


@pytest.mark.parametrize("score", SCORES)
def test_a_missing_package_is_named(score, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, PACKAGES[score], None)
    visqol_cache = sys.modules["dacfile.quality.perceptual"]._visqol_api
    visqol_cache.cache_clear()
    with pytest.raises(UsageError, match=rf"{PACKAGES[score]} is not installed: pip install 'dacfile\[metrics\]'"):
        score(voice(16000), voice(16000), 16000)


@pytest.mark.parametrize("score", SCORES)
def test_lengths_must_agree(score) -> None:
    pytest.importorskip(PACKAGES[score])
    with pytest.raises(UsageError, match="equally long"):
        score(np.zeros(20000), np.zeros(20001), 16000)


def test_visqol_knows_two_modes() -> None:
    with pytest.raises(UsageError, match="no mode 'music'"):
        visqol(np.zeros(16000), np.zeros(16000), 16000, mode="music")


def test_measure_averages_the_channels_where_a_metric_is_defined() -> None:
    left = voice(16000)
    stereo, silent_right = np.stack((left, 0.5 * left), 1), np.stack((left, 0 * left), 1)
    estimate = np.stack((noisy(left, 0.01), noisy(0.5 * left, 0.02)), 1)
    both = measure(stereo, estimate, 16000)
    each = [measure(stereo[:, c : c + 1], estimate[:, c : c + 1], 16000) for c in (0, 1)]
    assert list(both) == ["mel", "stft", "si_sdr"]
    for name, value in both.items():
        assert value == pytest.approx((each[0][name] + each[1][name]) / 2)
    assert measure(silent_right, estimate, 16000)["si_sdr"] == pytest.approx(each[0]["si_sdr"])


def test_measure_refuses_what_it_cannot_compare() -> None:
    with pytest.raises(UsageError, match="unknown metric 'loudness'"):
        measure(np.zeros((10, 1)), np.zeros((10, 1)), 16000, ["loudness"])
    with pytest.raises(UsageError, match="cannot compare recordings"):
        measure(np.zeros((10, 1)), np.zeros((10, 2)), 16000)
