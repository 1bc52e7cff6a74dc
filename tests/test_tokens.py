"""Codes of one's own as files: what goes in comes out, with the sound that the codec would make of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from audio_files import tone, write
from stub_codec import StubCodec

import dacfile
from dacfile.compressor import CompressOptions, frames_per_block
from dacfile.errors import OutputExists, UsageError
from dacfile.windows import ABSENT

RATE = 8000
CODEC = StubCodec()
HOP, BLOCK = CODEC.facts.hop, frames_per_block(CODEC.facts, CompressOptions().block_seconds)


def random_codes(channels: int = 2, layers: int = 3, frames: int = 700) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 64, (channels, layers, frames), dtype=np.uint16)


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 700), (5, 2, 17 * BLOCK + 3), (1, 3, 0)])
def test_codes_and_their_sound_come_back(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    codes = random_codes(*shape)
    path = dacfile.write(tmp_path / "tokens.dacz", codes, CODEC, tags=[("TITLE", "tokens")])
    with dacfile.open(path) as file:
        np.testing.assert_array_equal(file.codes(codebooks=shape[1]), codes)
        assert (file.rate, file.channels, file.frames, file.tags) == (RATE, shape[0], shape[2], (("TITLE", "tokens"),))
    audio, rate = dacfile.read(path, codec=CODEC)
    assert rate == RATE
    np.testing.assert_array_equal(audio, CODEC.decode(codes, max(shape[2] * HOP - CODEC.facts.tail, 0)))
    assert dacfile.verify(path).codes == codes.size


@pytest.mark.parametrize("stereo", ["lr", "ms"])
def test_the_codes_of_a_file_make_the_same_file(tmp_path: Path, stereo: str) -> None:
    song = write(tmp_path / "song.wav", tone(30 * 11025, 2, 11025), 11025, "WAV")
    first = dacfile.compress(song, codec=CODEC, stereo=stereo)
    with dacfile.open(first) as file:
        head, codes = file.head, file.codes()
    again = dacfile.write(
        tmp_path / "again.dacz",
        codes,
        CODEC,
        samples=head.source_samples,
        rate=head.source_rate,
        gains_db=head.gains_db,
        mid_side=stereo == "ms",
    )
    with dacfile.open(again) as file:
        np.testing.assert_array_equal(file.codes(), codes)
        assert file.head.gains == head.gains
    audio = [dacfile.read(path, codec=CODEC)[0] for path in (first, again)]
    np.testing.assert_array_equal(*audio)


def test_layers_may_be_left_out_and_channels_silent_block_by_block(tmp_path: Path) -> None:
    codes = random_codes(frames=2 * BLOCK + 5)
    codes[0, 1:, :BLOCK] = codes[1, :, BLOCK:] = ABSENT
    path = dacfile.write(tmp_path / "tokens.dacz", codes, CODEC)
    with dacfile.open(path) as file:
        np.testing.assert_array_equal(file.codes(), codes)
    audio, _ = dacfile.read(path, codec=CODEC)
    assert not audio[BLOCK * HOP :, 1].any()
    assert audio[: BLOCK * HOP - HOP, 1].any()


@pytest.mark.parametrize(
    ("codes", "options", "message"),
    [
        (random_codes().astype(np.int64), {}, "uint16"),
        (random_codes()[0], {}, "frames"),
        (random_codes(layers=4), {}, "this model has 3"),
        (random_codes().tolist(), {}, "uint16"),
        (random_codes(300, 1, 1), {}, "300 channels: a file has 1 to 255"),
        (random_codes(0), {}, "0 channels"),
        (random_codes() + np.uint16(1), {}, "the code 64"),
        (random_codes(), {"samples": 700.0 * HOP - 3}, "samples: 11197.0 is not a whole number"),
        (random_codes(frames=0), {"samples": -5}, "-5 samples"),
        (random_codes(), {"rate": 44100.0}, "rate: 44100.0 is not a whole number"),
        (random_codes(), {"rate": 0}, "a rate of 0 Hz"),
        (random_codes(), {"rate": -1}, "a rate of -1 Hz"),
        (random_codes(), {"rate": 1_000_000}, "a rate of 1,000,000 Hz"),
        (random_codes(), {"gains_db": []}, "0 gains for 2"),
        (random_codes(), {"samples": 700 * HOP}, "frames of codes, not 700"),
        (random_codes(), {"gains_db": [0.0]}, "1 gains for 2"),
        (random_codes(1), {"mid_side": True}, "two channels"),
        (random_codes(), {"gains_db": [200, 0]}, "200 dB"),
        (random_codes(), {"gains_db": [0, -128.01]}, "-128.01 dB"),
        (random_codes(), {"gains_db": [np.nan, 0]}, "nan dB"),
        (random_codes(), {"gains_db": [-np.inf, 0]}, "-inf dB"),
        (random_codes(), {"tags": [("TRACK", 1)]}, "'TRACK', 1"),
        (random_codes(), {"tags": [(b"TRACK", "1")]}, "b'TRACK', '1'"),
        (random_codes(), {"tags": ["TRACK"]}, "'TRACK'"),
    ],
)
def test_other_codes_are_refused(tmp_path: Path, codes: np.ndarray, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        dacfile.write(tmp_path / "tokens.dacz", codes, CODEC, **options)
    assert not list(tmp_path.iterdir())


def test_holes_are_refused(tmp_path: Path) -> None:
    hole, upside_down = random_codes(), random_codes()
    hole[0, 2, 5] = upside_down[1, 0] = ABSENT
    for codes in (hole, upside_down):
        with pytest.raises(UsageError, match="missing within a block"):
            dacfile.write(tmp_path / "tokens.dacz", codes, CODEC)


def test_whole_numbers_may_be_those_of_numpy(tmp_path: Path) -> None:
    samples, rate = np.int64(CODEC.facts.decoded(700)), np.uint32(RATE)
    path = dacfile.write(tmp_path / "tokens.dacz", random_codes(), CODEC, samples=samples, rate=rate)
    with dacfile.open(path) as file:
        assert (file.samples, file.rate) == (samples, rate)


def test_files_are_not_replaced_unless_told(tmp_path: Path) -> None:
    path = dacfile.write(tmp_path / "tokens.dacz", random_codes(), CODEC)
    with pytest.raises(OutputExists):
        dacfile.write(path, random_codes(1), CODEC)
    dacfile.write(path, random_codes(1), CODEC, overwrite=True)
    assert dacfile.open(path).channels == 1


def test_codes_of_a_bundled_model_are_entropy_coded(tmp_path: Path) -> None:
    codec = dacfile.load_codec("16k", device="cpu")
    noise = np.random.default_rng(0).standard_normal((8 * 16000, 1)).cumsum(0)
    codes = codec.encode((0.1 * noise / np.abs(noise).max()).astype(np.float32))
    small = dacfile.write(tmp_path / "small.dacz", codes, codec)
    raw = dacfile.write(tmp_path / "raw.dacz", codes, codec, prior=False)
    assert small.stat().st_size < 0.95 * raw.stat().st_size
    for path in (small, raw):
        with dacfile.open(path) as file:
            np.testing.assert_array_equal(file.codes(), codes)
