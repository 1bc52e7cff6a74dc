"""Files in which there is more than libsndfile reads: all of it is read, or the file is refused; never a part of it."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from audio_files import read, tone, write

from dacfile.audio.files import AudioReader
from dacfile.audio.mp3 import count_frames
from dacfile.audio.view import BLOCK, View, Window
from dacfile.errors import UnsupportedAudio

ID3V1 = b"TAG" + bytes(125)
ID3V2 = b"ID3\4\0\0\0\0\2\0" + bytes(256)
APE = b"APETAGEX" + struct.pack("<IIII", 2000, 32 + 64, 0, 0xA0000000) + bytes(8 + 64 + 32)


def ogg(folder: Path, subtype: str, samples: int = 30_000) -> bytes:
    return write(folder / "a.ogg", tone(samples, 2, 48_000), 48_000, "OGG", subtype).read_bytes()


def page(flags: int, serial: int, content: bytes) -> bytes:
    """Return an Ogg page with a stream number of its own; libsndfile passes over it without its checksum."""
    return struct.pack("<4sBBqIIIBB", b"OggS", 0, flags, 0, serial, 0, 0, 1, len(content)) + content


def mp3(folder: Path, samples: np.ndarray, rate: int = 44_100) -> bytes:
    return write(folder / "a.mp3", samples, rate, "MP3", "MPEG_LAYER_III").read_bytes()


def without_count(data: bytes) -> bytes:
    """Return an MP3 without the frame that tells its number of frames."""
    frames = count_frames(View(io.BytesIO(data)))
    assert frames is not None
    assert frames.told is not None
    start = data.index(b"\xff", frames.offset + 100)
    while True:
        rest = count_frames(View(io.BytesIO(data[start:])))
        if rest is not None and rest.told is None and rest.offset == 0:
            return data[start:]
        start = data.index(b"\xff", start + 1)


def samples_of(data: bytes) -> np.ndarray:
    with AudioReader(io.BytesIO(data)) as reader:
        first = np.concatenate(list(reader.blocks()))
        np.testing.assert_array_equal(np.concatenate(list(reader.blocks())), first)
        assert reader.warnings == []
    return first


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_a_chain_of_ogg_streams_is_refused(tmp_path: Path, subtype: str) -> None:
    data = ogg(tmp_path, subtype)
    with pytest.raises(UnsupportedAudio, match="a chain of several Ogg streams"):
        AudioReader(io.BytesIO(data + data))
    other = ogg(tmp_path, "OPUS" if subtype == "VORBIS" else "VORBIS")
    with pytest.raises(UnsupportedAudio, match="a chain of several Ogg streams"):
        AudioReader(io.BytesIO(data + b"something" + other))


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_streams_beside_the_first_get_a_note(tmp_path: Path, subtype: str) -> None:
    data = ogg(tmp_path, subtype)
    second = data.index(b"OggS", 4)
    both = data[:second] + page(2, 77, b"\x80theora") + data[second:] + page(4, 77, b"x")
    with AudioReader(io.BytesIO(both)) as reader:
        assert sum(map(len, reader.blocks())) == 30_000
        assert reader.warnings == ["it holds more streams than one: the others are left out"]
    skeleton = data[:second] + page(2, 77, b"fishead\0") + data[second:] + page(4, 77, b"")
    assert len(samples_of(skeleton)) == 30_000


@pytest.mark.parametrize("between", [b"", ID3V1, ID3V2, APE + ID3V1 + ID3V2, b"\xff\xfb junk \xff" * 50])
def test_joined_mp3_files_are_refused(tmp_path: Path, between: bytes) -> None:
    data = mp3(tmp_path, tone(44_100, 2, 44_100))
    with pytest.raises(UnsupportedAudio, match="several MP3 files in one"):
        AudioReader(io.BytesIO(data + between + data))
    other = mp3(tmp_path, tone(20_000, 1, 22_050), 22_050)
    with pytest.raises(UnsupportedAudio, match="several MP3 files in one"):
        AudioReader(io.BytesIO(data + between + other))


@pytest.mark.parametrize("after", [b"", ID3V1, ID3V2, APE + ID3V1, b"\xff\xfb junk \xff" * 50, bytes(5000)])
@pytest.mark.parametrize(("rate", "channels"), [(44_100, 2), (22_050, 1), (8000, 1)])
def test_tags_and_junk_are_no_audio(tmp_path: Path, after: bytes, rate: int, channels: int) -> None:
    data = mp3(tmp_path, tone(rate, channels, rate), rate)
    assert len(samples_of(ID3V2 + data + after)) == len(read(io.BytesIO(data))[0])


@pytest.mark.parametrize("rate", [44_100, 22_050])
@pytest.mark.parametrize("channels", [1, 2])
def test_an_mp3_that_tells_no_length_is_read_to_its_end(tmp_path: Path, rate: int, channels: int) -> None:
    """A loud start makes libsndfile guess far too few samples: it guesses by the bit rate of the first frame."""
    samples = np.random.default_rng(3).uniform(-0.9, 0.9, (6 * rate, channels)).astype(np.float32)
    samples[rate:] *= 1e-4
    path = tmp_path / "a.mp3"
    with soundfile.SoundFile(
        path, "w", rate, channels, "MPEG_LAYER_III", format="MP3", bitrate_mode="VARIABLE"
    ) as file:
        file.write(samples)
    whole = path.read_bytes()
    data = without_count(whole)
    assert soundfile.info(io.BytesIO(data)).frames < 5 * rate
    got, expected = samples_of(data), read(io.BytesIO(whole))[0]
    assert len(got) >= len(expected)
    lags = [np.abs(got[lag : lag + rate] - expected[:rate]).max() for lag in range(len(got) - len(expected) + 1)]
    lag = int(np.argmin(lags))
    np.testing.assert_allclose(got[lag : lag + len(expected)], expected, atol=1e-4)


def test_joined_mp3_files_that_tell_no_length_are_read_to_their_end(tmp_path: Path) -> None:
    data = without_count(mp3(tmp_path, tone(44_100, 2, 44_100)))
    alone = samples_of(data)
    frames = count_frames(View(io.BytesIO(data)))
    assert frames is not None
    assert len(samples_of(data + ID3V1 + data)) == len(alone) + 1152 * frames.count


def test_an_mp3_that_is_cut_off_is_read_with_a_warning(tmp_path: Path) -> None:
    data = mp3(tmp_path, tone(44_100, 2, 44_100))
    with AudioReader(io.BytesIO(data[: len(data) // 2])) as reader:
        assert 10_000 < sum(map(len, reader.blocks())) < 30_000
        assert "the file is cut off" in reader.warnings[0]


def test_marks_are_found_across_blocks() -> None:
    for place in (0, 1, BLOCK - 3, BLOCK - 1, BLOCK, 3 * BLOCK - 2):
        window = Window(View(io.BytesIO(bytes(place) + b"OggS" + bytes(100))))
        assert window.find(b"OggS", 0) == place
        assert window.find(b"OggS", place + 1) == window.size


@pytest.mark.parametrize("container", ["MP3", "OGG"])
def test_a_bad_disk_is_not_the_end_of_a_file(tmp_path: Path, container: str) -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if 100_000 <= self.tell() < 200_000:
                raise OSError(5, "Input/output error")
            return super().read(size)

    subtype = {"MP3": "MPEG_LAYER_III", "OGG": "VORBIS"}[container]
    noise = np.random.default_rng(5).uniform(-0.5, 0.5, (1_500_000, 2)).astype(np.float32)
    data = write(tmp_path / "a", noise, 48_000, container, subtype).read_bytes()
    assert len(data) > 300_000
    with pytest.raises(OSError, match="Input/output error"):
        AudioReader(Failing(data if container == "OGG" else without_count(data)))
