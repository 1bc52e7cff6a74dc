"""`dacz` with the bundled 44k model, without any stand-in: what a new user does first."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import files_below

EXAMPLES = Path(__file__).parent.parent / "examples"
CLIPS = {"music/crazy_glue.flac": 3.0, "speech/common_voice_48k.wav": 2.0}  # seconds taken of each


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    for name, seconds in CLIPS.items():
        info = soundfile.info(EXAMPLES / name)
        samples, rate = soundfile.read(EXAMPLES / name, frames=round(seconds * info.samplerate) + 1)
        (folder / name).parent.mkdir(exist_ok=True)
        soundfile.write(folder / name, samples, rate, info.subtype)
    return folder


def test_a_folder_there_and_back(clips, tmp_path, dacz):
    packed, back = tmp_path / "packed", tmp_path / "back"
    assert dacz("compress", clips, "-o", packed, "--model", "44k", "--verify").code == 0
    assert dacz("verify", packed, "--deep").code == 0
    assert dacz("decompress", packed, "-o", back).code == 0
    assert files_below(back) == files_below(clips)
    for name in files_below(clips):
        before, rate = soundfile.read(clips / name, always_2d=True)
        after, rate_after = soundfile.read(back / name, always_2d=True)
        assert (before.shape, rate) == (after.shape, rate_after)
        correlation = np.corrcoef(before[:, 0], after[:, 0])[0, 1]
        assert correlation > 0.7, name
        bits = (packed / (name + ".dacz")).stat().st_size * 8 / len(before) * rate
        assert bits / before.shape[1] < 10_000, name


def test_the_same_input_gives_the_same_bytes(clips, tmp_path, dacz):
    for out in ("one", "two"):
        assert dacz("compress", clips / "speech", "-o", tmp_path / out, "--model", "44k").code == 0
    one, two = ((tmp_path / out / "common_voice_48k.wav.dacz").read_bytes() for out in ("one", "two"))
    assert one == two


def test_equalisers_can_be_left_out(clips, tmp_path, dacz):
    source, counts = clips / "speech" / "common_voice_48k.wav", []
    for name, options in (("with", ()), ("without", ("--no-equaliser",))):
        target = tmp_path / f"{name}.dacz"
        assert dacz("compress", source, "-o", target, *options).code == 0
        counts.append(json.loads(dacz("info", target, "--json").out)["equalised_channel_blocks"])
    assert counts == [1, 0]
    sizes = [(tmp_path / f"{name}.dacz").stat().st_size for name in ("with", "without")]
    assert 0 < sizes[0] - sizes[1] < 0.05 * sizes[1]


def test_fewer_codebooks_are_smaller(clips, tmp_path, dacz):
    source = clips / "speech" / "common_voice_48k.wav"
    sizes = []
    for count in (1, 4, 9):
        target = tmp_path / f"{count}.dacz"
        assert dacz("compress", source, "-o", target, "--codebooks", count).code == 0
        sizes.append(target.stat().st_size)
    assert sizes == sorted(sizes)
    assert dacz("compress", source, "-o", tmp_path / "x.dacz", "--codebooks", 10).code == 1


def test_another_model_than_before_is_told(clips, tmp_path, dacz):
    source, target = clips / "speech" / "common_voice_48k.wav", tmp_path / "a.dacz"
    assert dacz("compress", source, "-o", target, "--model", "16k").code == 0
    made = target.read_bytes()
    again = dacz("compress", source, "-o", target, "--model", "44k")
    assert again.code == 0
    assert "with another model than 44k; --exists overwrite" in again.out + again.err
    assert target.read_bytes() == made


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (["--codebooks", 4], ["--codebooks", 4], "is done"),
        (["--codebooks", 4], ["--codebooks", 9], "with other than 9 codebooks; --exists overwrite"),
        (["--codebooks", 9], ["--codebooks", 4], "with other than 4 codebooks; --exists overwrite"),
        ([], ["--bitrate", 4], "with 7.75 kbit/s in place of 4; --exists overwrite"),
        (["--bitrate", 4], ["--bitrate", 4], "is done"),
    ],
)
def test_other_options_than_before_are_told(clips, tmp_path, dacz, before, after, words):
    source, target = clips / "speech" / "common_voice_48k.wav", tmp_path / "a.dacz"
    assert dacz("compress", source, "-o", target, *before).code == 0
    made = target.read_bytes()
    again = dacz("compress", source, "-o", target, "--json", *after)
    assert again.code == 0
    assert words in again.out
    assert ("overwrite" in again.out) == ("overwrite" in words)
    assert target.read_bytes() == made


def test_silence_has_any_number_of_codebooks(tmp_path, dacz):
    soundfile.write(tmp_path / "silent.wav", np.zeros((44100, 2)), 44100)
    for count in (4, 9):
        again = dacz("compress", tmp_path / "silent.wav", "-o", tmp_path / "a.dacz", "--codebooks", count, "--json")
        assert again.code == 0
        assert "overwrite" not in again.out
