"""What several commands share: inputs, exit codes, interrupts."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from dacfile import atomic
from dacfile.errors import DaczError, UsageError
from dacfile.events import FileFailed
from dacfile.plan import find_dacz, read_list
from dacfile.runner import INTERRUPTED, SOME_FAILED, Stop, failure
from dacz.render import complain
from dacz.streams import binary_input

PIPE = Path("-")
PATIENCE = 2.0  # seconds between "stop now" and leaving without waiting any longer

CodedFiles = Annotated[
    list[Path],
    typer.Argument(help=".dacz files, audio files, or folders of either.", show_default=False, readable=False),
]
DaczFiles = Annotated[list[Path], typer.Argument(help=".dacz files or folders.", show_default=False, readable=False)]


def expand(inputs: list[Path], codes: list[int], as_json: bool = False) -> list[Path]:
    """Return the .dacz files that are named or lie in the folders named; complain about the rest into `codes`."""
    files, problems = find_dacz(inputs)
    for problem in problems:
        complain_about(problem.path, problem.error, codes, as_json)
    if not files and not problems:
        raise UsageError("no .dacz files there")
    return files


def expand_coded(inputs: list[Path], codes: list[int]) -> list[Path]:
    """Return the .dacz and audio files that are named or lie in the folders named; complain about the rest."""
    from dacfile.coded import find_coded

    files, problems = find_coded(inputs)
    for problem in problems:
        complain_about(problem.path, problem.error, codes)
    if not files and not problems:
        raise UsageError("no .dacz or audio files there")
    return files


def complain_about(path: Path, error: DaczError | OSError, codes: list[int], as_json: bool = False) -> None:
    """Write an error about a file to stderr, with `as_json` also as an object to stdout, and note its exit code."""
    failed = failure(path, error)
    complain(path, failed.reason)
    if as_json:
        print_failure(failed)
    codes.append(failed.exit_code)


def print_failure(failed: FileFailed) -> None:
    """Print an error about a file as one line of JSON, for commands that give one object for each file."""
    print(json.dumps({"path": str(failed.source), "ok": False, "reason": failed.reason, "kind": failed.kind}))


def exit_code(failures: Sequence[int], good: int) -> int:
    """Return the exit code of a run over several files: that of the failure if there was one file, else SOME_FAILED."""
    if not failures:
        return 0
    return failures[0] if len(failures) + good == 1 else SOME_FAILED


def gather(inputs: list[Path] | None, files_from: Path | None) -> list[Path]:
    """Return the inputs of the command line and of --files-from; raises UsageError when there are none."""
    found = list(inputs or [])
    if files_from is not None:
        found += _listed(files_from)
    if not found:
        raise UsageError("no inputs: name files or folders, or - for standard input")
    if PIPE in found and len(found) > 1:
        raise UsageError("- (standard input) cannot be mixed with other inputs")
    return found


def _listed(path: Path) -> list[Path]:
    if path == PIPE:
        return read_list(os.fsdecode(binary_input().read()))
    try:
        return read_list(os.fsdecode(path.read_bytes()))
    except OSError as error:
        raise UsageError(f"{path}: {(error.strerror or str(error)).lower()}") from None


def refuse_pipe(out: Path | None) -> None:
    """Raise UsageError for an output called -, which would be taken for a file of that name."""
    if out == PIPE:
        raise UsageError("-o - (standard output) is for compress and decompress alone; give a name")


@contextmanager
def interruptible(stop: Stop) -> Iterator[None]:
    """Make Ctrl-C finish the files in flight, a second one (or SIGTERM) give them up; a third one does not wait."""
    presses = 0

    def on_interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal presses
        presses += 1 if number == signal.SIGINT else 2
        if presses == 1:
            stop.finish()
            complain(None, "finishing the files in flight; press Ctrl-C again to stop now")
        else:
            if presses == 2:
                complain(None, "stopping now")
            stop.now()
            timer = threading.Timer(PATIENCE if presses == 2 else 0.0, _leave)
            timer.daemon = True
            timer.start()

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, on_interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave() -> None:
    """End the process although threads are busy; nothing partial stays behind."""
    atomic.discard_live(leaving=True)
    os._exit(INTERRUPTED)
