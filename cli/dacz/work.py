"""Run a planned batch for a command: jobs, interrupts, views; and single streams from or to pipes."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import BinaryIO

from dacfile import batch
from dacfile.atomic import AtomicFile
from dacfile.batch import DecompressSettings, Settings
from dacfile.errors import OutputExists, UsageError
from dacfile.events import FileFailed, FileSkipped, Finished, Started
from dacfile.plan import Plan
from dacfile.runner import DAMAGED, SOME_FAILED, Outcome, Stop
from dacz.common import PIPE, interruptible
from dacz.render import choose_view, complain, follow, print_json
from dacz.streams import binary_input, binary_output
from dacz.text import escape

StreamWork = Callable[[BinaryIO | Path, BinaryIO], Outcome]


def run(plan: Plan, settings: Settings, *, jobs: int, as_json: bool, quiet: bool) -> int:
    """Do the work of a plan and show it; return the exit code."""
    return process(plan, settings, jobs=jobs, as_json=as_json, quiet=quiet).exit_code


def process(plan: Plan, settings: Settings, *, jobs: int, as_json: bool, quiet: bool) -> Finished:
    """Do the work of a plan and show it; return the last event, whose message says whether it was stopped early."""
    stop = Stop()
    events = batch.process(plan, settings, jobs=jobs, stop=stop)
    view = choose_view(as_json=as_json, quiet=quiet, compressing=not isinstance(settings, DecompressSettings))
    with interruptible(stop):
        return follow(events, view)


def dry_run(plan: Plan, settings: Settings, *, as_json: bool) -> int:
    """Print what a run would do; return 0, or 2 when something would fail."""
    code = 0
    for event in batch.preview(plan, settings):
        code = SOME_FAILED if isinstance(event, FileFailed) else code
        match event:
            case _ if as_json:
                print_json(event)
            case Started():
                print(f"{escape(event.source)} -> {escape(event.target)}")
            case FileSkipped():
                print(f"{escape(event.source)}: skipped, {escape(event.reason)}")
            case FileFailed():
                complain(event.source, event.reason)
    return code


def need_suffix(out: Path | None, suffixes: Collection[str], examples: Iterable[str]) -> None:
    """Raise UsageError when `out` is a folder, or a file with none of the suffixes, of which `examples` are told."""
    if out is None or out == PIPE:
        return
    if out.is_dir() or out.suffix.lower() not in suffixes:
        raise UsageError(f"{out}: the output of standard input needs a file name ending in {' or '.join(examples)}")


def stream(source: Path, out: Path | None, exists: str, quiet: bool, work: StreamWork) -> int:
    """Run `work(source, target)` where one of both is a pipe, with its notes on standard error; return an exit code.

    Raises UsageError for binary data to a terminal, and for standard input or output that is closed.
    """
    outcome = _piped(source, out, exists, work)
    for note in outcome.notes if outcome.damaged or not quiet else ():
        complain(None, f"note: {note}")
    return DAMAGED if outcome.damaged else 0


def _piped(source: Path, out: Path | None, exists: str, work: StreamWork) -> Outcome:
    stdin: BinaryIO | Path = binary_input() if source == PIPE else source
    if out is None or out == PIPE:
        stdout = binary_output()
        outcome = work(stdin, stdout)
        stdout.flush()
        return outcome
    if exists != "overwrite" and os.path.lexists(out):
        raise OutputExists(f"{out}: exists already; use --exists overwrite to replace it")
    with AtomicFile(out, overwrite=exists == "overwrite") as target:
        return work(stdin, target)


def refuse_with_streams(options: dict[str, bool]) -> None:
    """Raise UsageError for an option that was given and cannot be heeded where input or output is a pipe."""
    for name, given in options.items():
        if given:
            raise UsageError(f"{name} cannot be used with standard input or output")


def is_stream(inputs: list[Path], out: Path | None) -> bool:
    """Say whether a call reads or writes a pipe; raises UsageError when it cannot."""
    if out == PIPE and (len(inputs) != 1 or inputs[0].is_dir()):
        raise UsageError("-o - (standard output) takes a single input file")
    return out == PIPE or inputs == [PIPE]
