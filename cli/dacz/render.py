"""Events of a batch to the outside: a live view on a terminal, plain lines elsewhere, JSON lines for programs."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TextIO

from dacfile.events import Event, FileDone, FileFailed, FileSkipped, Finished, Planned, Progress
from dacz.text import clock, escape, kbps, number, ratio, size, table

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

_JSON_PROGRESS_INTERVAL = 1.0  # seconds


class View(Protocol):
    """Something that shows events."""

    def show(self, event: Event) -> None:
        """Show one event."""

    def close(self) -> None:
        """Leave the terminal as it was."""


def follow(events: Iterable[Event], view: View) -> Finished:
    """Show all events and return the last one."""
    last: Event | None = None
    try:
        for last in events:
            view.show(last)
    finally:
        view.close()
    if not isinstance(last, Finished):
        raise RuntimeError("a batch has ended without its totals")
    return last


def choose_view(*, as_json: bool, quiet: bool, compressing: bool, out: TextIO | None = None) -> View:
    """Return the view for these options and this output."""
    out = out or sys.stdout
    if as_json:
        return JsonLines(out)
    if quiet:
        return Quiet()
    if out.isatty():
        return Live(compressing, out)
    return Plain(compressing, out)


def as_dict(event: Event) -> dict[str, object]:
    """Return an event as a JSON object: its fields, and "event" with its name in snake_case."""
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", type(event).__name__).lower()
    fields = {f.name: getattr(event, f.name) for f in dataclasses.fields(event)}
    return {"event": name} | {k: str(v) if isinstance(v, Path) else v for k, v in fields.items()}


def print_json(event: Event, out: TextIO | None = None) -> None:
    """Print an event as one line of JSON."""
    print(json.dumps(as_dict(event)), file=out or sys.stdout, flush=True)


class JsonLines:
    """One JSON object per event and line; progress at most once a second."""

    def __init__(self, out: TextIO) -> None:
        self.out = out
        self.due = 0.0

    def show(self, event: Event) -> None:
        if isinstance(event, Progress):
            now = time.monotonic()
            if now < self.due:
                return
            self.due = now + _JSON_PROGRESS_INTERVAL
        print_json(event, self.out)

    def close(self) -> None:
        pass


class Quiet:
    """Failures and damage only."""

    def show(self, event: Event) -> None:
        if isinstance(event, FileFailed):
            complain(event.source, event.reason)
        elif isinstance(event, FileDone) and event.damaged:
            complain(event.source, "; ".join(event.notes))
        elif isinstance(event, Finished) and event.message:
            complain(None, event.message)

    def close(self) -> None:
        pass


class Plain:
    """One line per file, then the totals; for logs and pipes."""

    def __init__(self, compressing: bool, out: TextIO) -> None:
        self.compressing = compressing
        self.out = out
        self.summary = Summary(compressing)

    def show(self, event: Event) -> None:
        self.summary.add(event)
        match event:
            case FileDone():
                self._line(done_line(event, self.compressing))
                for note in event.notes:
                    self._line(f"  note: {escape(note)}")
            case FileSkipped():
                self._line(f"{escape(event.source)}: skipped, {escape(event.reason)}")
            case FileFailed():
                complain(event.source, event.reason)
            case Finished():
                self._line(self.summary.text(event))

    def _line(self, text: str) -> None:
        if text:
            print(text, file=self.out, flush=True)

    def close(self) -> None:
        pass


class Live:
    """A bar with totals that is drawn again and again; the failures come at the end."""

    def __init__(self, compressing: bool, out: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self.compressing = compressing
        self.summary = Summary(compressing)
        self.console = Console(file=out, highlight=False, soft_wrap=True)
        self.bar: RichProgress = Progress(
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[status]}"), console=self.console
        )
        self.task: TaskID | None = None
        self.meter = Meter(compressing)

    def show(self, event: Event) -> None:
        self.summary.add(event)
        self.meter.add(event)
        match event:
            case Planned():
                self.task = self.bar.add_task("", total=max(event.bytes_in, 1), status="")
                self.bar.start()
            case FileDone() if event.notes:
                for note in event.notes:
                    self._print(f"{event.source.name}: {note}")
            case Finished():
                self.bar.stop()
                for failed in self.summary.failures:
                    complain(failed.source, failed.reason)
                self._print(self.summary.text(event, with_failures=False), raw=True)
        if self.task is not None and not isinstance(event, Finished):
            self.bar.update(
                self.task, description=self.meter.counts(), completed=self.meter.bytes_seen, status=self.meter.status()
            )

    def _print(self, text: str, raw: bool = False) -> None:
        self.console.print(text if raw else escape(text), markup=False)

    def close(self) -> None:
        self.bar.stop()


class Meter:
    """Running figures of a batch: what the live view shows."""

    def __init__(self, compressing: bool) -> None:
        self.compressing = compressing
        self.begin = time.monotonic()
        self.files = self.done = self.failed = self.skipped = 0
        self.bytes_all = self.bytes_seen = self.bytes_in = self.bytes_out = 0
        self.seconds = 0.0
        self.running: dict[Path, float] = {}

    def add(self, event: Event) -> None:
        match event:
            case Planned():
                self.files, self.bytes_all = event.files, event.bytes_in
            case Progress():
                self.running[event.source] = event.seconds
            case FileDone():
                self.done += 1
                self.seconds += event.seconds
                self.bytes_in += event.bytes_in
                self.bytes_out += event.bytes_out
                self._leave(event)
            case FileFailed():
                self.failed += 1
                self._leave(event)
            case FileSkipped():
                self.skipped += 1
                self._leave(event)

    def _leave(self, event: FileDone | FileFailed | FileSkipped) -> None:
        self.running.pop(event.source, None)
        self.bytes_seen += event.bytes_in

    @property
    def audio(self) -> float:
        """Seconds of audio done so far, files in flight included."""
        return self.seconds + sum(self.running.values())

    def counts(self) -> str:
        seen = self.done + self.skipped + self.failed
        failed = f", {self.failed} failed" if self.failed else ""
        return f"{seen:,}/{self.files:,} files{failed}"

    def status(self) -> str:
        elapsed = max(time.monotonic() - self.begin, 1e-3)
        parts = [f"{clock(self.audio)} of audio", f"{number(self.audio / elapsed)} x real time"]
        if self.bytes_out and self.seconds:
            parts.append(f"{size(self.bytes_in)} -> {size(self.bytes_out)}")
            if self.compressing:
                parts += [ratio(self.bytes_in, self.bytes_out), kbps(self.bytes_out * 8 / self.seconds)]
        left = self._left(elapsed)
        return ", ".join(parts + ([f"{clock(left)} left"] if left is not None else []))

    def _left(self, elapsed: float) -> float | None:
        """Return the seconds left, by what was done so far: skipped and failed files take no time."""
        if not self.bytes_in or elapsed < 1:
            return None
        return elapsed * (self.bytes_all - self.bytes_seen) / self.bytes_in


class Summary:
    """Collects what the end of a run has to say."""

    def __init__(self, compressing: bool) -> None:
        self.compressing = compressing
        self.files = 0
        self.failures: list[FileFailed] = []

    def add(self, event: Event) -> None:
        if isinstance(event, Planned):
            self.files = event.files
        elif isinstance(event, FileFailed):
            self.failures.append(event)

    def text(self, end: Finished, *, with_failures: bool = True) -> str:
        """Return the totals as a table, and the failures; nothing for a single file that was done or failed."""
        if self.files == 1 and not end.message:
            return ""
        rows: list[tuple[str, str]] = [("files", _counts(end))]
        if end.seconds:
            speed = number(end.channel_seconds / max(end.elapsed, 1e-3))
            rows += [
                ("audio", f"{clock(end.seconds)} ({clock(end.channel_seconds)} over all channels)"),
                ("time", f"{clock(end.elapsed)}, {speed} x real time over all channels"),
                ("size", self._sizes(end)),
            ]
        if end.message:
            rows.append(("stopped", end.message))
        text = table(rows, indent=2)
        if with_failures and self.failures:
            text += "\nfailed:\n" + table([(f.source, f.reason) for f in self.failures], indent=2)
        return text

    def _sizes(self, end: Finished) -> str:
        text = f"{size(end.bytes_in)} -> {size(end.bytes_out)}"
        if not self.compressing:  # perhaps a part only of each file: its bytes by these seconds are no bit rate
            return text
        return f"{text}, {ratio(end.bytes_in, end.bytes_out)}, {kbps(end.bytes_out * 8 / end.seconds)}"


def _counts(end: Finished) -> str:
    parts = [f"{end.done:,} done", f"{end.skipped:,} skipped" if end.skipped else ""]
    return ", ".join([p for p in parts if p] + ([f"{end.failed:,} failed"] if end.failed else []))


def done_line(event: FileDone, compressing: bool) -> str:
    """Return the line for a finished file: sizes, and where it was compressed its real bit rate and the speed.

    Files that are decompressed at the same time wait for each other: the speed of one says nothing.
    """
    parts = [f"{size(event.bytes_in)} -> {size(event.bytes_out)}"]
    if event.seconds and compressing:
        parts.append(kbps(event.bytes_out * 8 / event.seconds))
        parts.append(f"{number(event.seconds / max(event.elapsed, 1e-3))} x real time")
    return f"{escape(event.source)} -> {escape(event.target.name)}: " + ", ".join(parts)


def complain(source: Path | None, reason: str) -> None:
    """Write one line about a failure to stderr."""
    where = f"{escape(source)}: " if source is not None else ""
    print(f"dacz: {where}{escape(reason)}", file=sys.stderr, flush=True)
