"""`verify --deep` against a source, and `repack` in place: what they check, what they refuse, what they leave alone."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import files_below

import dacfile
from dacfile.atomic import AtomicFile

pytestmark = pytest.mark.usefixtures("stub_models")


@pytest.fixture
def song(tmp_path, make_wav):
    return make_wav(tmp_path / "song.wav", seconds=3, channels=2)


@pytest.fixture
def packed(song, tmp_path, dacz):
    assert dacz("compress", song, "-o", tmp_path / "out").code == 0
    return tmp_path / "out" / "song.wav.dacz"


def test_deep_verification_compares_with_the_source(song: Path, packed: Path, dacz) -> None:
    done = dacz("verify", packed, "--deep", "--source", song)
    assert (done.code, done.err) == (0, "")
    decoded, _ = dacfile.read(packed)
    source, _ = soundfile.read(song, dtype="float32")
    ratio = 10 * np.log10(np.square(source).sum(dtype=float) / np.square(source - decoded).sum(dtype=float))
    assert done.out.endswith(
        f"; audio, to its full length; the source's samples; "
        f"the audio against the source's: signal to noise {ratio:.2f} dB\n"
    )
    checks = json.loads(dacz("verify", packed, "--deep", "--json").out)["checks"]
    assert checks[-1] == "audio, to its full length"
    assert any("SHA-256" in check for check in checks)


@pytest.mark.parametrize("change", ["a sample", "rate", "channels", "length"])
def test_another_source_is_noticed(song: Path, packed: Path, tmp_path: Path, dacz, change: str) -> None:
    samples, rate = soundfile.read(song, dtype="int16")
    if change == "a sample":
        samples[12_345, 1] += 1
    elif change == "channels":
        samples = samples.reshape(-1, 1)  # the same numbers in the same order
    elif change == "length":
        samples = samples[:-1]
    soundfile.write(tmp_path / "other.wav", samples, rate + (change == "rate"))
    done = dacz("verify", packed, "--deep", "--source", tmp_path / "other.wav")
    assert (done.code, done.out) == (2, "")
    assert "does not hold the samples" in done.err
    assert done.err.count("\n") == 1


def test_wrong_calls_of_verify(song: Path, packed: Path, tmp_path: Path, dacz) -> None:
    assert dacz("verify", packed, "--source", song).code == 1
    (packed.parent / "copy.dacz").write_bytes(packed.read_bytes())
    assert dacz("verify", packed.parent, "--deep", "--source", song).code == 1
    assert dacz("verify", packed, "--deep", "--source", tmp_path / "nothing.wav").code == 1


def test_an_empty_and_a_silent_file_compare_too(tmp_path: Path, dacz) -> None:
    for name, samples in (("empty", 0), ("silent", 500)):
        path = tmp_path / f"{name}.wav"
        soundfile.write(path, np.zeros((samples, 1)), 8000)
        assert dacz("compress", path).code == 0
        done = dacz("verify", tmp_path / f"{name}.wav.dacz", "--deep", "--source", path)
        assert (done.code, "signal to noise inf dB" in done.out) == (0, True)


def test_repack_in_place(packed: Path, dacz) -> None:
    with dacfile.open(packed) as file:
        expected = file.codes(codebooks=1)
    before = packed.stat()
    packed.chmod(0o640)
    (packed.parent / "link.dacz").symlink_to(packed)
    done = dacz("repack", packed.parent, "--codebooks", 1, "--in-place")
    assert (done.code, done.err) == (0, "")
    after = packed.stat()
    assert after.st_size < before.st_size
    assert after.st_mode & 0o777 == 0o640
    assert (packed.parent / "link.dacz").is_symlink()
    with dacfile.open(packed) as file:
        np.testing.assert_array_equal(file.codes()[:, :1], expected)
        assert (file.codes()[:, 1:] == 0xFFFF).all()
    assert dacz("verify", packed, "--deep").code == 0
    again = dacz("repack", packed, "--codebooks", 1, "--in-place")
    assert again.code == 0
    assert "skipped, has no more than 1 codebooks" in again.out
    assert packed.stat().st_mtime_ns == after.st_mtime_ns


def test_repack_in_place_of_damaged_files_changes_nothing(packed: Path, dacz) -> None:
    data = bytearray(packed.read_bytes())
    data[len(data) // 2] ^= 1
    bad = packed.with_name("bad.dacz")
    bad.write_bytes(data)
    assert dacz("repack", packed.parent, "--codebooks", 1, "--in-place").code == 2
    assert bad.read_bytes() == data
    assert packed.stat().st_size < len(data)
    assert files_below(packed.parent) == ["bad.dacz", "song.wav.dacz"]
    assert dacz("repack", bad, "--codebooks", 1, "--in-place").code == 3


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_repack_in_place_that_fails_at_the_end_changes_nothing(packed: Path, dacz, monkeypatch, function: str) -> None:
    before = packed.read_bytes()

    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, function, fail)
    assert dacz("repack", packed, "--codebooks", 1, "--in-place").code == 2
    assert packed.read_bytes() == before
    assert files_below(packed.parent) == ["song.wav.dacz"]


def test_a_repacked_file_that_reads_back_wrong_is_not_kept(packed: Path, dacz, monkeypatch) -> None:
    before = packed.read_bytes()
    original = AtomicFile.__enter__

    class Flipping:
        """Writes the third piece with a bit flipped."""

        def __init__(self, stream) -> None:
            self.stream, self.count = stream, 0

        def __getattr__(self, name: str):
            return getattr(self.stream, name)

        def write(self, data: bytes) -> int:
            self.count += 1
            return self.stream.write(bytes([data[0] ^ 1]) + bytes(data[1:]) if self.count == 3 else data)

    monkeypatch.setattr(AtomicFile, "__enter__", lambda self: Flipping(original(self)))
    done = dacz("repack", packed, "--codebooks", 1, "--in-place")
    assert done.code == 3
    assert packed.read_bytes() == before
    assert files_below(packed.parent) == ["song.wav.dacz"]


def test_repack_needs_a_place_and_never_writes_over_its_source_by_accident(packed: Path, tmp_path: Path, dacz) -> None:
    before = packed.read_bytes()
    assert dacz("repack", packed, "--codebooks", 1).code == 1
    assert dacz("repack", packed, "--codebooks", 1, "-o", tmp_path / "x", "--in-place").code == 1
    assert dacz("repack", packed, "--codebooks", 1, "-o", packed.parent).code == 1
    (tmp_path / "link").symlink_to(packed.parent)
    for exists in ("skip", "overwrite"):
        assert dacz("repack", packed, "--codebooks", 1, "-o", tmp_path / "link", "--exists", exists).code == 2
    assert packed.read_bytes() == before


def test_dry_run_in_place(packed: Path, dacz) -> None:
    before = packed.read_bytes()
    done = dacz("repack", packed, "--codebooks", 1, "--in-place", "--dry-run")
    assert (done.code, done.out) == (0, f"{packed} -> {packed.resolve()}\n")
    assert "skipped" in dacz("repack", packed, "--codebooks", 3, "--in-place", "--dry-run").out
    assert packed.read_bytes() == before
