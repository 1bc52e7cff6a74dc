"""The texts that libsndfile knows: in any encoding from a source, and into an output only as far as they come back."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import pytest
import soundfile
from audio_files import tone, write

from dacfile.audio import strings
from dacfile.audio.files import AudioReader


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
