"""Resampling: exact lengths for any pair of rates, no delay, the same whatever the blocks, parts equal to the whole."""

from __future__ import annotations

import numpy as np
import pytest
from audio_files import tone
from hypothesis import given, settings
from hypothesis import strategies as st

from dacfile.audio.resample import Resampler, range_for, resampled_length

RATES = [(48_000, 44_100), (44_056, 44_100), (8000, 16_000), (96_000, 24_000), (11_025, 44_100), (44_100, 44_100)]


def resample(
    samples: np.ndarray, rate_in: int, rate_out: int, step: int = 4096, total: int | None = None
) -> np.ndarray:
    resampler = Resampler(rate_in, rate_out, samples.shape[1])
    parts = [resampler.push(samples[start : start + step]) for start in range(0, len(samples), step)]
    return np.concatenate([*parts, resampler.finish(total)])


@given(
    rate_in=st.integers(1, 768_000),  # of sources
    rate_out=st.sampled_from([8000, 16_000, 24_000, 44_100, 48_000]),  # of models
    samples=st.integers(0, 300),
)
@settings(max_examples=60, deadline=None)
def test_there_and_back_is_exact_in_length(rate_in: int, rate_out: int, samples: int) -> None:
    middle = resampled_length(samples, rate_in, rate_out)
    if middle > 100_000:
        return
    there = resample(tone(samples, 2), rate_in, rate_out)
    assert there.shape == (middle, 2)
    assert resample(there, rate_out, rate_in, total=samples).shape == (samples, 2)


@pytest.mark.parametrize(("rate_in", "rate_out"), RATES)
@pytest.mark.parametrize("step", [777, 50_000])
def test_blocks_do_not_matter(rate_in: int, rate_out: int, step: int) -> None:
    samples = tone(30_001, 3, rate_in)
    np.testing.assert_array_equal(resample(samples, rate_in, rate_out, step), resample(samples, rate_in, rate_out))


@pytest.mark.parametrize(("rate_in", "rate_out"), RATES)
def test_there_is_no_delay_and_back_gives_the_same_wave(rate_in: int, rate_out: int) -> None:
    hertz = 0.2 * min(rate_in, rate_out)
    seconds = np.arange(rate_in)[:, None] / rate_in
    fade = np.sin(np.pi * seconds) ** 2
    there = resample((fade * np.sin(2 * np.pi * hertz * seconds)).astype(np.float32), rate_in, rate_out)
    at = np.arange(len(there))[:, None] / rate_out
    expected = np.sin(np.pi * at) ** 2 * np.sin(2 * np.pi * hertz * at)
    assert np.abs(there - expected).max() < 1e-4
    back = resample(there, rate_out, rate_in, total=rate_in)
    assert np.abs(back - fade * np.sin(2 * np.pi * hertz * seconds)).max() < 1e-4


@pytest.mark.parametrize(("rate_in", "rate_out"), [*RATES, (44_100, 7919), (16_000, 1)])
@pytest.mark.parametrize("start", [0, 1, 5000, 12_345])
def test_a_part_sounds_as_it_does_in_the_whole(rate_in: int, rate_out: int, start: int) -> None:
    samples = tone(2 * rate_in, 1, rate_in)
    whole = resample(samples, rate_in, rate_out)
    start = min(start, len(whole) - 1)
    stop = min(start + 700, len(whole))
    first, end, skip = range_for(start, stop, rate_in, rate_out, len(samples))
    assert 0 <= first <= end <= len(samples)
    part = resample(samples[first:end], rate_in, rate_out, total=skip + stop - start)[skip : skip + stop - start]
    assert np.abs(part - whole[start:stop]).max() < 2e-5


def test_only_what_a_part_needs_is_asked_for() -> None:
    first, end, _ = range_for(480_000, 528_000, 44_100, 48_000, 10_000_000)
    assert end - first < 48_000
