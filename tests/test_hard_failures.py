"""What the system may do to a batch: the n-th call of any kind fails, the disk is full, the source changes."""

from __future__ import annotations

import builtins
import errno
import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import files_below
from stub_codec import StubCodec

from dacfile import atomic, batch
from dacfile.batch import CompressSettings, DecompressSettings
from dacfile.events import FileDone, FileFailed, FileSkipped
from dacfile.pipeline import CompressOptions

MOST_CALLS = 400  # of one kind in a batch of two files


def compress(folder: Path, out: Path, codec: StubCodec | None = None, **settings: object) -> list:
    plan = batch.plan_compress([folder], out)
    return list(batch.process(plan, CompressSettings(codec=codec or StubCodec(), **settings), jobs=1))


def decompress(folder: Path, out: Path) -> list:
    return list(
        batch.process(batch.plan_decompress([folder], out, None), DecompressSettings(codec=StubCodec()), jobs=1)
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in files_below(folder)} if folder.exists() else {}


def failed(events: list) -> dict[str, FileFailed]:
    return {event.source.name: event for event in events if isinstance(event, FileFailed)}


@pytest.fixture
def music(tmp_path: Path, make_wav) -> Path:
    make_wav(tmp_path / "music" / "a.wav", channels=2, seconds=0.1)
    make_wav(tmp_path / "music" / "sub" / "b.wav", seconds=0.1)
    return tmp_path / "music"


class NthCall:
    """Fails the n-th call of a function, once; `count` tells how many there were."""

    def __init__(self, function, n: int) -> None:
        self.function, self.n, self.count = function, n, 0

    def __call__(self, *args: object, **named: object):
        self.count += 1
        if self.count == self.n:
            raise OSError(errno.EIO, "Input/output error")
        return self.function(*args, **named)


class NthStep:
    """A stream whose n-th call of a method fails, counted over all streams of a run."""

    def __init__(self, stream, name: str, failing: NthCall) -> None:
        self._stream, self._name, self._failing = stream, name, failing

    def __getattr__(self, name: str):
        attribute = getattr(self._stream, name)
        if name != self._name:
            return attribute
        self._failing.function = attribute
        return self._failing


def inject(patch: pytest.MonkeyPatch, place: str, n: int) -> NthCall:
    """Make the n-th call of a kind fail: of the system, of writing to outputs, or of reading sources."""
    kind, name = place.split(".")
    if kind == "output":
        failing = NthCall(None, n)
        opened = atomic._opened
        patch.setattr(atomic, "_opened", lambda *a: NthStep(opened(*a), name, failing))
    elif kind == "source":
        failing = NthCall(None, n)
        plain = builtins.open

        def open_source(file, mode="r", *args, **named):
            stream = plain(file, mode, *args, **named)
            return NthStep(stream, name, failing) if str(file).endswith((".wav", ".dacz")) else stream

        patch.setattr(builtins, "open", open_source)
    else:
        module = {"os": os, "fcntl": fcntl, "builtins": builtins}[kind]
        failing = NthCall(getattr(module, name), n)
        patch.setattr(module, name, failing)
    return failing


PLACES = [
    *(f"os.{name}" for name in ("open", "fsync", "link", "mkdir", "stat", "lstat", "fstat", "scandir")),
    "os.unlink", "os.ftruncate", "fcntl.flock", "builtins.open", "source.read", "source.seek",
    "output.write", "output.flush", "output.close",
]  # fmt: skip


# Where a call fails that would have told whether a temporary file is ours, it stays for the next run to remove.
UNKNOWN = ("os.unlink", "os.lstat", "os.fstat", "fcntl.flock")


def check_every_failure(work, source: Path, out: Path, expected: dict[str, bytes], place: str) -> int:
    """Fail the first, the second, ... call at a place until a run needs fewer; return how many there were.

    Beyond the tenth not every call has its turn, unless DACZ_EVERY_CALL is set: most are alike.
    """
    before = contents(source)
    n = 0
    while n < MOST_CALLS:
        n += 1 if os.environ.get("DACZ_EVERY_CALL") else 1 + n // 10 * 4
        shutil.rmtree(out, ignore_errors=True)
        with pytest.MonkeyPatch.context() as patch:
            failing = inject(patch, place, n)
            try:
                events = work(source, out)
            except OSError:  # before the first file: the whole call failed
                assert contents(out) == {}
                continue
        for event in failed(events).values():
            assert "internal error" not in event.reason, (n, event)
            assert "\n" not in event.reason
        assert events[-1].exit_code == (2 if failed(events) else 0)
        assert events[-1].exit_code or events[-1].done + events[-1].skipped == 2, f"call {n}: a file was forgotten"
        found = contents(out)
        finished = {name: data for name, data in found.items() if not name.split("/")[-1].startswith(atomic.PREFIX)}
        assert finished.items() <= expected.items(), f"call {n}: an output is not what it should be"
        assert finished == found or place in UNKNOWN, f"call {n}: a temporary file was left"
        done = {event.target for event in events if isinstance(event, FileDone)}
        assert all(target.exists() for target in done)
        assert contents(source) == before
        assert work(source, out)[-1].exit_code == 0
        assert contents(out) == expected
        if failing.count < n:
            return n - 1
    raise AssertionError(f"{MOST_CALLS} calls of {place} for two small files")


@pytest.mark.parametrize("place", PLACES)
def test_compressing_when_the_nth_call_fails(music: Path, tmp_path: Path, place: str) -> None:
    assert compress(music, tmp_path / "expected")[-1].exit_code == 0
    calls = check_every_failure(compress, music, tmp_path / "out", contents(tmp_path / "expected"), place)
    assert calls > 0, "this place is never reached: the test tests nothing"


@pytest.mark.parametrize("n", [1, 2, 3])
def test_replacing_when_the_nth_rename_fails(music: Path, tmp_path: Path, n: int) -> None:
    out = tmp_path / "out"
    compress(music, out)
    before = contents(out)
    settings = {"exists": "overwrite", "options": CompressOptions(codebooks=1)}
    with pytest.MonkeyPatch.context() as patch:
        inject(patch, "os.replace", n)
        events = compress(music, out, **settings)
    assert events[-1].failed == (n <= 2)
    found = contents(out)
    assert found.keys() == before.keys()
    assert sum(found[name] == before[name] for name in found) == events[-1].failed
    assert compress(music, out, **settings)[-1].done == 2


@pytest.mark.parametrize("place", ["os.fsync", "source.read", "builtins.open", "output.flush"])
def test_decompressing_when_the_nth_call_fails(music: Path, tmp_path: Path, place: str) -> None:
    compress(music, tmp_path / "packed")
    decompress(tmp_path / "packed", tmp_path / "expected")
    packed, expected = tmp_path / "packed", contents(tmp_path / "expected")
    assert check_every_failure(decompress, packed, tmp_path / "out", expected, place) > 0


@pytest.mark.parametrize(("container", "subtype"), [("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III"), ("FLAC", "PCM_16")])
def test_a_source_that_cannot_be_read_to_its_end_is_not_taken_for_shorter(
    tmp_path: Path, container: str, subtype: str, capfd
) -> None:
    """C code takes a read error for the end of the file, and these formats do not all know how long they are."""
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, 60_000)
    soundfile.write(tmp_path / "a.wav", samples, 8000, format=container, subtype=subtype)
    with pytest.MonkeyPatch.context() as patch:
        failing = inject(patch, "source.read", 1 << 30)
        assert compress(tmp_path, tmp_path / "out")[-1].exit_code == 0
    for n in range(2, failing.count, max(failing.count // 8, 1)):
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        with pytest.MonkeyPatch.context() as patch:
            inject(patch, "source.read", n)
            events = compress(tmp_path, tmp_path / "out")
        assert failed(events)["a.wav"].reason == "input/output error"
        assert contents(tmp_path / "out") == {}
    assert "Traceback" not in capfd.readouterr().err


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of 256 KiB."""
    folder = Path(tempfile.mkdtemp(prefix="dacz-disk-"))
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", folder], capture_output=True)
    if mounted.returncode:
        folder.rmdir()
        pytest.skip("file systems cannot be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)
    folder.rmdir()


@pytest.mark.parametrize("direction", ["compress", "decompress"])
def test_a_full_disk(small_disk: Path, tmp_path: Path, make_wav, direction: str) -> None:
    for i in range(8):
        make_wav(tmp_path / "in" / f"{i}.wav", seconds=6, seed=i)
    work, source = compress, tmp_path / "in"
    if direction == "decompress":
        compress(source, tmp_path / "packed")
        work, source = decompress, tmp_path / "packed"
    work(source, tmp_path / "expected")
    expected = contents(tmp_path / "expected")
    size = max(map(len, expected.values()))
    (small_disk / "other").write_bytes(bytes(max(256 * 1024 - 5 * size // 2 - 8192, 0)))
    events = work(source, small_disk / "out")
    assert 0 < events[-1].done < 8
    assert (events[-1].failed, events[-1].exit_code) == (1, 2)
    assert "the disk is full" in events[-1].message
    found = contents(small_disk / "out")
    assert len(found) == events[-1].done
    assert found.items() <= expected.items()
    (small_disk / "other").unlink()
    again = work(source, small_disk / "out")
    assert (again[-1].skipped, again[-1].exit_code) == (len(found), 0 if 9 * size < 256 * 1024 else 2)
    assert contents(small_disk / "out").items() <= expected.items()


class Meddling(StubCodec):
    """Does something to the world while it encodes."""

    def __init__(self, meddle) -> None:
        super().__init__()
        self.meddle = meddle

    def encode_windows(self, x, first_frames, channels) -> np.ndarray:
        self.meddle()
        return super().encode_windows(x, first_frames, channels)


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def replaced(path: Path) -> None:
    other = path.with_name("other")
    shutil.copy2(path, other)
    os.replace(other, path)


@pytest.mark.parametrize("change", [grow, replaced, Path.unlink], ids=["grown", "replaced", "removed"])
def test_a_source_that_changes_after_it_was_measured(music: Path, tmp_path: Path, change) -> None:
    """Its output would look newer than the change, and the next run would take it for done."""
    source = music / "a.wav"
    changed = []

    def meddle() -> None:
        if not changed:
            changed.append(True)
            change(source)

    events = compress(music, tmp_path / "out", Meddling(meddle))
    assert failed(events)["a.wav"].kind == "SourceChanged"
    assert files_below(tmp_path / "out") == ["sub/b.wav.dacz"]
    if change is not Path.unlink:
        assert compress(music, tmp_path / "out")[-1].done == 1


@pytest.mark.parametrize("name", ["target", "folder"])
def test_an_output_that_vanishes_meanwhile_is_a_failure_and_nothing_worse(
    music: Path, tmp_path: Path, name: str
) -> None:
    def meddle() -> None:
        for path in (tmp_path / "out").glob("**/.dacz-tmp-*"):
            path.unlink()
        if name == "folder":
            shutil.rmtree(tmp_path / "out", ignore_errors=True)

    events = compress(music, tmp_path / "out", Meddling(meddle))
    assert all(event.reason.endswith(".wav.dacz: no such file or directory") for event in failed(events).values())
    assert len(failed(events)) == 2
    assert contents(tmp_path / "out") == {}


def test_the_source_is_kept_unless_the_output_was_read_back(music: Path, tmp_path: Path, monkeypatch) -> None:
    """`--rm` with a disk that returns other bytes than were written."""
    replace = os.replace

    def damaging(source: os.PathLike, target: os.PathLike) -> None:
        data = bytearray(Path(source).read_bytes())
        data[len(data) // 2] ^= 1
        Path(source).write_bytes(data)
        replace(source, target)

    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(errno.EPERM, "no links here")))
    monkeypatch.setattr(os, "replace", damaging)
    before = contents(music)
    events = compress(music, tmp_path / "out", remove=True)
    assert {event.kind for event in failed(events).values()} == {"ChecksumError"}
    assert contents(music) == before
    assert contents(tmp_path / "out") == {}


def test_a_second_run_after_failures_does_only_what_is_missing(music: Path, tmp_path: Path) -> None:
    (music / "bad.wav").write_bytes(b"no audio")
    assert compress(music, tmp_path / "out")[-1].failed == 1
    events = compress(music, tmp_path / "out")
    assert sum(isinstance(event, FileSkipped) for event in events) == 2
    assert list(failed(events)) == ["bad.wav"]
