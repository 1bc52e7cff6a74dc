"""Reading sources: every format in, and one clear error for what is not audio, damaged, or in motion."""

from __future__ import annotations

import io
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from audio_files import read, tone, write

from dacfile.audio.files import AudioReader
from dacfile.audio.writer import AudioWriter, OutputFormat
from dacfile.errors import LimitError, SourceChanged, UnsupportedAudio
from dacfile.limits import Limits

FORMATS = [
    ("WAV", "PCM_U8"), ("WAV", "PCM_16"), ("WAV", "PCM_24"), ("WAV", "PCM_32"), ("WAV", "FLOAT"), ("WAV", "DOUBLE"),
    ("WAV", "ULAW"), ("WAVEX", "PCM_16"), ("RF64", "PCM_16"), ("W64", "PCM_16"), ("AIFF", "PCM_24"), ("AU", "PCM_16"),
    ("CAF", "PCM_16"), ("FLAC", "PCM_16"), ("FLAC", "PCM_24"), ("OGG", "VORBIS"), ("OGG", "OPUS"),
    ("MP3", "MPEG_LAYER_III"),
]  # fmt: skip


def samples_of(source: object) -> np.ndarray:
    with AudioReader(source) as reader:
        return np.concatenate([np.zeros((0, reader.info.channels), np.float32), *reader.blocks()])


@pytest.mark.parametrize(("container", "subtype"), FORMATS)
def test_every_format_gives_its_facts_and_samples(tmp_path: Path, container: str, subtype: str) -> None:
    path = write(tmp_path / "no suffix", tone(30_000, 2, 48_000), 48_000, container, subtype)
    with AudioReader(path) as reader:
        info = reader.info
        assert (info.rate, info.channels, info.container, info.subtype) == (48_000, 2, container, subtype)
        assert info.file_bytes == path.stat().st_size
        got = np.concatenate(list(reader.blocks()))
        again = np.concatenate(list(reader.blocks()))
    expected, _ = read(path)
    np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(again, expected)
    assert got.dtype == np.float32


@pytest.mark.parametrize("channels", [1, 2, 6, 32, 255])
def test_channels(tmp_path: Path, channels: int) -> None:
    path = write(tmp_path / "a.wav", tone(1000, channels), container="WAVEX")
    assert samples_of(path).shape == (1000, channels)


def test_more_channels_than_the_format_has_room_for(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", tone(10, 256), container="WAVEX")
    with pytest.raises(LimitError, match="channels: 256"):
        AudioReader(path)


@pytest.mark.parametrize("rate", [1, 8000, 44_056, 768_000])
def test_rates(tmp_path: Path, rate: int) -> None:
    with AudioReader(write(tmp_path / "a.wav", tone(10), rate)) as reader:
        assert reader.info.rate == rate


def test_a_rate_beyond_the_limit(tmp_path: Path) -> None:
    with pytest.raises(LimitError, match="sample rate: 768001"):
        AudioReader(write(tmp_path / "a.wav", tone(10), 768_001))


def test_empty_audio_is_audio(tmp_path: Path) -> None:
    assert samples_of(write(tmp_path / "a.wav", tone(0))).shape == (0, 1)


def test_channel_mask_and_tags(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", tone(10, 6), container="WAVEX")
    with AudioReader(path) as reader:
        assert reader.info.channel_mask == 0x3F
    import soundfile

    with soundfile.SoundFile(tmp_path / "b.flac", "w", 8000, 1) as file:
        file.title, file.artist, file.tracknumber = "Übung", "N. N.", "7"
        file.write(tone(10))
    with AudioReader(tmp_path / "b.flac") as reader:
        assert reader.info.tags == (("TITLE", "Übung"), ("ARTIST", "N. N."), ("TRACKNUMBER", "7"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"dear diary\n" * 100, "not audio"),
        (b"RIFF\x00", "not audio"),
        (b"RIFF\xff\xff\xff\xffWAVEfmt \xff\xff\xff\xff", "not audio"),
        (bytes(4000), "not audio"),
    ],
)
@pytest.mark.parametrize("name", ["song.wav", "song.flac", "song.raw", "song"])
def test_what_is_not_audio_says_so_in_one_line(tmp_path: Path, content: bytes, message: str, name: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnsupportedAudio, match=message) as caught:
        AudioReader(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_the_name_does_not_decide_the_format(tmp_path: Path) -> None:
    path = write(tmp_path / "song.raw", tone(100), container="WAV")
    assert len(samples_of(path)) == 100


@pytest.mark.parametrize("cut", [0.3, 0.9, 0.999])
@pytest.mark.parametrize(("container", "subtype"), [("FLAC", "PCM_16"), ("FLAC", "PCM_24")])
def test_a_truncated_flac_is_an_error(tmp_path: Path, container: str, subtype: str, cut: float) -> None:
    data = write(tmp_path / "a.flac", tone(40_000, 2), 8000, container, subtype).read_bytes()
    with pytest.raises(UnsupportedAudio, match="damaged or cut off"):
        samples_of(io.BytesIO(data[: int(len(data) * cut)]))


def test_a_damaged_flac_is_an_error(tmp_path: Path) -> None:
    data = bytearray(write(tmp_path / "a.flac", tone(40_000, 2), container="FLAC").read_bytes())
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(UnsupportedAudio, match="damaged or cut off"):
        samples_of(io.BytesIO(data))


def test_an_ogg_with_a_hole_is_an_error(tmp_path: Path) -> None:
    data = bytearray(write(tmp_path / "a.ogg", tone(200_000, 2), 44_100, "OGG", "VORBIS").read_bytes())
    middle = len(data) // 2
    data[middle : middle + 5000] = bytes(5000)
    with pytest.raises(UnsupportedAudio, match="damaged or cut off"):
        samples_of(io.BytesIO(data))


def test_a_wav_that_is_shorter_than_it_says_is_read_with_a_warning(tmp_path: Path) -> None:
    data = write(tmp_path / "a.wav", tone(1000)).read_bytes()
    with AudioReader(io.BytesIO(data[:-500])) as reader:
        assert sum(map(len, reader.blocks())) == 750
        assert reader.warnings == ["its header promises 500 bytes more than the file has"]


@pytest.mark.parametrize("length", [0, 0xFFFFFFFF])
def test_a_streamed_wav_is_read_to_its_end(tmp_path: Path, length: int) -> None:
    path = write(tmp_path / "a.wav", tone(1000))
    data = bytearray(path.read_bytes())
    data[40:44] = struct.pack("<I", length)
    with AudioReader(io.BytesIO(data)) as reader:
        np.testing.assert_array_equal(np.concatenate(list(reader.blocks())), read(path)[0])
        assert "to the end of the file" in reader.warnings[0]


def of_unknown_length(flac: bytes) -> bytes:
    """Return a FLAC file with 0 for the number of samples, as an encoder writes that could not seek back."""
    data = bytearray(flac)
    data[21] &= 0xF0  # STREAMINFO, RFC 9639 section 8.2: 36 bits from bit 108 of it on
    data[22:26] = bytes(4)
    return bytes(data)


def test_a_streamed_flac_is_read_to_its_end(tmp_path: Path) -> None:
    path = write(tmp_path / "a.flac", tone(40_000, 2), container="FLAC")
    with AudioReader(io.BytesIO(of_unknown_length(path.read_bytes()))) as reader:
        assert reader.info.samples is None
        for _ in range(2):
            np.testing.assert_array_equal(np.concatenate(list(reader.blocks())), read(path)[0])


def test_a_streamed_flac_that_is_cut_off_is_an_error(tmp_path: Path) -> None:
    data = of_unknown_length(write(tmp_path / "a.flac", tone(40_000, 2), container="FLAC").read_bytes())
    with pytest.raises(UnsupportedAudio, match="damaged or cut off"):
        samples_of(io.BytesIO(data[: len(data) // 2]))


def test_a_flac_without_samples(tmp_path: Path) -> None:
    stream = io.BytesIO()
    with AudioWriter(stream, OutputFormat("FLAC", "PCM_16", ".flac"), 44_100, 2, 0):
        pass
    assert samples_of(stream).shape == (0, 2)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_audio_are_named_with_their_place(tmp_path: Path, value: float) -> None:
    samples = tone(150_000, 2)
    samples[140_001, 1] = value
    samples[140_002, 0] = value
    path = write(tmp_path / "a.wav", samples, subtype="FLOAT")
    with pytest.raises(UnsupportedAudio, match=f"sample 140001 of channel 1 is {value}"):
        samples_of(path)


def test_a_double_too_large_for_float_is_infinite(tmp_path: Path) -> None:
    import soundfile

    soundfile.write(tmp_path / "a.wav", np.array([0.0, 1e300]), 8000, subtype="DOUBLE")
    with pytest.raises(UnsupportedAudio, match="sample 1 of channel 0 is inf"):
        samples_of(tmp_path / "a.wav")


@pytest.mark.parametrize("change", ["grow", "touch", "replace", "remove", "shrink"])
def test_a_source_that_changes_while_it_is_read(tmp_path: Path, change: str) -> None:
    path = write(tmp_path / "a.wav", tone(200_000))
    with AudioReader(path) as reader:
        blocks = reader.blocks()
        next(blocks)
        if change == "grow":
            path.write_bytes(path.read_bytes() + b"more")
        elif change == "touch":
            os.utime(path, ns=(1, 1))
        elif change == "replace":
            write(tmp_path / "b.wav", tone(200_000))
            os.replace(tmp_path / "b.wav", path)
        elif change == "shrink":
            os.truncate(path, 1000)
        else:
            path.unlink()
        with pytest.raises(SourceChanged):
            list(blocks)


def test_pipes_are_spooled(tmp_path: Path) -> None:
    path = write(tmp_path / "a.flac", tone(5000, 2), container="FLAC")
    out, into = os.pipe()
    os.write(into, path.read_bytes())
    os.close(into)
    with os.fdopen(out, "rb") as stream:
        assert not stream.seekable()
        np.testing.assert_array_equal(samples_of(stream), read(path)[0])


@pytest.mark.parametrize("name", ["naïve – 音楽 🎵.wav", "-dash.wav", "new\nline.wav", b"bad\xff.wav"])
def test_odd_names(tmp_path: Path, name: str | bytes) -> None:
    path = tmp_path / os.fsdecode(name)
    path.write_bytes(write(tmp_path / "a.wav", tone(10)).read_bytes())
    assert len(samples_of(path)) == 10


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        AudioReader(tmp_path / "nothing.wav")


def test_limits_are_the_callers(tmp_path: Path) -> None:
    with pytest.raises(LimitError):
        AudioReader(write(tmp_path / "a.wav", tone(10, 3)), Limits(channels=2))
