"""The distances against values of an independent implementation, and what must hold by definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dacfile.quality import find_delay, mel_distance, round_to_word, si_sdr, stft_distance
from dacfile.quality.spectral import mel_distances, mel_filters

# descript-audiotools 0.7.2 with librosa 0.11.0 on `pair`: MelSpectrogramLoss with the settings of the DAC paper,
# MultiScaleSTFTLoss with its defaults, SISDRLoss with the sign turned.
EXPECTED = {
    16000: (3.480462, 3.538359, 4.671712),
    24000: (3.444070, 3.585449, 4.659040),
    44100: (3.458130, 3.656566, 4.670841),
}


def signal(rate: int, samples: int, seed: int) -> np.ndarray:
    """Return a tone in pseudo-noise made by integer arithmetic, the same on every machine."""
    n = np.arange(samples, dtype=np.int64)
    noise = ((n * n * (7919 + seed) + n * 104729 + seed * 31) % 65521) - 32760
    return (0.3 * np.sin(2 * np.pi * 440 * n / rate) + 0.1 * noise / 32760).astype(np.float32)


def pair(rate: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return half a second of reference and a noisier, fading estimate."""
    reference = signal(rate, rate // 2, 1)
    estimate = (0.8 * reference + 0.2 * signal(rate, rate // 2, 5)).astype(np.float32)
    estimate = np.round(estimate * 32767).astype(np.float32) / 32767 * np.linspace(1, 0, rate // 2, dtype=np.float32)
    return torch.from_numpy(reference), torch.from_numpy(estimate)


@pytest.mark.parametrize("rate", EXPECTED)
def test_values_equal_the_reference_implementation(rate: int) -> None:
    reference, estimate = pair(rate)
    values = (mel_distance(reference, estimate, rate), stft_distance(reference, estimate), si_sdr(reference, estimate))
    assert [float(v) for v in values] == pytest.approx(EXPECTED[rate], abs=1e-4)


def test_batches_are_measured_item_by_item() -> None:
    reference, estimate = pair(16000)
    batch = (torch.stack((reference, estimate)).reshape(2, 1, -1), torch.stack((estimate, estimate)).reshape(2, 1, -1))
    mel, stft, sdr = mel_distance(*batch, 16000), stft_distance(*batch), si_sdr(*batch)
    assert mel.shape == stft.shape == sdr.shape == (2, 1)
    assert float(mel[0, 0]) == pytest.approx(float(mel_distance(reference, estimate, 16000)), rel=1e-5)
    assert (float(mel[1, 0]), float(stft[1, 0]), float(sdr[1, 0])) == (0.0, 0.0, 100.0)


def test_mel_distance_is_differentiable() -> None:
    reference, estimate = pair(16000)
    estimate.requires_grad_()
    mel_distance(reference, estimate, 16000).backward()
    assert estimate.grad is not None
    assert bool(estimate.grad.isfinite().all())
    assert bool(estimate.grad.any())


@pytest.mark.parametrize("samples", [0, 1, 511, 2047])
def test_short_clips_have_values(samples: int) -> None:
    reference, estimate = (x[:samples] for x in pair(16000))
    assert math.isfinite(float(mel_distance(reference, estimate, 16000)))
    assert math.isfinite(float(stft_distance(reference, estimate)))


def test_shapes_must_agree() -> None:
    for function in (stft_distance, si_sdr, lambda a, b: mel_distance(a, b, 16000)):
        with pytest.raises(ValueError, match="differ in shape"):
            function(torch.zeros(3000), torch.zeros(3001))


def test_a_gain_moves_every_mel_scale_by_its_logarithm() -> None:
    reference, _ = pair(44100)
    for term in mel_distances(reference, reference * 0.5, 44100)[3:]:
        assert float(term) == pytest.approx(math.log10(2), abs=0.03)


@pytest.mark.parametrize(("rate", "window", "bands"), [(44100, 2048, 80), (16000, 512, 40)])
def test_mel_filters_have_unit_area_and_rising_centres(rate: int, window: int, bands: int) -> None:
    filters = mel_filters(rate, window, bands)
    wide = filters.count_nonzero(dim=1) >= 8
    areas = filters.sum(1) * rate / window
    assert wide.any()
    assert torch.allclose(areas[wide], torch.ones_like(areas[wide]), atol=0.02)
    peaks = filters.argmax(1)
    assert bool((peaks.diff() >= 0).all())
    assert int(peaks[-1]) < window // 2


def test_si_sdr_ignores_gain_and_offset_and_measures_noise() -> None:
    reference, _ = pair(16000)
    centred = reference.double() - reference.double().mean()
    noise = torch.cos(torch.arange(len(centred), dtype=torch.float64))
    noise -= noise.mean()
    noise -= (noise @ centred) / (centred @ centred) * centred
    noise *= (centred.norm() / noise.norm()) * 10 ** (-17 / 20)
    assert float(si_sdr(reference.double(), 3 * (centred + noise) + 0.1)) == pytest.approx(17, abs=1e-6)


def test_si_sdr_of_silence() -> None:
    tone, _ = pair(16000)
    assert math.isnan(float(si_sdr(torch.zeros(100), torch.zeros(100))))
    assert math.isnan(float(si_sdr(torch.zeros(8000), tone)))
    assert float(si_sdr(tone, torch.zeros(8000))) == -100.0


@pytest.mark.parametrize("lag", [-300, -1, 0, 1, 312])
def test_find_delay(lag: int) -> None:
    reference = torch.from_numpy(signal(16000, 4000, 3) - signal(16000, 4000, 4))
    assert find_delay(reference, torch.roll(reference, lag) * 0.4, 400) == lag


def test_find_delay_of_silence_is_zero() -> None:
    assert find_delay(torch.zeros(100), torch.ones(100), 10) == 0


@pytest.mark.parametrize(("subtype", "bits"), [("PCM_U8", 8), ("PCM_16", 16), ("PCM_24", 24)])
def test_round_to_word_yields_what_a_file_holds(subtype: str, bits: int) -> None:
    step = 2.0 ** (1 - bits)
    samples = np.array([0.0, 0.4 * step, 0.6 * step, -1.2, 1.2])
    assert round_to_word(samples, subtype).tolist() == [0.0, 0.0, step, -1.0, 1.0 - step]


def test_round_to_word_leaves_float_alone() -> None:
    samples = np.array([0.1, 1.7], dtype=np.float32)
    assert round_to_word(samples, "FLOAT").tolist() == samples.tolist()
