"""Writing audio: the source's own sample format, exact integers, clipping counted, errors of the disk passed on."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from audio_files import read, tone

from dacfile.audio.files import AudioReader
from dacfile.audio.writer import SAMPLE_BYTES, AudioWriter, OutputFormat, output_format
from dacfile.errors import UsageError


def written(
    samples: np.ndarray, container: str, subtype: str, rate: int = 8000, mask: int = 0, tags: tuple = ()
) -> tuple[io.BytesIO, AudioWriter]:
    stream = io.BytesIO()
    form = OutputFormat(container, subtype, "")
    with AudioWriter(stream, form, rate, samples.shape[1], len(samples), mask, tags) as writer:
        for start in range(0, len(samples), 1000):
            writer.write(samples[start : start + 1000])
    stream.seek(0)
    return stream, writer


@pytest.mark.parametrize(
    ("container", "subtype", "wanted", "expected"),
    [
        ("WAV", "PCM_24", None, ("WAV", "PCM_24", ".wav")),
        ("WAVEX", "PCM_16", None, ("WAV", "PCM_16", ".wav")),
        ("WAV", "ULAW", None, ("WAV", "ULAW", ".wav")),
        ("WAV", "IMA_ADPCM", None, ("WAV", "PCM_16", ".wav")),
        ("RF64", "FLOAT", None, ("WAV", "FLOAT", ".wav")),
        ("FLAC", "PCM_S8", None, ("FLAC", "PCM_S8", ".flac")),
        ("AIFF", "DOUBLE", None, ("AIFF", "DOUBLE", ".aiff")),
        ("MP3", "MPEG_LAYER_III", None, ("WAV", "PCM_16", ".wav")),
        ("", "", None, ("WAV", "PCM_16", ".wav")),
        ("WAV", "FLOAT", "flac", ("FLAC", "PCM_24", ".flac")),
        ("WAV", "PCM_U8", "flac", ("FLAC", "PCM_S8", ".flac")),
        ("FLAC", "PCM_S8", "wav", ("WAV", "PCM_U8", ".wav")),
        ("WAV", "PCM_16", "AIF", ("AIFF", "PCM_16", ".aiff")),
    ],
)
def test_the_format_that_is_restored(container: str, subtype: str, wanted: str | None, expected: tuple) -> None:
    form = output_format(container, subtype, wanted)
    assert (form.container, form.subtype, form.suffix) == expected


def test_a_format_that_is_not_written() -> None:
    with pytest.raises(UsageError, match="'mp3'; use one of wav, flac"):
        output_format("WAV", "PCM_16", "mp3")


@pytest.mark.parametrize(
    ("container", "subtype", "dtype"),
    [("WAV", "PCM_16", "int16"), ("FLAC", "PCM_16", "int16"), ("AIFF", "PCM_16", "int16"),
     ("WAV", "PCM_24", "int32"), ("FLAC", "PCM_24", "int32"), ("WAV", "PCM_32", "int32")],
)  # fmt: skip
def test_integers_come_back_as_they_were_read(container: str, subtype: str, dtype: str) -> None:
    info = np.iinfo(dtype)
    low = {"PCM_16": 0, "PCM_24": 8, "PCM_32": 8}[subtype]  # float32 carries 24 bits
    values = np.linspace(info.min, info.max - (1 << low), 4001).astype(dtype) >> low << low
    stream = io.BytesIO()
    soundfile.write(stream, values, 8000, subtype, format=container)
    stream.seek(0)
    samples, _ = read(stream)
    out, writer = written(samples, container, subtype)
    np.testing.assert_array_equal(soundfile.read(out, dtype=dtype)[0], values)
    assert writer.clipped == 0


@pytest.mark.parametrize("subtype", ["PCM_U8", "ULAW", "ALAW"])
def test_small_formats_come_back(subtype: str) -> None:
    samples, _ = read(written(tone(500), "WAV", subtype)[0])
    again, writer = written(samples, "WAV", subtype)
    assert soundfile.info(again).subtype == subtype
    again.seek(0)
    np.testing.assert_array_equal(read(again)[0], samples)
    assert writer.clipped == 0


@pytest.mark.parametrize(("subtype", "top"), [("PCM_16", 32767), ("PCM_24", 8388607)])
def test_clipped_samples_are_counted_not_wrapped(subtype: str, top: int) -> None:
    samples = np.array([[0.0, 1.0], [-1.0, 1.5], [-1.5, 0.5], [1e9, -1e9]], np.float32)
    stream, writer = written(samples, "WAV", subtype)
    got = np.rint(read(stream)[0] * (top + 1)).astype(np.int64)
    assert got.tolist() == [[0, top], [-top - 1, top], [-top - 1, (top + 1) // 2], [top, -top - 1]]
    assert writer.clipped == 5


@pytest.mark.parametrize("container", ["WAV", "AIFF", "CAF", "W64"])
def test_nothing_in_a_file_tells_the_time(container: str) -> None:
    data = written(tone(500), container, "FLOAT")[0].getvalue()
    assert b"PEAK" not in data.upper()


def test_float_is_neither_clipped_nor_rounded() -> None:
    samples = np.array([[1.5], [-3.0], [1e-30]], np.float32)
    stream, writer = written(samples, "WAV", "FLOAT")
    np.testing.assert_array_equal(read(stream)[0], samples)
    assert writer.clipped == 0


@pytest.mark.parametrize("container", ["WAV", "FLAC", "AIFF"])
@pytest.mark.parametrize("samples", [0, 1])
def test_hardly_any_samples(container: str, samples: int) -> None:
    stream, _ = written(tone(samples, 2), container, "PCM_16", 44_056)
    info = soundfile.info(stream)
    assert (info.samplerate, info.channels) == (44_056, 2)
    stream.seek(0)
    if samples or container != "FLAC":  # libsndfile takes a FLAC without samples for one of unknown length
        assert info.frames == samples
    else:
        assert struct.unpack(">Q", stream.getvalue()[18:26])[0] & ((1 << 36) - 1) == 0


SMALL = ["PCM_S8", "PCM_U8", "ULAW", "ALAW"]
ODD = [
    *[(name, n, channels) for name in SMALL for n in (1, 2, 2999) for channels in (1, 2, 3)],
    *[(name, n, channels) for name in ("FLOAT", "DOUBLE", "PCM_24") for n in (0, 1, 3, 5, 7) for channels in (1, 2, 3)],
]


@pytest.mark.parametrize("tags", [(), (("TITLE", "tt"), ("COMMENT", "c"))], ids=["plain", "tags"])
@pytest.mark.parametrize(("subtype", "samples", "channels"), ODD)
def test_an_aiff_is_as_long_as_it_should_be(subtype: str, samples: int, channels: int, tags: tuple) -> None:
    values = tone(samples, channels)
    stream, _ = written(values, "AIFF", subtype, tags=tags)
    data = stream.getvalue()
    assert struct.unpack_from(">I", data, 4)[0] == len(data) - 8
    assert len(data) % 2 == 0
    got = read(stream)[0]
    assert got.shape == values.shape
    np.testing.assert_allclose(got, values, atol=0.03 if subtype in SMALL else 1e-6)
    place = data.index(b"SSND")
    assert struct.unpack_from(">I", data, place + 4)[0] == 8 + samples * channels * SAMPLE_BYTES[subtype]
    chunks, offset = [], 12
    while offset < len(data):
        kind, length = struct.unpack_from(">4sI", data, offset)
        chunks.append(kind)
        offset += 8 + length + length % 2
    assert offset == len(data)
    assert chunks.count(b"SSND") == 1
    assert set(chunks) <= {b"FVER", b"COMM", b"NAME", b"ANNO", b"SSND", b"ID3 "}


def test_channel_mask_and_tags_come_back() -> None:
    tags = (("ARTIST", "A"), ("artist", "B"), ("TITLE", "T"), ("SOFTWARE", "other"), ("MOOD", "calm"))
    stream, _ = written(tone(10, 4), "WAV", "PCM_16", mask=0x33, tags=tags)
    with AudioReader(stream) as reader:
        assert reader.info.channel_mask == 0x33
        assert reader.info.container == "WAVEX"
        assert reader.info.tags == (("TITLE", "T"), ("ARTIST", "A; B"))
        assert sum(map(len, reader.blocks())) == 10


def test_large_wav_becomes_rf64() -> None:
    stream = io.BytesIO()
    with AudioWriter(stream, OutputFormat("WAV", "PCM_16", ".wav"), 8000, 1, 1 << 31) as writer:
        writer.write(tone(10))
    assert stream.getvalue()[:4] == b"RF64"


@pytest.mark.parametrize(
    ("container", "rate", "channels", "samples", "message"),
    [
        ("FLAC", 768_000, 1, 1, "FLAC cannot hold"),
        ("FLAC", 8000, 9, 1, "FLAC cannot hold"),
        ("AIFF", 8000, 2, 1 << 31, "AIFF cannot hold"),
    ],
)
def test_formats_that_cannot_hold_it(container: str, rate: int, channels: int, samples: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        AudioWriter(io.BytesIO(), OutputFormat(container, "PCM_16", ""), rate, channels, samples)


class Broken(io.BytesIO):
    """A stream whose n-th write fails."""

    def __init__(self, good: int) -> None:
        super().__init__()
        self.good = good

    def write(self, data: object) -> int:
        self.good -= 1
        if self.good < 0:
            raise OSError(28, "No space left on device")
        return super().write(data)  # type: ignore[arg-type]


@pytest.mark.parametrize("container", ["WAV", "FLAC", "AIFF"])
def test_a_full_disk_is_reported_as_such(container: str) -> None:
    def attempt(good: int) -> bool:
        stream = Broken(good)
        with AudioWriter(stream, OutputFormat(container, "PCM_16", ""), 8000, 2, 20_000) as writer:
            for _ in range(5):
                writer.write(tone(4000, 2))
        stream.close()
        return True

    failures = 0
    while True:
        try:
            assert attempt(failures)
            break
        except OSError:
            failures += 1
    assert failures > 2


def test_a_stream_that_cannot_seek_gets_the_same_bytes(tmp_path: Path) -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def seek(self, *args: object) -> int:
            raise OSError("a pipe")

    pipe = Pipe()
    with AudioWriter(pipe, OutputFormat("WAV", "PCM_16", ".wav"), 8000, 1, 500) as writer:
        writer.write(tone(500))
    assert pipe.getvalue() == written(tone(500), "WAV", "PCM_16")[0].getvalue()
