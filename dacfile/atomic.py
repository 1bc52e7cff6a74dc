"""Files that are complete or absent.

A target is written under a temporary name in its own folder and gets its real name in one step, after its bytes are
on the disk. The temporary name is made from the target's name, and its writer holds an advisory lock on it, so that

- two processes never write the same target at the same time (the second one gets `TargetBusy`);
- a temporary file without a lock belongs to a dead process and may be removed (`remove_stale`): the kernel drops a lock
  with its process, even after kill -9.

Not promised: anything on file systems that ignore fsync, rename in a non-atomic way or do not know locks (some network
file systems). Where Python has no `fcntl`, there are no locks: two writers of one target then disturb each other, and
stale files stay until their target is written again.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import os
import threading
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from dacfile.errors import OutputExists

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None  # type: ignore[assignment]

PREFIX = ".dacz-tmp-"
# A link in place of the temporary file is never followed; O_NONBLOCK keeps a FIFO of that name from blocking the open.
_OPEN_FLAGS = os.O_RDWR | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)

_TRIES = 10  # to open a file in a folder that another process has made, and removes meanwhile

_live: set[Path] = set()
_made: set[Path] = set()  # folders in which nothing has been finished yet
_live_guard = threading.Lock()


class TargetBusy(OutputExists):
    """Another process, or another thread of this one, is writing the same target."""


class _Unwanted(Exception):
    """Raised where a file shall not be finished."""


def temporary_name(target: Path) -> Path:
    """Return the name under which `target` is written; always short enough, however long the target's name is."""
    digest = hashlib.sha256(os.fsencode(target.name)).hexdigest()[:24]
    return target.with_name(PREFIX + digest)


class AtomicFile:
    """Write a file so that `target` is either complete or untouched.

    Use as a context manager; it gives a binary stream, readable and seekable. Leaving the block normally flushes, syncs
    and renames; leaving it by an exception removes the temporary file. With `overwrite=False` an existing target is
    never replaced, even when it appears during the writing. Missing folders are created, and go again when nothing was
    written into them.

    Raises TargetBusy when the target is being written already, OutputExists when it exists and may not be replaced,
    OSError as the system gives it (disk full, no permission).
    """

    def __init__(self, target: Path, *, overwrite: bool = True) -> None:
        self.target = target
        self.overwrite = overwrite
        self.temporary = temporary_name(target)
        self._stream: BinaryIO | None = None

    def __enter__(self) -> BinaryIO:
        if not self.overwrite and os.path.lexists(self.target):
            raise OutputExists(f"{self.target}: exists already; choose another name or allow overwriting")
        for _ in range(_TRIES):
            with contextlib.suppress(FileNotFoundError):  # another process has just removed a folder it had made
                return self._open()
        return self._open()

    def _open(self) -> BinaryIO:
        try:
            with _live_guard:
                _make_folders(self.target.parent)
                if self.temporary in _live:
                    raise TargetBusy(f"{self.target}: is being written already")
                self._stream = _as_stream(_open_locked(self.temporary, self.target), self.temporary)
                _live.add(self.temporary)
        except BaseException:
            _remove_folders(self.target.parent)
            raise
        return self._stream

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        stream = self._stream
        if stream is None:
            return
        self._stream = None
        try:
            if kind is None:
                self._commit(stream)
            else:
                self._discard(stream)
        finally:
            with _live_guard:
                _live.discard(self.temporary)

    def _commit(self, stream: BinaryIO) -> None:
        try:
            stream.flush()
            os.fsync(stream.fileno())
            if fcntl is None:  # other systems cannot rename an open file
                stream.close()
            self._rename()
        except BaseException as error:
            self._discard(stream)
            if isinstance(error, OSError) and error.filename == str(self.temporary):
                error.filename = str(self.target)  # the temporary name tells a user nothing
            raise
        stream.close()
        sync_folder(self.target.parent)
        _made.difference_update(self.target.parents)

    def _rename(self) -> None:
        """Give the finished file its name; a hard link is the only rename that refuses to replace."""
        if self.overwrite:
            os.replace(self.temporary, self.target)
            return
        try:
            os.link(self.temporary, self.target)
        except FileExistsError:
            raise OutputExists(f"{self.target}: appeared while it was being written; left as it is") from None
        except OSError:  # a file system without hard links: a narrow race is left
            if os.path.lexists(self.target):
                raise OutputExists(f"{self.target}: appeared while it was being written; left as it is") from None
            os.replace(self.temporary, self.target)
        else:
            os.unlink(self.temporary)

    def _discard(self, stream: BinaryIO) -> None:
        """Remove the temporary file first, then close: closing may fail again on a full disk."""
        if fcntl is not None:
            _unlink_quietly(self.temporary)
        with contextlib.suppress(OSError):
            stream.close()
        if fcntl is None:
            _unlink_quietly(self.temporary)
        _remove_folders(self.target.parent)


def check_target(target: Path) -> None:
    """Raise now what writing a new file `target` would raise after minutes of work; leaves nothing behind."""
    with contextlib.suppress(_Unwanted), AtomicFile(target, overwrite=False):
        raise _Unwanted


def _make_folders(folder: Path) -> None:
    """Create a folder and those above it that are missing, and remember which these were."""
    missing = itertools.takewhile(lambda place: not place.is_dir(), (folder, *folder.parents))
    for place in reversed(list(missing)):
        place.mkdir(exist_ok=True)
        _made.add(place)


def _remove_folders(folder: Path) -> None:
    """Remove a folder and those above it that were made for an output that has failed, unless something is in them."""
    with _live_guard, contextlib.suppress(OSError):
        for place in itertools.takewhile(_made.__contains__, (folder, *folder.parents)):
            place.rmdir()
            _made.discard(place)


def _open_locked(path: Path, target: Path) -> int:
    """Return a descriptor of the empty file `path` that this process has locked; raises TargetBusy."""
    while True:
        try:
            descriptor = os.open(path, _OPEN_FLAGS | os.O_CREAT, 0o666)
        except OSError as error:
            error.filename = str(target)
            raise
        try:
            if _lock(descriptor) is False:
                raise TargetBusy(f"{target}: is being written by another process")
            if _is_still(path, descriptor):
                if os.fstat(descriptor).st_nlink == 1:
                    _empty(descriptor, path)
                    return descriptor
                os.unlink(path)  # a second name of a finished file, left by a crash just after it was linked
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # renamed or removed between opening and locking: take the next one


def _empty(descriptor: int, path: Path) -> None:
    try:
        os.ftruncate(descriptor, 0)
    except OSError:
        _unlink_quietly(path)
        raise


def _as_stream(descriptor: int, path: Path) -> BinaryIO:
    try:
        return os.fdopen(descriptor, "w+b")
    except BaseException:
        _unlink_quietly(path)
        os.close(descriptor)
        raise


def _lock(descriptor: int) -> bool | None:
    """Return True when the lock is ours, False when another has it, None where there are no locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        if error.errno in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL):
            return None
        raise
    return True


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.lstat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _unlink_quietly(path: Path) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)


def sync_folder(folder: Path) -> None:
    """Put a folder's entries on the disk, so that a rename survives a power cut; a no-op where that is not possible."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove_stale(folder: Path) -> int:
    """Remove the temporary files that dead processes left in `folder`; return how many there were."""
    if fcntl is None or not folder.is_dir():
        return 0
    removed = 0
    for path in folder.glob(PREFIX + "*"):
        with contextlib.suppress(OSError):
            removed += _remove_if_unlocked(path)
    return removed


def _remove_if_unlocked(path: Path) -> bool:
    descriptor = os.open(path, _OPEN_FLAGS)
    try:
        if not (_lock(descriptor) and _is_still(path, descriptor)):
            return False
        os.unlink(path)
        return True
    finally:
        os.close(descriptor)


def discard_live() -> None:
    """Remove the temporary files of this process, for an exit that cannot wait for its threads."""
    with _live_guard:
        for path in _live:
            _unlink_quietly(path)
