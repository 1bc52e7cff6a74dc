"""A target is complete or absent: errors at every step, kill -9, two writers, stale files."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import shutil
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dacfile import atomic
from dacfile.atomic import AtomicFile, TargetBusy, check_target, remove_stale, temporary_name
from dacfile.errors import OutputExists


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def write(target: Path, data: bytes = b"data", *, overwrite: bool = True) -> None:
    with AtomicFile(target, overwrite=overwrite) as stream:
        stream.write(data)


def test_a_written_file_is_alone_and_complete(tmp_path):
    write(tmp_path / "new folder" / "a.dacz", b"x" * 100_000)
    assert names(tmp_path / "new folder") == ["a.dacz"]
    assert (tmp_path / "new folder" / "a.dacz").read_bytes() == b"x" * 100_000


def test_the_target_is_absent_until_the_end(tmp_path):
    target = tmp_path / "a.dacz"
    with AtomicFile(target) as stream:
        stream.write(b"half")
        stream.flush()
        assert not target.exists()
        assert names(tmp_path) == [temporary_name(target).name]


def test_an_error_leaves_the_old_file(tmp_path):
    target = tmp_path / "a.dacz"
    write(target, b"old")
    with pytest.raises(ValueError, match="stop"), AtomicFile(target) as stream:
        stream.write(b"new")
        raise ValueError("stop")
    assert names(tmp_path) == ["a.dacz"]
    assert target.read_bytes() == b"old"


def test_permissions_follow_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        write(tmp_path / "a")
    finally:
        os.umask(old)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failing_step_leaves_nothing(tmp_path, monkeypatch, step):
    def fail(*_args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path / "a.dacz")
    assert names(tmp_path) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_is_seen_at_flush(tmp_path, monkeypatch):
    real = os.open

    def open_full(path, flags, *rest):
        return real("/dev/full" if str(path).startswith(str(tmp_path)) and flags & os.O_CREAT else path, flags, *rest)

    monkeypatch.setattr(os, "open", open_full)
    monkeypatch.setattr(atomic, "_is_still", lambda *_: True)
    monkeypatch.setattr(os, "ftruncate", lambda *_: None)
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path / "a.dacz", b"x")
    assert names(tmp_path) == []


def test_no_overwrite_refuses_at_the_start_and_at_the_end(tmp_path):
    target = tmp_path / "a"
    with pytest.raises(OutputExists, match="appeared"), AtomicFile(target, overwrite=False) as stream:
        stream.write(b"ours")
        target.write_bytes(b"theirs")
    with pytest.raises(OutputExists, match="exists already"):
        write(target, overwrite=False)
    assert target.read_bytes() == b"theirs"
    assert names(tmp_path) == ["a"]


def test_no_overwrite_works_without_hard_links(tmp_path, monkeypatch):
    def fail(*_args):
        raise PermissionError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", fail)
    write(tmp_path / "a", b"data", overwrite=False)
    assert (tmp_path / "a").read_bytes() == b"data"
    assert names(tmp_path) == ["a"]


def test_two_threads_cannot_write_one_target(tmp_path):
    seen = []

    def second() -> None:
        try:
            write(tmp_path / "a", b"second")
        except TargetBusy as error:
            seen.append(error)

    with AtomicFile(tmp_path / "a") as stream:
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
        stream.write(b"first")
    assert len(seen) == 1
    assert (tmp_path / "a").read_bytes() == b"first"


def test_names_of_any_length_and_bytes(tmp_path):
    for name in ["n" * 255, "-dash", "new\nline", "\udcff\udc80.wav", "日本語.flac"]:
        write(tmp_path / name, os.fsencode(name))
        assert (tmp_path / name).read_bytes() == os.fsencode(name)
    assert len(names(tmp_path)) == 5


CHILD = """
import sys, time
from pathlib import Path
from dacfile.atomic import AtomicFile
with AtomicFile(Path(sys.argv[1])) as stream:
    stream.write(b"x" * 5000)
    stream.flush()
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def writer(tmp_path):
    """A process that is in the middle of writing tmp_path/a.dacz."""
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path / "a.dacz")], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    yield child
    child.kill()
    child.wait()
    child.stdout.close()


def test_a_live_writer_is_left_alone(tmp_path, writer):
    assert remove_stale(tmp_path) == 0
    with pytest.raises(TargetBusy, match="another process"):
        write(tmp_path / "a.dacz")
    assert names(tmp_path) == [temporary_name(tmp_path / "a.dacz").name]


def test_what_kill_9_leaves_is_removed(tmp_path, writer):
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert names(tmp_path) == [temporary_name(tmp_path / "a.dacz").name]
    assert remove_stale(tmp_path) == 1
    assert names(tmp_path) == []


def test_a_stale_file_is_taken_over(tmp_path, writer):
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    write(tmp_path / "a.dacz", b"short")
    assert (tmp_path / "a.dacz").read_bytes() == b"short"
    assert names(tmp_path) == ["a.dacz"]


def test_a_stale_second_name_of_a_finished_file_does_not_destroy_it(tmp_path):
    target = tmp_path / "a"
    target.write_bytes(b"finished")
    os.link(target, temporary_name(target))  # the state after a crash between link and unlink
    with pytest.raises(ValueError, match="stop"), AtomicFile(target):
        raise ValueError("stop")
    assert target.read_bytes() == b"finished"
    assert names(tmp_path) == ["a"]


def test_discard_live_removes_what_is_being_written(tmp_path):
    with pytest.raises(FileNotFoundError), AtomicFile(tmp_path / "a") as stream:
        stream.write(b"x")
        atomic.discard_live()
        assert names(tmp_path) == []
    assert names(tmp_path) == []


def interrupt_at(line: int):
    """Return a trace function that raises KeyboardInterrupt at the n-th line of atomic.py that is run.

    Python runs no signal handler between a block and the exit of its `with`, a trace function would.
    """
    lines = itertools.count()
    source = Path(atomic.__file__).read_text().splitlines()

    def trace(frame, event, _argument):
        if frame.f_code.co_filename != atomic.__file__:
            return None
        is_with = source[frame.f_lineno - 1].lstrip().startswith("with ")
        if event == "line" and not is_with and next(lines) == line:
            raise KeyboardInterrupt
        return trace

    return trace


def write_interrupted(target: Path, line: int, *, fails: bool) -> bool:
    """Write a file and say whether an interrupt came at this line of the way."""
    before = sys.gettrace()
    sys.settrace(interrupt_at(line))
    try:
        with contextlib.suppress(ZeroDivisionError), AtomicFile(target) as stream:
            stream.write(b"data")
            if fails:
                raise ZeroDivisionError
    except KeyboardInterrupt:
        sys.settrace(before)
        atomic.discard_live()  # as `dacz` does
        return True
    finally:
        sys.settrace(before)
    return False


@pytest.mark.skipif(atomic.fcntl is None, reason="without locks a temporary file may stay")
@pytest.mark.parametrize("fails", [False, True])
def test_an_interrupt_at_any_line_leaves_a_whole_file_or_nothing(tmp_path, fails):
    target = tmp_path / "made" / "up" / "a.dacz"
    for line in itertools.count():
        interrupted = write_interrupted(target, line, fails=fails)
        left = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert left in ([], [target]), line
        assert left or not (tmp_path / "made").exists(), line
        if not interrupted:
            break
        write(target)  # nothing is taken for busy
        shutil.rmtree(tmp_path / "made")
    assert line > 30
    assert left == ([] if fails else [target])


def test_a_link_in_place_of_the_temporary_file_is_not_followed(tmp_path):
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    temporary_name(tmp_path / "a").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic link"):
        write(tmp_path / "a")
    assert victim.read_bytes() == b"precious"


def test_folders_made_for_what_fails_go_again(tmp_path):
    (tmp_path / "own").mkdir()
    for folder in (tmp_path / "made" / "up", tmp_path / "own", tmp_path / "own" / "new"):
        with pytest.raises(ZeroDivisionError), AtomicFile(folder / "a.dacz"):
            raise ZeroDivisionError
    assert [path.name for path in tmp_path.rglob("*")] == ["own"]


def test_folders_with_something_in_them_stay(tmp_path):
    folder = tmp_path / "made"
    with AtomicFile(folder / "b.dacz") as other:
        with pytest.raises(ZeroDivisionError), AtomicFile(folder / "sub" / "a.dacz"):
            raise ZeroDivisionError
        other.write(b"done")
    assert [path.name for path in folder.iterdir()] == ["b.dacz"]
    (folder / "b.dacz").unlink()
    with pytest.raises(ZeroDivisionError), AtomicFile(folder / "a.dacz"):
        raise ZeroDivisionError
    assert folder.is_dir()  # it had an output, and is the user's now


def test_many_threads_fail_and_succeed_in_folders_that_come_and_go(tmp_path):
    def write(number):
        for _ in range(50):
            with contextlib.suppress(ZeroDivisionError), AtomicFile(tmp_path / "a" / "b" / f"{number}") as stream:
                stream.write(bytes([number]))
                if number:
                    raise ZeroDivisionError

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(write, range(1, 9))) == [None] * 8
        assert list(tmp_path.iterdir()) == []
        assert list(pool.map(write, range(8))) == [None] * 8
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["0"]


def test_a_target_can_be_tried_out(tmp_path):
    check_target(tmp_path / "made" / "a.dacz")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "a.dacz").touch()
    with pytest.raises(OutputExists):
        check_target(tmp_path / "a.dacz")
    with pytest.raises(FileExistsError):
        check_target(tmp_path / "a.dacz" / "b.dacz")
