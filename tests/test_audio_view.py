"""Sources as C code sees them: a false length in a file is never taken for a failure of the disk."""

from __future__ import annotations

import io
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from audio_files import read, tone, write

from dacfile.audio.files import AudioReader
from dacfile.audio.view import View
from dacfile.errors import UnsupportedAudio


def test_it_reads_as_the_stream_does() -> None:
    view = View(io.BytesIO(b"0123456789"))
    assert (view.read(3), view.tell(), view.read(), view.read(), view.tell()) == (b"012", 3, b"3456789", b"", 10)
    assert (view.seek(-2, os.SEEK_END), view.read(5)) == (8, b"89")
    assert (view.seek(-4, os.SEEK_CUR), view.read(1)) == (6, b"6")
    assert (view.seek(100), view.read(1)) == (100, b"")


@pytest.mark.parametrize(("at", "removed", "inserted"), [(0, 3, b"abcde"), (4, 2, b"xy"), (9, 1, b""), (5, 0, b"-")])
def test_other_bytes_in_the_place_of_some(at: int, removed: int, inserted: bytes) -> None:
    plain = b"0123456789"
    expected = plain[:at] + inserted + plain[at + removed :]
    view = View(io.BytesIO(plain), at, removed, inserted)
    assert view.seek(0, os.SEEK_END) == len(expected)
    for start in range(len(expected) + 1):
        for count in range(-1, len(expected) + 2):
            view.seek(start)
            assert view.read(count) == expected[start : start + count if count >= 0 else None]


@pytest.mark.parametrize(
    ("offset", "whence"), [(-1, os.SEEK_SET), (-6, os.SEEK_CUR), (-11, os.SEEK_END), (1 << 63, 0), ((1 << 63) - 1, 1)]
)
def test_places_that_no_file_has(offset: int, whence: int) -> None:
    view = View(io.BytesIO(b"0123456789"))
    view.seek(5)
    assert (view.seek(offset, whence), view.read(2), view.error) == (5, b"56", None)


def test_an_error_of_the_disk_is_kept_and_nothing_read_after_it() -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(5, "Input/output error")

    view = View(Failing(b"0123456789"))
    assert (view.read(2), view.read(2)) == (b"", b"")
    assert view.error is not None
    assert view.error.errno == 5


def test_a_streamed_w64_is_read_to_its_end(tmp_path: Path) -> None:
    path = write(tmp_path / "a.w64", tone(1000), container="W64")
    data = bytearray(path.read_bytes())
    struct.pack_into("<Q", data, 16, (1 << 64) - 1)
    struct.pack_into("<Q", data, data.index(b"data\xf3\xac") + 16, (1 << 63) - 1)
    (tmp_path / "b.w64").write_bytes(data)
    with AudioReader(tmp_path / "b.w64") as reader:
        np.testing.assert_array_equal(np.concatenate(list(reader.blocks())), read(path)[0])


def test_a_length_that_leads_before_the_start_is_bad_audio(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = bytearray(write(tmp_path / "a.aiff", tone(1000), container="AIFF").read_bytes())
    struct.pack_into(">4sI", data, data.index(b"SSND"), b"\x00\x80\x00\x00", 0xFFFFFFF0)
    (tmp_path / "b.aiff").write_bytes(data)
    with pytest.raises(UnsupportedAudio, match="not audio"):
        AudioReader(tmp_path / "b.aiff")
    assert capfd.readouterr().err == ""
