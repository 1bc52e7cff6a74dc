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
import weakref
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

_live: weakref.WeakSet[AtomicFile] = weakref.WeakSet()  # an interrupt may keep a file from being taken out
_made: set[Path] = set()  # folders in which nothing has been finished yet
_live_guard = threading.RLock()


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
            try:
                return self._open()
            except FileNotFoundError:  # another process has just removed a folder it had made
                pass
        return self._open()

    def _open(self) -> BinaryIO:
        try:
            with _live_guard:
                _make_folders(self.target.parent)
                if any(other.temporary == self.temporary for other in _live):
                    raise TargetBusy(f"{self.target}: is being written already")
                self._stream = _open_locked(self.temporary, self.target)
                _live.add(self)
        except BaseException:
            self._abandon()
            raise
        return self._stream

    def _abandon(self) -> None:
        """Take back what a start that has failed, or was interrupted, may have left; not what belongs to another."""
        _forget(self)
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        with contextlib.suppress(OSError):
            _remove_if_unlocked(self.temporary)
        _remove_folders(self.target.parent)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        stream = self._stream
        if stream is None:
            return
        if kind is None:
            self._commit(stream)
        else:
            self._discard(stream)
        self._stream = None

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
                error.filename = str(self.target)
            raise
        _forget(self)  # from here on the temporary name may be another's
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
        _forget(self)


def _forget(file: AtomicFile) -> None:
    with _live_guard:
        _live.discard(file)


def check_target(target: Path) -> None:
    """Raise now what writing a new file `target` would raise after minutes of work; leaves nothing behind."""
    with contextlib.suppress(_Unwanted), AtomicFile(target, overwrite=False):
        raise _Unwanted


def _make_folders(folder: Path) -> None:
    """Create a folder and those above it that are missing, and remember which these were."""
    missing = list(itertools.takewhile(lambda place: not place.is_dir(), (folder, *folder.parents)))
    _made.update(missing)
    for place in reversed(missing):
        place.mkdir(exist_ok=True)


def _remove_folders(folder: Path) -> None:
    """Remove a folder and those above it that were made for an output that has failed, unless something is in them."""
    with _live_guard:
        places = list(itertools.takewhile(_made.__contains__, (folder, *folder.parents)))
        with contextlib.suppress(OSError):
            for place in places:
                with contextlib.suppress(FileNotFoundError):  # an interrupt came before it was made
                    place.rmdir()
        _made.difference_update([place for place in places if not os.path.lexists(place)])


def _open_locked(path: Path, target: Path) -> BinaryIO:
    """Return the empty file `path`, which this process has locked; raises TargetBusy."""
    while True:
        stream = _opened(path, target)
        try:
            if _lock(stream.fileno()) is False:
                raise TargetBusy(f"{target}: is being written by another process")
            if _is_still(path, stream.fileno()):
                if os.fstat(stream.fileno()).st_nlink == 1:
                    os.ftruncate(stream.fileno(), 0)
                    return stream
                os.unlink(path)  # a second name of a finished file, left by a crash just after it was linked
        except BaseException:
            stream.close()
            raise
        stream.close()  # renamed or removed between opening and locking: take the next one


def _opened(path: Path, target: Path) -> BinaryIO:
    try:
        return open(path, "w+b", opener=lambda name, _flags: os.open(name, _OPEN_FLAGS | os.O_CREAT, 0o666))
    except OSError as error:
        error.filename = str(target)  # the temporary name tells a user nothing
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


def discard_live(*, leaving: bool = False) -> None:
    """Remove what this process has not finished writing, for an exit that does not wait for its threads.

    With `leaving`, threads that begin or finish a file from now on wait for ever: the caller ends the process.
    """
    _live_guard.acquire()
    try:
        for file in list(_live):
            _unlink_quietly(file.temporary)
            _remove_folders(file.target.parent)
    finally:
        if not leaving:
            _live_guard.release()
