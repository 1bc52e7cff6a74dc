"""Refined codes: nearer to the sound than the encoder's own, each row by itself, the same every time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_models import SMALL_DAC

import dacfile
from dacfile.codec import Codec
from dacfile.errors import UsageError
from dacfile.model.base import build
from dacfile.model.refine import LEAST_SAMPLES
from dacfile.quality.spectral import mel_distance

RATE = 16000


@pytest.fixture(scope="module")
def sound() -> np.ndarray:
    """Three gliding tones in noise, float32 [24000, 1]."""
    time = np.arange(24000) / RATE
    tones = sum(np.sin(2 * np.pi * f * time * (1 + 0.2 * time)) for f in (180, 410, 1300))
    noise = np.random.default_rng(0).normal(size=time.shape)
    return (0.1 * tones + 0.02 * noise).astype(np.float32)[:, None]


def distance(codec: Codec, sound: np.ndarray, codes: np.ndarray) -> float:
    decoded = codec.decode(codes, len(sound))
    return float(mel_distance(torch.from_numpy(sound.T.copy()), torch.from_numpy(decoded.T.copy()), codec.rate))


def test_refined_codes_are_nearer_and_more_passes_nearer_still(sound):
    found = []
    for passes in (0, 3, 12):
        codec = dacfile.load_codec("16k", "cpu", rdo=0, refine=passes)
        found.append(distance(codec, sound, codec.encode(sound)))
    assert found[1] < 0.98 * found[0]
    assert found[2] < 0.98 * found[1]


@pytest.mark.parametrize("name", ["44k", "24k", "16k"])
def test_every_bundled_model_gains(sound, name):
    found = []
    for passes in (0, 3):
        codec = dacfile.load_codec(name, "cpu", rdo=0, refine=passes)
        found.append(distance(codec, sound, codec.encode(sound)))
    assert found[1] < 0.995 * found[0]


@pytest.mark.parametrize("name", ["44k", "16k"])  # those that look twice
def test_two_looks_are_nearer_than_one(sound, name):
    found = []
    for passes in (0, 1):
        codec = dacfile.load_codec(name, "cpu", refine=passes)
        assert (getattr(codec.network, "look", None) is not None) == (passes == 1)
        found.append(distance(codec, sound, codec.encode(sound)))
    assert found[1] < 0.995 * found[0]


def test_they_are_the_same_every_time(sound):
    codes = [dacfile.load_codec("16k", "cpu", refine=2).encode(sound) for _ in range(2)]
    assert np.array_equal(*codes)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])  # the fast form of the network, and the plain one
def test_a_row_does_not_depend_on_the_others_of_its_batch(sound, precision):
    codec = dacfile.load_codec("16k", "cpu", precision, rdo=0, refine=2)
    window = sound[: 41 * 320].T
    rows = np.concatenate([window, 0.1 * window[:, ::-1], np.zeros_like(window)])
    together = codec.network.encode(torch.from_numpy(rows.copy()))
    alone = [codec.network.encode(torch.from_numpy(row[None].copy()))[0] for row in rows]
    same = [float((a == b).float().mean()) for a, b in zip(together, alone, strict=True)]
    assert min(same) > 0.99  # up to float rounding


def test_windows_shorter_than_the_loss_looks_keep_the_encoders_codes(sound):
    short = sound[: LEAST_SAMPLES - 320]
    plain, refined = (dacfile.load_codec("16k", "cpu", rdo=0, refine=n).encode(short) for n in (0, 4))
    assert np.array_equal(plain, refined)


def test_silence_stays_silence():
    codec = dacfile.load_codec("16k", "cpu", refine=3)
    decoded = codec.decode(codec.encode(np.zeros((8000, 1), np.float32)))
    assert np.isfinite(decoded).all()
    assert np.abs(decoded).max() < 1e-2


def test_bits_weigh_more_unless_their_weight_is_given(sound):
    codecs = [dacfile.load_codec("44k", "cpu", refine=1), dacfile.load_codec("44k", "cpu", rdo=0.5, refine=1)]
    assert not np.array_equal(*(codec.encode(sound) for codec in codecs))


def test_models_of_another_architecture_are_refused():
    with pytest.raises(UsageError, match="only the codes of lapped models"):
        Codec(build(SMALL_DAC), device="cpu", refine=1)


def test_a_refined_file_decodes_as_any_other(sound, tmp_path):
    import soundfile

    soundfile.write(tmp_path / "a.wav", sound, RATE)
    path = dacfile.compress(tmp_path / "a.wav", device="cpu", refine=2)
    audio, rate = dacfile.read(path, device="cpu")
    assert (audio.shape, rate) == (sound.shape, RATE)
    assert dacfile.verify(path, source=tmp_path / "a.wav")
