"""The texts that libsndfile knows: in any encoding from a source, and into an output only as far as they come back."""

from __future__ import annotations

import io
import struct
import sys
from pathlib import Path

import pytest
import soundfile
from audio_files import tone, write

from dacfile.audio import strings
from dacfile.audio.files import AudioReader
from dacfile.audio.writer import AudioWriter, OutputFormat


def with_artist(folder: Path, name: bytes) -> bytes:
    """Return a WAV with the bytes of a name in its INFO list."""
    name += bytes(2 - len(name) % 2)
    info = b"INFOIART" + struct.pack("<I", len(name)) + name
    data = bytearray(write(folder / "a.wav", tone(100)).read_bytes() + b"LIST" + struct.pack("<I", len(info)) + info)
    struct.pack_into("<I", data, 4, len(data) - 8)
    return bytes(data)


def tags_of(data: bytes) -> tuple[tuple[str, str], ...]:
    with AudioReader(io.BytesIO(data)) as reader:
        return reader.metadata().tags


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Björk".encode(), "Björk"),
        ("Björk".encode("latin-1"), "Björk"),
        ("Beyoncé".encode("latin-1"), "Beyoncé"),
        ("“Zoë” – €".encode("cp1252"), "“Zoë” – €"),
        (b"\x81\xe9", "\x81é"),
        ("Übung €".encode()[:-1], "Übung \ufffd"),
        ("a \ufffd b".encode(), "a \ufffd b"),
    ],
)
def test_texts_that_are_not_utf_8_are_kept(tmp_path: Path, name: bytes, expected: str) -> None:
    assert tags_of(with_artist(tmp_path, name)) == (("ARTIST", expected),)


def test_without_the_private_names_texts_are_as_soundfile_gives_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = with_artist(tmp_path, "Björk".encode("latin-1"))
    with soundfile.SoundFile(io.BytesIO(data)) as sound:
        monkeypatch.setattr(strings, "soundfile", object())
        assert strings.strings_of(sound) == (("ARTIST", "Bj\ufffdrk"),)


def output(container: str, tags: tuple[tuple[str, str], ...]) -> tuple[bytes, tuple[str, ...]]:
    out = io.BytesIO()
    with AudioWriter(out, OutputFormat(container, "PCM_16", ""), 8000, 1, 100, 0, tags) as writer:
        writer.write(tone(100))
    assert soundfile.info(io.BytesIO(out.getvalue())).frames == 100
    return out.getvalue(), writer.notes


LENGTHS = [7990, 8180, 8190, 20_000, 300_000]


@pytest.mark.parametrize("letter", ["x", "ü"])
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("key", ["TITLE", "ARTIST", "COMMENT", "COPYRIGHT"])
def test_long_texts_of_an_aiff(key: str, length: int, letter: str) -> None:
    pytest.importorskip("mutagen")
    tags = ((key, letter * length), ("ALBUM", "b"))
    data, notes = output("AIFF", tags)
    assert sorted(tags_of(data)) == sorted(tags)
    assert notes == ()


@pytest.mark.parametrize("length", LENGTHS)
def test_long_texts_of_an_aiff_without_mutagen(length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mutagen", None)
    data, notes = output("AIFF", (("TITLE", "t"), ("COMMENT", "x" * length)))
    kept = [("COMMENT", "x" * length)] * (length < 8000)
    assert tags_of(data) == (("TITLE", "t"), *kept)
    assert notes == (() if kept else ("1 tag left out: pip install 'dacfile[tags]'",))


@pytest.mark.parametrize(
    "lengths", [(100, 100, 100), (5000, 4900, 4900), (5000, 5000, 5000), (7000, 9000, 7000), (99_999,)]
)
def test_long_texts_of_a_caf(lengths: tuple[int, ...]) -> None:
    tags = tuple((key, "x" * length) for key, length in zip(("TITLE", "ARTIST", "COMMENT"), lengths, strict=False))
    data, notes = output("CAF", tags)
    found = tags_of(data)
    assert set(found) <= set(tags)
    lost = len(tags) - len(found)
    assert lost == {15_000: 1, 23_000: 1, 99_999: 1}.get(sum(lengths), 0)
    why = "left out: CAF files have no place for them"
    assert notes == ((f"1 tag {why}",) if lost else ())
