"""Recordings that differ in rate, delay, length or word length become comparable, or are refused."""

from __future__ import annotations

import numpy as np
import pytest
import soxr

from dacfile.errors import UsageError
from dacfile.quality import measure, pair_up, si_sdr
from dacfile.quality.scores import PIECE_SECONDS

RATE = 16000


def recording(seconds: float = 2.0) -> np.ndarray:
    """Return two different channels of coloured noise, 16-bit values."""
    noise = np.random.default_rng(3).standard_normal((int(RATE * seconds), 2))
    smooth = np.apply_along_axis(lambda x: np.convolve(x, np.hanning(9), "same"), 0, noise) * 0.02
    return (np.round(smooth * 32768) / 32768).astype(np.float32)


@pytest.mark.parametrize("delay", [0, 1105, -37])
def test_a_delay_is_found_and_taken_out(delay: int) -> None:
    reference = recording()
    late = np.pad(reference, ((max(delay, 0), 0), (0, 0)))[max(-delay, 0) :]
    pair = pair_up(reference, RATE, "PCM_16", late, RATE)
    assert pair.delay == delay
    assert pair.missing == 0
    inside = slice(50, None)
    assert np.array_equal(pair.estimate[inside], reference[inside])


def test_another_rate_is_resampled_back() -> None:
    reference = recording()
    pair = pair_up(reference, RATE, "PCM_16", soxr.resample(reference, RATE, 44100), 44100)
    assert pair.estimate.shape == reference.shape
    assert measure(pair.reference, pair.estimate, RATE)["si_sdr"] > 30


def test_the_estimate_is_rounded_to_the_word_length_of_the_reference() -> None:
    pair = pair_up(recording(), RATE, "PCM_16", recording() + 1e-6, RATE)
    assert np.array_equal(pair.estimate, pair.reference)


def test_what_is_missing_at_the_end_is_silence_and_what_is_too_long_is_cut() -> None:
    reference = recording()
    pair = pair_up(reference, RATE, "PCM_16", reference[:-100], RATE)
    assert (pair.missing, pair.estimate[-100:].any()) == (100, False)
    longer = pair_up(reference, RATE, "PCM_16", np.pad(reference, ((0, 700), (0, 0))), RATE)
    assert np.array_equal(longer.estimate, reference)


def test_other_recordings_are_refused() -> None:
    reference = recording()
    with pytest.raises(UsageError, match="has 1 channels, the reference has 2"):
        pair_up(reference, RATE, "PCM_16", reference[:, :1], RATE)
    with pytest.raises(UsageError, match=r"is 1\.0 s shorter"):
        pair_up(reference, RATE, "PCM_16", reference[:RATE], RATE)


def test_long_recordings_are_measured_in_pieces_of_equal_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    reference = recording(4)[:, :1]
    estimate = reference * np.linspace(1, 0.2, len(reference), dtype=np.float32)[:, None]
    halves = [measure(reference[part], estimate[part], RATE) for part in (slice(0, 2 * RATE), slice(2 * RATE, None))]
    monkeypatch.setattr("dacfile.quality.scores.PIECE_SECONDS", 2)
    whole = measure(reference, estimate, RATE)
    for name in ("mel", "stft"):
        assert whole[name] == pytest.approx((halves[0][name] + halves[1][name]) / 2)
    assert whole["si_sdr"] == pytest.approx(float(si_sdr(*map(_tensor, (reference, estimate)))), abs=1e-3)
    assert PIECE_SECONDS >= 30


def _tensor(x: np.ndarray):
    import torch

    return torch.from_numpy(np.ascontiguousarray(x[:, 0]))
