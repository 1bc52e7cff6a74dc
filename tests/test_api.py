"""The library interface: one call for each thing, files complete or absent, no torch before a model is needed."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from audio_files import read, tone, write
from stub_codec import StubCodec

import dacfile
import dacfile.api
from dacfile.errors import ChecksumError, DaczError, NotDacz, OutputExists, SourceChanged, UsageError
from dacfile.installed import Codecs

RATE = 8000


@pytest.fixture
def song(tmp_path: Path) -> Path:
    return write(tmp_path / "song.flac", tone(5 * RATE, 2, RATE), RATE, "FLAC")


@pytest.fixture
def packed(song: Path) -> Path:
    return dacfile.compress(song, codec=StubCodec())


def test_there_and_back(song: Path, packed: Path) -> None:
    assert packed == song.with_name("song.flac.dacz")
    song.unlink()
    back = dacfile.decompress(packed, codec=StubCodec())
    assert back == song
    assert read(back)[0].shape == (5 * RATE, 2)


def test_named_outputs_and_options(song: Path, tmp_path: Path) -> None:
    target = dacfile.compress(song, tmp_path / "x", codec=StubCodec(), codebooks=1, stereo="lr")
    with dacfile.open(target) as file:
        assert file.codes().max() == 0xFFFF
        assert file.codes(codebooks=1).max() < 64
    wav = dacfile.decompress(target, tmp_path / "y", format="wav", start=1, duration=2, codec=StubCodec())
    assert read(wav)[0].shape == (2 * RATE, 2)
    assert dacfile.decompress(target, format="wav", codec=StubCodec()) == tmp_path / "x.wav"


def test_outputs_are_not_replaced_unless_told(song: Path, packed: Path) -> None:
    before = packed.read_bytes()
    with pytest.raises(OutputExists):
        dacfile.compress(song, codec=StubCodec(), codebooks=1)
    with pytest.raises(OutputExists):
        dacfile.decompress(packed, codec=StubCodec())
    assert packed.read_bytes() == before
    dacfile.compress(song, codec=StubCodec(), codebooks=1, overwrite=True)
    assert packed.read_bytes() != before


@pytest.mark.parametrize("overwrite", [False, True])
def test_no_output_replaces_its_source(song: Path, packed: Path, tmp_path: Path, overwrite: bool) -> None:
    before = song.read_bytes(), packed.read_bytes()
    (tmp_path / "link").symlink_to(song)
    for target in (song, tmp_path / "." / "link"):
        with pytest.raises(UsageError, match="replace its source"):
            dacfile.compress(song, target, codec=StubCodec(), overwrite=overwrite)
    with pytest.raises(UsageError, match="replace its source"):
        dacfile.decompress(packed, packed, format="wav", codec=StubCodec(), overwrite=overwrite)
    assert (song.read_bytes(), packed.read_bytes()) == before


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_text("not audio at all")
    with pytest.raises(DaczError):
        dacfile.compress(tmp_path / "a.wav", codec=StubCodec())
    (tmp_path / "b.wav.dacz").write_text("not a .dacz file")
    with pytest.raises(NotDacz):
        dacfile.decompress(tmp_path / "b.wav.dacz", codec=StubCodec())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.wav", "b.wav.dacz"]


def test_what_is_intact_of_a_damaged_file(packed: Path, tmp_path: Path) -> None:
    data = bytearray(packed.read_bytes())
    data[len(data) // 2] ^= 1
    packed.write_bytes(data)
    with pytest.raises(ChecksumError):
        dacfile.decompress(packed, tmp_path / "strict.wav", codec=StubCodec())
    rescued = dacfile.decompress(packed, tmp_path / "rescued.wav", force=True, codec=StubCodec())
    assert read(rescued)[0].shape == (5 * RATE, 2)


def test_read(packed: Path) -> None:
    audio, rate = dacfile.read(packed, codec=StubCodec())
    assert (audio.shape, audio.dtype, rate) == ((5 * RATE, 2), np.float32, RATE)
    part, _ = dacfile.read(packed, 1.5, 2.25, codec=StubCodec())
    np.testing.assert_array_equal(part, audio[12_000:18_000])
    beyond, _ = dacfile.read(packed, 4.9, 100, codec=StubCodec())
    np.testing.assert_array_equal(beyond, audio[39_200:])
    assert dacfile.read(packed, 7, codec=StubCodec())[0].shape == (0, 2)
    assert not np.array_equal(dacfile.read(packed, codebooks=1, codec=StubCodec())[0], audio)


def test_open(packed: Path) -> None:
    with dacfile.open(packed) as file:
        assert (file.rate, file.channels, file.samples, file.seconds) == (RATE, 2, 5 * RATE, 5.0)
        assert file.frames == -(-(5 * RATE + 3) // 16)
        assert file.tags == ()
        assert file.info.blocks == 1
        assert file.info.file_bytes == packed.stat().st_size == dacfile.info(packed).file_bytes


@pytest.mark.parametrize(
    ("start", "stop", "first", "end"),
    [(0, None, 0, 2501), (0.3, 0.6, 150, 300), (0.301, 0.599, 150, 300), (1, 1, 500, 500), (4.9, 99, 2450, 2500)],
)
def test_codes_of_a_range(packed: Path, start: float, stop: float | None, first: int, end: int) -> None:
    with dacfile.open(packed) as file:
        whole = file.codes()
        assert (whole.shape, whole.dtype) == ((2, 3, 2501), np.uint16)
        np.testing.assert_array_equal(file.codes(start, stop), whole[..., first:end])


def test_codes_of_several_blocks_and_of_equal_and_silent_channels(tmp_path: Path) -> None:
    samples = tone(50 * RATE, 4, RATE)[:, [0, 0, 1, 2]]
    samples[:, 3] = 0
    packed = dacfile.compress(write(tmp_path / "a.wav", samples), codec=StubCodec())
    with dacfile.open(packed) as file:
        assert file.info.blocks == 7  # of 4,096 frames, the most there may be
        codes = file.codes()
        np.testing.assert_array_equal(codes[0], codes[1])
        assert (codes[3] == 0xFFFF).all()
        assert codes[:3].max() < 64
        np.testing.assert_array_equal(file.codes(19.9, 40.1), codes[..., 9950:20_050])


@pytest.mark.parametrize(("start", "codebooks"), [(-1, None), (float("nan"), None), (0, 0), (0, 4), (0, 2.5), (0, "2")])
def test_codes_that_make_no_sense(packed: Path, start: float, codebooks: Any) -> None:
    with dacfile.open(packed) as file, pytest.raises(UsageError):
        file.codes(start, codebooks=codebooks)


def test_codebooks_are_a_whole_number_everywhere(song: Path, packed: Path, tmp_path: Path) -> None:
    some: Any = 2.5
    for call in (
        lambda: dacfile.read(packed, codebooks=some, codec=StubCodec()),
        lambda: dacfile.decompress(packed, tmp_path / "x.wav", codebooks=some, codec=StubCodec()),
        lambda: dacfile.compress(song, tmp_path / "x.dacz", codebooks=some, codec=StubCodec()),
    ):
        with pytest.raises(UsageError, match=r"codebooks: 2\.5 is not a whole number"):
            call()


def test_a_closed_file_says_so(packed: Path) -> None:
    file = dacfile.open(packed)
    file.close()
    for call in (file.codes, lambda: list(file.blocks(codec=StubCodec()))):
        with pytest.raises(UsageError, match="closed"):
            call()
    assert file.channels == 2


def test_verify(song: Path, packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dacfile.api, "_codecs", lambda *_: Codecs(only=StubCodec()))
    assert dacfile.verify(packed).codes > 0
    assert len(dacfile.verify(packed, deep=True, source=song).checks) > len(dacfile.verify(packed).checks)
    other = write(tmp_path / "other.flac", tone(5 * RATE, 2, RATE, 0.41), RATE, "FLAC")
    with pytest.raises(SourceChanged, match="does not hold the samples"):
        dacfile.verify(packed, source=other)
    data = bytearray(packed.read_bytes())
    data[len(data) // 3] ^= 4
    packed.write_bytes(data)
    with pytest.raises(DaczError):
        dacfile.verify(packed)


def test_every_public_name_is_there() -> None:
    assert set(dacfile.__all__) <= set(dir(dacfile))
    for name in dacfile.__all__:
        assert getattr(dacfile, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        dacfile.nonsense  # noqa: B018


def test_facts_tags_and_codes_need_no_torch(packed: Path) -> None:
    code = (
        "import sys, dacfile\n"
        "assert 'numpy' not in sys.modules\n"
        "f = dacfile.open(sys.argv[1])\n"
        "import dacfile.api\n"
        "f.info, f.tags, f.codes(1, 2), dacfile.info(sys.argv[1]), dacfile.verify(sys.argv[1])\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code, str(packed)], check=True, cwd=Path(__file__).parent.parent)


def test_a_missing_source_leaves_no_folders(tmp_path):
    with pytest.raises(FileNotFoundError):
        dacfile.compress(tmp_path / "missing.wav", tmp_path / "made" / "up" / "x.dacz")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("weight", [-1, float("nan"), float("inf"), 1001, 1e300])
def test_a_bit_that_weighs_too_much_is_refused(song: Path, weight: float) -> None:
    for call in (partial(dacfile.compress, song, model="16k"), partial(dacfile.load_codec, "16k")):
        with pytest.raises(UsageError, match="cannot weigh"):
            call(rdo=weight)
