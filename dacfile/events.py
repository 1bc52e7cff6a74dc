"""What a batch tells its caller while it runs: plain data, for a live view, plain lines or JSON alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# Called with the seconds of audio done, and those in all if known.
ProgressCallback = Callable[[float, float | None], None]


@dataclass(frozen=True)
class Planned:
    """The work is known: `files` of `bytes_in` bytes to look at. Always the first event."""

    files: int
    bytes_in: int


@dataclass(frozen=True)
class Started:
    """Work on a file has begun."""

    source: Path
    target: Path


@dataclass(frozen=True)
class Progress:
    """A file is being worked on: `seconds` of its audio are done, of `total` (None when it is not known)."""

    source: Path
    seconds: float
    total: float | None


@dataclass(frozen=True)
class FileDone:
    """A file is complete under its final name. `seconds` is audio, `elapsed` is wall-clock time.

    `damaged` says that something was lost of the input, and silence put in its place; `notes` tell what.
    """

    source: Path
    target: Path
    seconds: float
    channels: int
    bytes_in: int
    bytes_out: int
    elapsed: float
    notes: tuple[str, ...] = ()
    damaged: bool = False


@dataclass(frozen=True)
class FileSkipped:
    """Nothing was done for a file, on purpose; `done` says that its output is there from an earlier run.

    `bytes_in` is 0 for what was left out before anything was planned for it.
    """

    source: Path
    reason: str
    done: bool = False
    bytes_in: int = 0


@dataclass(frozen=True)
class FileFailed:
    """A file could not be done; `kind` is the class of the error, `exit_code` what it alone would return.

    `bytes_in` as in `FileSkipped`.
    """

    source: Path
    reason: str
    kind: str
    exit_code: int
    bytes_in: int = 0


@dataclass(frozen=True)
class Finished:
    """The last event: totals. `message` says why the batch stopped early, if it did."""

    done: int
    skipped: int
    failed: int
    seconds: float
    channel_seconds: float
    bytes_in: int
    bytes_out: int
    elapsed: float
    exit_code: int
    message: str = ""


Event = Planned | Started | Progress | FileDone | FileSkipped | FileFailed | Finished
