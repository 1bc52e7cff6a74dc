"""Run one action over many files: worker threads, an event stream; one bad file never stops the rest.

What an action does (compress, decompress) is not known here; see `dacfile.batch`. The threads share one process, so
that the models are loaded once and the device sees the work of all files.
"""

from __future__ import annotations

import contextlib
import errno
import os
import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Protocol

from dacfile.atomic import AtomicFile, TargetBusy, remove_stale
from dacfile.errors import DaczError, OutputExists
from dacfile.events import (
    Event,
    FileDone,
    FileFailed,
    FileSkipped,
    Finished,
    Planned,
    Progress,
    ProgressCallback,
    Started,
)
from dacfile.plan import Plan, Task

INTERRUPTED = 130
SOME_FAILED = 2
DAMAGED = 3
_FULL = (errno.ENOSPC, errno.EDQUOT)
_PROGRESS_INTERVAL = 0.1  # seconds; a live view cannot show more


class Cancelled(Exception):
    """Raised inside an action, by its progress callback, when the work has to stop at once."""


class Stop:
    """How a caller ends a run early: `finish` takes no new file, `now` gives up the files in flight as well."""

    def __init__(self) -> None:
        self._finish = threading.Event()
        self._now = threading.Event()
        self.message = ""

    def finish(self, message: str = "") -> None:
        """Complete the files in flight, start no other."""
        self.message = self.message or message
        self._finish.set()

    def now(self) -> None:
        """Give up the files in flight at their next step; what they have written is removed."""
        self._finish.set()
        self._now.set()

    @property
    def finishing(self) -> bool:
        return self._finish.is_set()

    @property
    def immediate(self) -> bool:
        return self._now.is_set()


@dataclass(frozen=True)
class Outcome:
    """What an action has made of one file: seconds of audio, its channels, and what a user should know.

    `elapsed` is the wall-clock time in seconds without what is done once for all files, such as loading a model.
    `damaged` says that something of the input was lost.
    """

    seconds: float
    channels: int
    elapsed: float
    notes: tuple[str, ...] = ()
    damaged: bool = False


class Action(Protocol):
    """What is done to each file."""

    def existing(self, task: Task) -> FileSkipped | None:
        """Return why a target that exists stays as it is; None: it may be replaced.

        Raises OutputExists when it is in the way.
        """

    def __call__(self, task: Task, stream: BinaryIO, progress: ProgressCallback) -> Outcome:
        """Write the output of `task` to `stream`, calling `progress` as it goes."""

    def after(self, task: Task, made: bool) -> None:
        """Check or clean up when the target has its final name; an error is a failure.

        `made` says that it was made now, not by a run before: only then may a bad one be removed.
        """


def run(plan: Plan, action: Action, *, jobs: int = 1, stop: Stop | None = None) -> Iterator[Event]:
    """Do `action` for every task of the plan in `jobs` threads; yield events, `Finished` last.

    Closing the iterator early, or an exception at the caller's side, gives up what is in flight and removes its traces.
    """
    stop = stop or Stop()
    totals = _Totals()
    yield Planned(len(plan.tasks) + len(plan.problems) + len(plan.notes), plan.size)
    first: list[Event] = [FileSkipped(note.path, note.reason) for note in plan.notes]
    first += [failure(problem.path, problem.error) for problem in plan.problems]
    for event in first:
        totals.add(event)
        yield event
    crew = _Crew(plan.tasks, action, jobs, stop)
    try:
        for event in crew.events():
            totals.add(event)
            yield event
    finally:
        crew.dismiss()
    yield totals.finished(stop, alone=len(plan.tasks) + len(plan.problems) == 1)


class _Crew:
    """The worker threads of one run and the queue of their events; None on the queue is a thread that has ended."""

    def __init__(self, tasks: list[Task], action: Action, jobs: int, stop: Stop) -> None:
        self.action = action
        self.stop = stop
        self.queue: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self.tasks = iter(tasks)
        self.guard = threading.Lock()
        self.swept: set[Path] = set()
        count = max(1, min(jobs, len(tasks)))
        self.threads = [threading.Thread(target=self._work, name=f"dacz-{i}") for i in range(count)]

    def events(self) -> Iterator[Event]:
        for thread in self.threads:
            thread.start()
        running = len(self.threads)
        while running:
            event = self.queue.get()
            if event is None:
                running -= 1
            else:
                yield event
        for thread in self.threads:  # one may still be on its way out: for `dismiss` that would be an interrupt
            thread.join()

    def dismiss(self) -> None:
        """End the threads: at once when they are not at their end already."""
        if any(thread.is_alive() for thread in self.threads):
            self.stop.now()
        for thread in self.threads:
            if thread.ident is not None:
                thread.join()

    def _work(self) -> None:
        try:
            while (task := self._next()) is not None:
                self._one(task)
        finally:
            self.queue.put(None)

    def _next(self) -> Task | None:
        with self.guard:
            if self.stop.finishing:
                return None
            return next(self.tasks, None)

    def _sweep(self, folder: Path) -> None:
        """Remove what dead processes left in a folder, once, if that is possible."""
        with self.guard:
            if folder not in self.swept:
                self.swept.add(folder)
                with contextlib.suppress(OSError):
                    remove_stale(folder)

    def _one(self, task: Task) -> None:
        with contextlib.suppress(Cancelled):
            self.queue.put(replace(self._judged(task), bytes_in=task.size))

    def _judged(self, task: Task) -> FileDone | FileSkipped | FileFailed:
        """Make the output of a task; whatever goes wrong is this file's failure: the other files go on."""
        try:
            return self._make(task)
        except Cancelled:
            raise
        except TargetBusy as error:
            return FileSkipped(task.source, str(error))
        except Exception as error:
            if isinstance(error, OSError) and error.errno in _FULL:
                self.stop.finish(f"the disk is full ({task.target.parent}); make room and run the same command again")
            return failure(task.source, error)

    def _make(self, task: Task) -> FileDone | FileSkipped:
        self._sweep(task.target.parent)
        overwrite = os.path.lexists(task.target)  # a link to nothing is there too
        if overwrite and (skipped := self.action.existing(task)):
            return self._skipped(task, skipped)
        self.queue.put(Started(task.source, task.target))
        try:
            with AtomicFile(task.target, overwrite=overwrite) as stream:
                outcome = self.action(task, stream, self._reporter(task))
        except OutputExists as error:
            if overwrite or isinstance(error, TargetBusy):
                raise
            if skipped := self.action.existing(task):  # another process was faster
                return self._skipped(task, skipped)
            raise
        self.action.after(task, made=True)
        size = task.target.stat().st_size
        return FileDone(
            task.source, task.target, outcome.seconds, outcome.channels, task.size, size, outcome.elapsed,
            outcome.notes, outcome.damaged,
        )  # fmt: skip

    def _skipped(self, task: Task, skipped: FileSkipped) -> FileSkipped:
        if skipped.done:  # perhaps by a run that was interrupted before the rest
            self.action.after(task, made=False)
        return skipped

    def _reporter(self, task: Task) -> ProgressCallback:
        due = 0.0

        def report(seconds: float, total: float | None) -> None:
            nonlocal due
            if self.stop.immediate:
                raise Cancelled
            now = time.monotonic()
            if now >= due:
                due = now + _PROGRESS_INTERVAL
                self.queue.put(Progress(task.source, seconds, total))

        return report


def failure(source: Path, error: BaseException) -> FileFailed:
    """Return the event for an error: one line, whatever the error."""
    if isinstance(error, DaczError):
        reason, code = str(error), error.exit_code
    elif isinstance(error, OSError) and error.strerror:
        # The source may be innocent: the folder of the output cannot be written, say.
        other = f"{error.filename}: " if error.filename not in (None, source, str(source)) else ""
        reason, code = other + error.strerror.lower(), SOME_FAILED
    elif isinstance(error, MemoryError):
        reason, code = str(error) or "not enough memory", SOME_FAILED
    else:
        reason, code = f"internal error, please report it: {type(error).__name__}: {error}", SOME_FAILED
    prefix = f"{source}: "  # the path is a field of its own
    return FileFailed(source, " ".join(reason.removeprefix(prefix).split()), type(error).__name__, code)


class _Totals:
    def __init__(self) -> None:
        self.begin = time.monotonic()
        self.done = self.skipped = self.bytes_in = self.bytes_out = 0
        self.seconds = self.channel_seconds = 0.0
        self.failures: list[int] = []
        self.damaged = 0

    def add(self, event: Event) -> None:
        match event:
            case FileDone():
                self.done += 1
                self.damaged += event.damaged
                self.seconds += event.seconds
                self.channel_seconds += event.seconds * event.channels
                self.bytes_in += event.bytes_in
                self.bytes_out += event.bytes_out
            case FileSkipped():
                self.skipped += 1
            case FileFailed():
                self.failures.append(event.exit_code)

    def finished(self, stop: Stop, alone: bool) -> Finished:
        """Return the totals; the exit code is the error's own when there was one file only."""
        codes = self.failures + [DAMAGED] * self.damaged
        code = 0
        if codes:
            code = codes[0] if alone else SOME_FAILED
        if stop.finishing and not stop.message:
            code = INTERRUPTED
        message = stop.message or ("interrupted" if stop.finishing else "")
        elapsed = time.monotonic() - self.begin
        return Finished(
            self.done, self.skipped, len(self.failures), self.seconds, self.channel_seconds,
            self.bytes_in, self.bytes_out, elapsed, code, message,
        )  # fmt: skip
