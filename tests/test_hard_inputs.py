"""Odd inputs through the whole tool: strange folders, missing permissions, extreme audio, many and long files."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import files_below
from stub_codec import StubCodec

from dacfile import batch
from dacfile.batch import CompressSettings, DecompressSettings
from dacfile.container import SILENT, Reader
from dacfile.events import FileDone, FileFailed, FileSkipped

NOBODY = 65534


def compress(inputs: list[Path], out: Path | None, jobs: int = 1, **settings: object) -> list:
    settings.setdefault("codec", StubCodec())
    return list(batch.process(batch.plan_compress(inputs, out), CompressSettings(**settings), jobs=jobs))


def decompress(inputs: list[Path], out: Path | None, jobs: int = 1) -> list:
    plan = batch.plan_decompress(inputs, out, None)
    return list(batch.process(plan, DecompressSettings(codec=StubCodec()), jobs=jobs))


def of(kind: type, events: list) -> list:
    return [event for event in events if isinstance(event, kind)]


def test_links_loops_pipes_sockets_and_devices(tmp_path: Path, make_wav) -> None:
    music = tmp_path / "music"
    make_wav(music / "a.wav", seconds=0.05)
    make_wav(tmp_path / "outside" / "b.wav", seconds=0.05)
    (music / "loop").symlink_to(music)
    (music / "self.wav").symlink_to("self.wav")
    (music / "up").symlink_to(tmp_path)
    (music / "nothing.wav").symlink_to("nowhere.wav")
    (music / "linked.wav").symlink_to(tmp_path / "outside" / "b.wav")
    os.mkfifo(music / "pipe.wav")
    (music / "null.wav").symlink_to("/dev/null")
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        os.chdir(music)  # names of sockets have to be short
        try:
            server.bind("socket.wav")
        finally:
            os.chdir(here)
        events = compress([music], tmp_path / "out")
    notes = {event.source.name: event.reason for event in of(FileSkipped, events)}
    assert notes == {
        "nothing.wav": "a link to nothing",
        "pipe.wav": "not a regular file",
        "socket.wav": "not a regular file",
        "null.wav": "not a regular file",
    }
    (failed,) = of(FileFailed, events)
    assert failed.source.name == "self.wav"
    assert "symbolic links" in failed.reason
    assert {"a.wav.dacz", "linked.wav.dacz", "up/outside/b.wav.dacz"} <= set(files_below(tmp_path / "out"))
    assert len(files_below(tmp_path / "out")) == 3


def test_an_output_inside_the_input_is_not_an_input_of_the_next_run(tmp_path: Path, make_wav) -> None:
    make_wav(tmp_path / "a.wav", seconds=0.05)
    out = tmp_path / "packed"
    assert compress([tmp_path], out)[-1].done == 1
    assert decompress([out], out / "back")[-1].done == 1
    for _ in range(2):
        events = compress([tmp_path], out)
        assert (events[-1].done, events[-1].skipped) == (0, 1)
    assert files_below(tmp_path) == ["a.wav", "packed/a.wav.dacz", "packed/back/a.wav"]


@contextmanager
def as_nobody(folder: Path) -> Iterator[None]:
    """Work without the rights of root, which may read everything; the folders above have to be passable."""
    if os.geteuid():
        yield
        return
    for parent in [folder, *folder.parents[:-2]]:
        parent.chmod(parent.stat().st_mode | 0o055)
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def test_what_may_not_be_read_is_reported_and_the_rest_goes_on(tmp_path: Path, make_wav) -> None:
    for name in ("a.wav", "closed.wav", "folder/b.wav", "unlisted/c.wav", "d.wav"):
        make_wav(tmp_path / "in" / name, seconds=0.05)
    compress([tmp_path / "in"], tmp_path / "warm")  # whatever has to be imported is imported now
    with as_nobody(tmp_path):
        (tmp_path / "in" / "closed.wav").chmod(0)
        (tmp_path / "in" / "folder").chmod(0)
        (tmp_path / "in" / "unlisted").chmod(0o300)
        try:
            events = compress([tmp_path / "in"], tmp_path / "out")
        finally:
            (tmp_path / "in" / "folder").chmod(0o700)
            (tmp_path / "in" / "unlisted").chmod(0o700)
    failed = {event.source.name: (event.reason, event.kind) for event in of(FileFailed, events)}
    assert failed == dict.fromkeys(("closed.wav", "folder", "unlisted"), ("permission denied", "PermissionError"))
    assert (events[-1].done, events[-1].exit_code) == (2, 2)


@pytest.mark.parametrize("mode", [0o500, 0o000, 0o600, 0o300], ids=["read-only", "closed", "no entry", "no list"])
def test_a_folder_that_may_not_be_written(tmp_path: Path, make_wav, mode: int) -> None:
    for i in range(3):
        make_wav(tmp_path / "in" / f"{i}.wav", seconds=0.05)
    compress([tmp_path / "in"], tmp_path / "warm")
    (tmp_path / "out").mkdir()
    with as_nobody(tmp_path):
        (tmp_path / "out").chmod(mode)
        try:
            events = compress([tmp_path / "in"], tmp_path / "out")
        finally:
            (tmp_path / "out").chmod(0o700)
    possible = mode == 0o300  # writing needs no list
    assert (events[-1].done, events[-1].failed) == ((3, 0) if possible else (0, 3))
    for event in of(FileFailed, events):
        blamed, _, reason = event.reason.rpartition(": ")
        assert reason == "permission denied"
        assert blamed in (str(tmp_path / "out"), str(tmp_path / "out" / f"{event.source.name}.dacz"))
    assert len(files_below(tmp_path / "out")) == (3 if possible else 0)


def test_names_that_differ_in_case_only(tmp_path: Path, make_wav) -> None:
    make_wav(tmp_path / "in" / "Song.wav", seconds=0.05)
    make_wav(tmp_path / "in" / "song.WAV", seconds=0.1)
    if len(files_below(tmp_path / "in")) == 1:
        pytest.skip("this file system does not tell them apart")
    assert compress([tmp_path / "in"], tmp_path / "out")[-1].done == 2
    assert decompress([tmp_path / "out"], tmp_path / "back")[-1].done == 2
    for name in ("Song.wav", "song.WAV"):
        assert soundfile.info(tmp_path / "back" / name).frames == soundfile.info(tmp_path / "in" / name).frames


def test_tags_never_become_paths(tmp_path: Path) -> None:
    with soundfile.SoundFile(tmp_path / "a.flac", "w", 8000, 1, "PCM_16", format="FLAC") as sound:
        sound.title = sound.album = "../../escaped"
        sound.artist = "/etc/passwd"
        sound.write(np.full(800, 0.25))
    compress([tmp_path / "a.flac"], tmp_path / "deep" / "out")
    decompress([tmp_path / "deep" / "out"], tmp_path / "deep" / "back")
    assert files_below(tmp_path) == ["a.flac", "deep/back/a.flac", "deep/out/a.flac.dacz"]
    with soundfile.SoundFile(tmp_path / "deep" / "back" / "a.flac") as sound:
        assert sound.title == "../../escaped"


@pytest.mark.parametrize("samples", [0, 1, 2, 15, 16, 17, 159_999, 160_000, 160_001])
def test_lengths_around_nothing_a_frame_and_a_block(tmp_path: Path, samples: int) -> None:
    audio = np.random.default_rng(0).uniform(-0.5, 0.5, (samples, 1))
    soundfile.write(tmp_path / "a.wav", audio, 8000)
    assert compress([tmp_path], None)[-1].exit_code == 0
    with Reader(tmp_path / "a.wav.dacz") as reader:
        assert reader.source_samples == samples
        assert (reader.block_count == 0) == (samples == 0)
    assert decompress([tmp_path / "a.wav.dacz"], tmp_path / "back")[-1].exit_code == 0
    info = soundfile.info(tmp_path / "back" / "a.wav")
    assert (info.frames, info.subtype) == (samples, "PCM_16")


@pytest.mark.parametrize(("channels", "fits"), [(1, True), (32, True), (255, True), (256, False), (1024, False)])
def test_channels(tmp_path: Path, channels: int, fits: bool) -> None:
    audio = np.random.default_rng(0).uniform(-0.5, 0.5, (200, channels)).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", audio, 8000)
    events = compress([tmp_path], None)
    if not fits:
        assert of(FileFailed, events)[0].kind == "LimitError"
        assert files_below(tmp_path) == ["a.wav"]
        return
    assert decompress([tmp_path / "a.wav.dacz"], tmp_path / "back")[-1].exit_code == 0
    info = soundfile.info(tmp_path / "back" / "a.wav")
    assert (info.channels, info.frames) == (channels, 200)


@pytest.mark.parametrize("rate", [1, 8_000, 11_025, 44_056, 192_000, 384_000, 768_000, 768_001])
def test_rates(tmp_path: Path, rate: int) -> None:
    samples = 3 if rate == 1 else 9_973
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).uniform(-0.5, 0.5, samples), rate)
    events = compress([tmp_path], None)
    if rate > 768_000:
        assert of(FileFailed, events)[0].kind == "LimitError"
        return
    assert decompress([tmp_path / "a.wav.dacz"], tmp_path / "back")[-1].exit_code == 0
    info = soundfile.info(tmp_path / "back" / "a.wav")
    assert (info.samplerate, info.frames) == (rate, samples)


SIGNALS = {
    "denormal": np.full(4_000, 1e-40, np.float32),
    "faint": np.full(4_000, 1e-20, np.float32),
    "scaled like integers": np.linspace(-32768, 32767, 4_000, dtype=np.float32),
    "constant": np.full(4_000, 0.7, np.float32),
    "square": np.tile(np.repeat(np.array([1, -1], np.float32), 20), 100),
    "one click": np.eye(1, 4_000, 2_000, dtype=np.float32)[0],
    "zeros": np.zeros(4_000, np.float32),
}


@pytest.mark.parametrize("name", SIGNALS)
def test_extreme_signals(tmp_path: Path, name: str) -> None:
    soundfile.write(tmp_path / "a.wav", SIGNALS[name], 8000, subtype="FLOAT")
    events = compress([tmp_path], None)
    assert events[-1].exit_code == 0, of(FileFailed, events)
    assert decompress([tmp_path / "a.wav.dacz"], tmp_path / "back")[-1].exit_code == 0
    back, _ = soundfile.read(tmp_path / "back" / "a.wav", dtype="float32")
    assert back.shape == (4_000,)
    assert np.isfinite(back).all()
    if name == "zeros":
        assert not back.any()
        with Reader(tmp_path / "a.wav.dacz") as reader:
            assert [channel.mode for channel in reader.block(0).channels] == [SILENT]


@pytest.mark.parametrize("value", [1e30, np.finfo(np.float32).max])
def test_values_that_are_far_too_large(tmp_path: Path, value: float) -> None:
    audio = np.linspace(-value, value, 4_000).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", audio, 8000, subtype="FLOAT")
    (failed,) = of(FileFailed, compress([tmp_path], None))
    assert (failed.kind, failed.exit_code) == ("UnsupportedAudio", 4)
    assert files_below(tmp_path) == ["a.wav"]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_audio(tmp_path: Path, value: float) -> None:
    audio = np.zeros((300_000, 2), np.float32)
    audio[234_567, 1] = value
    soundfile.write(tmp_path / "a.wav", audio, 8000, subtype="FLOAT")
    (failed,) = of(FileFailed, compress([tmp_path], None))
    assert (failed.kind, failed.exit_code) == ("UnsupportedAudio", 4)
    assert "sample 234567 of channel 1" in failed.reason
    assert files_below(tmp_path) == ["a.wav"]


def test_a_thousand_small_files_with_one_percent_damaged(tmp_path: Path, make_wav, monkeypatch) -> None:
    # Syncing a thousand files takes minutes on a slow disk, and has its tests elsewhere.
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    good = make_wav(tmp_path / "good.wav", seconds=0.02).read_bytes()
    flac = tmp_path / "good.flac"
    soundfile.write(flac, np.random.default_rng(0).uniform(-0.5, 0.5, 5_000), 8000)
    bad = [b"this is text", b"", b"RIFF" + bytes(40), flac.read_bytes()[:3_000], good[:30]]
    for i in range(1_000):
        path = tmp_path / "in" / f"{i % 7}" / f"{i:04d}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bad[i // 100 % 5] if i % 100 == 42 else good)
    events = compress([tmp_path / "in"], tmp_path / "out", jobs=2)
    assert (events[-1].done, events[-1].failed, events[-1].exit_code) == (990, 10, 2)
    failed = of(FileFailed, events)
    assert {int(event.source.stem) for event in failed} == set(range(42, 1000, 100))
    assert all(event.kind == "UnsupportedAudio" and event.reason for event in failed)
    assert len({(tmp_path / "out" / name).read_bytes() for name in files_below(tmp_path / "out")}) == 1
    again = compress([tmp_path / "in"], tmp_path / "out", jobs=2)
    assert (again[-1].done, again[-1].skipped, again[-1].failed) == (0, 990, 10)
    assert not of(FileDone, again)


CHILD = """
import resource, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from stub_codec import StubCodec
from dacfile.pipeline import compress_file, decompress_file
codec = StubCodec(rate=1000, hop=2048)
source, packed, back = map(Path, sys.argv[1:])
with packed.open("wb") as stream:
    compress_file(source, stream, codec)
with back.open("wb") as stream:
    decompress_file(packed, stream, lambda head: codec, lambda head: None)
status = Path("/proc/self/status")
if status.exists():  # ru_maxrss would count what this process was before exec: a copy of the test run
    print(int(status.read_text().split("VmHWM:")[1].split()[0]))
else:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_ten_hours_take_no_more_memory_than_one(tmp_path: Path) -> None:
    """Of 1 kHz audio, so that it takes seconds; the figures for 44.1 kHz are in docs/fuzzing.md."""

    def peak(hours: int) -> int:
        noise = np.random.default_rng(0).integers(-90, 90, 1000 * 600, dtype=np.int16) << 8
        with soundfile.SoundFile(tmp_path / "a.wav", "w", 1000, 1, "PCM_U8") as file:
            for _ in range(6 * hours):
                file.write(noise)
        code = CHILD.format(tests=str(Path(__file__).parent))
        names = [tmp_path / name for name in ("a.wav", "a.dacz", "b.wav")]
        done = subprocess.run([sys.executable, "-c", code, *names], capture_output=True, text=True, check=True)
        assert soundfile.info(tmp_path / "b.wav").frames == hours * 3_600_000
        scale = 1024 if sys.platform != "darwin" else 1
        return int(done.stdout) * scale

    # Up to 128 MiB of samples are kept from the first pass in place of reading twice: 14 MiB of one hour, all of ten.
    long, short = peak(10), peak(1)
    assert long - short < 160 << 20
    assert long < 1 << 30
