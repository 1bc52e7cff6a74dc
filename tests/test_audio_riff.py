"""WAVE headers with lengths that are missing, false or wrapped: all samples are read, and nothing but samples."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from audio_files import read, tone, write

from dacfile.audio.files import AudioReader
from dacfile.audio.riff import read_wave_header, with_true_length
from dacfile.audio.writer import AudioWriter, OutputFormat

TO_THE_END = "its header does not say how long it is: read to the end of the file"
INFO = b"LIST\x10\0\0\0INFOINAM\4\0\0\0abc\0"
FMT = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 2, 44_100, 176_400, 4, 16)


def wav(samples: bytes, declared: int, after: bytes = b"", riff: int | None = None) -> bytes:
    body = b"WAVE" + FMT + struct.pack("<4sI", b"data", declared) + samples + after
    return b"RIFF" + struct.pack("<I", len(body) if riff is None else riff) + body


def rf64(samples: bytes, declared: int, after: bytes = b"", length: int = 0xFFFFFFFF, riff: int = 0) -> bytes:
    sizes = struct.pack("<4sIQQQI", b"ds64", 28, riff, declared, 0, 0)
    body = b"WAVE" + sizes + FMT + struct.pack("<4sI", b"data", length) + samples + after
    return b"RF64\xff\xff\xff\xff" + body


def found(data: bytes) -> tuple[np.ndarray, list[str]]:
    with AudioReader(io.BytesIO(data)) as reader:
        return np.concatenate([np.zeros((0, 2), np.float32), *reader.blocks()]), reader.warnings


SAMPLES = (tone(1000, 2) * 32767).astype("<i2").tobytes()
EXPECTED = np.frombuffer(SAMPLES, "<i2").reshape(-1, 2).astype(np.float32) / 32768


@pytest.mark.parametrize("declared", [0, (1 << 64) - 1])
@pytest.mark.parametrize("length", [0, 0xFFFFFFFF])
def test_a_streamed_rf64_is_read_to_its_end(declared: int, length: int) -> None:
    samples, warnings = found(rf64(SAMPLES, declared, length=length))
    np.testing.assert_array_equal(samples, EXPECTED)
    assert warnings == [TO_THE_END]


@pytest.mark.parametrize("after", [b"", INFO])
@pytest.mark.parametrize("length", [0, 0xFFFFFFFF, len(SAMPLES)])
def test_an_rf64_is_read_without_a_note(after: bytes, length: int) -> None:
    samples, warnings = found(rf64(SAMPLES, len(SAMPLES), after, length))
    np.testing.assert_array_equal(samples, EXPECTED)
    assert warnings == []


def test_an_rf64_of_libsndfile_is_read_without_a_note(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", tone(1000, 2), container="RF64")
    samples, warnings = found(path.read_bytes())
    np.testing.assert_array_equal(samples, read(path)[0])
    assert warnings == []


def test_an_rf64_with_a_length_of_32_bits_alone() -> None:
    samples, warnings = found(rf64(SAMPLES, 0, INFO, len(SAMPLES)))
    np.testing.assert_array_equal(samples, EXPECTED)
    assert warnings == []


def test_a_truncated_rf64_says_how_much_is_missing() -> None:
    samples, warnings = found(rf64(SAMPLES[:-400], len(SAMPLES)))
    np.testing.assert_array_equal(samples, EXPECTED[:-100])
    assert warnings == ["its header promises 400 bytes more than the file has"]


@pytest.mark.parametrize("after", [b"", INFO, INFO + b"id3 \3\0\0\0ID3\0", INFO + b"id3 \3\0\0\0ID3"])
@pytest.mark.parametrize("riff", [None, 0, 36])
def test_a_wav_without_samples_has_none_whatever_follows(after: bytes, riff: int | None) -> None:
    samples, warnings = found(wav(b"", 0, after, riff))
    assert (samples.shape, warnings) == ((0, 2), [])


@pytest.mark.parametrize("length", [0, 0xFFFFFFFF])
@pytest.mark.parametrize("after", [b"", INFO])
def test_an_rf64_without_samples_has_none_whatever_follows(after: bytes, length: int) -> None:
    samples, warnings = found(rf64(b"", 0, after, length))
    assert (samples.shape, warnings) == ((0, 2), [])


def test_an_output_without_samples_but_with_tags_has_none_again() -> None:
    out = io.BytesIO()
    with AudioWriter(out, OutputFormat("WAV", "PCM_16", ""), 8000, 2, 0, 0, (("TITLE", "T"),)):
        pass
    samples, warnings = found(out.getvalue())
    assert (samples.shape, warnings) == ((0, 2), [])


@pytest.mark.parametrize("riff", [None, 0, 36, 0xFFFFFFFF])
@pytest.mark.parametrize("length", [0, 0xFFFFFFFF])
def test_a_streamed_wav_is_read_to_its_end_whatever_its_riff_length(riff: int | None, length: int) -> None:
    samples, warnings = found(wav(SAMPLES, length, riff=riff))
    np.testing.assert_array_equal(samples, EXPECTED)
    assert warnings == [TO_THE_END]


LARGE = 5_000_000_000  # bytes of samples; the files have holes and take no room


def large(path: Path, declared: int, bytes_of_samples: int = LARGE, after: bytes = b"", riff: int = 0xFFFFFFFF) -> Path:
    """Write a WAV of silence but for the last sample, [0.25, 0.5]."""
    with path.open("wb") as file:
        file.write(wav(b"", declared, riff=riff))
        file.seek(bytes_of_samples - 4, 1)
        file.write(struct.pack("<hh", 8192, 16384) + after)
    return path


def check_large(path: Path, frames: int) -> None:
    with path.open("rb") as stream:
        header = read_wave_header(stream)
        assert header is not None
        with soundfile.SoundFile(with_true_length(stream, header)) as sound:
            assert sound.frames == frames
            sound.seek(frames - 1)
            assert sound.read(2, dtype="float32").tolist() == [[0.25, 0.5]]
    with AudioReader(path) as reader:
        assert reader.info.samples == frames
        assert reader.warnings == [TO_THE_END]


@pytest.mark.parametrize("declared", [0, 0xFFFFFFFF, LARGE % (1 << 32), 0x7FFFF000, 0xFFFFF000])
def test_a_wav_of_more_than_4_gib_is_read_to_its_end(tmp_path: Path, declared: int) -> None:
    check_large(large(tmp_path / "a.wav", declared), LARGE // 4)


def test_a_length_that_wrapped_tells_the_end_of_the_samples(tmp_path: Path) -> None:
    check_large(large(tmp_path / "a.wav", LARGE % (1 << 32), after=INFO), LARGE // 4)
    twice = LARGE + (1 << 32)
    check_large(large(tmp_path / "b.wav", twice % (1 << 32), twice, INFO), twice // 4)


@pytest.mark.parametrize("declared", [0x7FFFF000, 0x7FFFFFFF, 0x80000000])
def test_a_length_that_only_fills_the_header(tmp_path: Path, declared: int) -> None:
    check_large(large(tmp_path / "a.wav", declared, 3_000_000_000), 750_000_000)


@pytest.mark.parametrize("after", [b"", INFO])
def test_a_wav_of_almost_2_gib_is_as_long_as_it_says(tmp_path: Path, after: bytes) -> None:
    path = large(tmp_path / "a.wav", 0x7FFFF000, 0x7FFFF000, after)
    with AudioReader(path) as reader:
        assert (reader.info.samples, reader.warnings) == (0x7FFFF000 // 4, [])
