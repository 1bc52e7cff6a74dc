"""Smaller `.dacz` files by leaving out layers: no model, no prior, no decoding."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from dacfile.container import Reader, drop_layers, verify_structure
from dacfile.errors import OutputExists
from dacfile.events import FileSkipped, ProgressCallback
from dacfile.plan import Plan, Problem, Task, find_dacz, make_plan, repack_rules
from dacfile.runner import Outcome


@dataclass(frozen=True)
class RepackSettings:
    """How to repack: keep the first `codebooks` layers; exists: "skip" leaves any output that is there.

    in_place: the plan has no outputs, files are replaced; those without more layers are left as they are.
    """

    codebooks: int
    exists: str = "skip"
    in_place: bool = False


@dataclass(frozen=True)
class RecodeSettings:
    """How to recode: `prior` is "none", "bundled", or a name, id or path; exists and in_place as `RepackSettings`."""

    prior: str
    exists: str = "skip"
    in_place: bool = False


def plan_repack(inputs: Sequence[Path], out: Path | None) -> Plan:
    """Return what a repacking would look at; without `out` every file is replaced in place.

    Raises UsageError for impossible outputs.
    """
    if out is not None:
        return make_plan(inputs, out, repack_rules())
    paths, problems = find_dacz(inputs)
    plan = Plan(problems=problems)
    targets = {path.resolve(): path for path in reversed(paths)}  # links stay links; a file with two names is done once
    for target, path in reversed(targets.items()):
        try:
            plan.tasks.append(Task(path, target, path.stat().st_size))
        except OSError as error:  # gone since it was found
            plan.problems.append(Problem(path, error))
    return plan


class Repack:
    """The action of a repacking."""

    def __init__(self, settings: RepackSettings) -> None:
        self.settings = settings

    def existing(self, task: Task) -> FileSkipped | None:
        """Return why an output that is there stays; in place it is the source itself."""
        if not self.settings.in_place:
            refuse_itself(task)
            return self._kept(task, existing_output(task, self.settings.exists))
        if deepest_layer(task.source) > self.settings.codebooks:
            return None
        return FileSkipped(task.source, f"has no more than {self.settings.codebooks} codebooks", done=True)

    def _kept(self, task: Task, skipped: FileSkipped | None) -> FileSkipped | None:
        """Say so when an output that stays holds more than what was asked for."""
        wanted = self.settings.codebooks
        if skipped is None or deepest_layer(task.target, wanted + 1) <= wanted:
            return skipped
        reason = f"{task.target.name} exists, with more than {wanted} codebooks; --exists overwrite makes it anew"
        return FileSkipped(task.source, reason)

    def __call__(self, task: Task, stream: BinaryIO, progress: ProgressCallback) -> Outcome:
        """Write the smaller file and read it back: the source may be about to be replaced."""
        begin = time.monotonic()
        tail = drop_layers(task.source, stream, self.settings.codebooks)
        stream.flush()
        head = verify_structure(stream).head
        copy_mode(task.source, stream)
        return Outcome(tail.source_samples / head.source_rate, head.channels, time.monotonic() - begin)

    def after(self, task: Task, made: bool) -> None:
        """Nothing is left to do."""


def refuse_itself(task: Task) -> None:
    """Raise OutputExists when the output is the source under another name."""
    if task.target.exists() and os.path.samefile(task.source, task.target):
        raise OutputExists(f"{task.target} is the file itself; repack it in place, or give another folder")


def existing_output(task: Task, exists: str) -> FileSkipped | None:
    """Return why an output stays of which only counts that it exists; None: it may be replaced. Raises OutputExists."""
    if exists == "overwrite":
        return None
    if exists == "fail":
        raise OutputExists(f"{task.target} exists already")
    refuse_dangling(task.target)
    return FileSkipped(task.source, f"{task.target.name} exists", done=True)


def refuse_dangling(target: Path) -> None:
    """Raise OutputExists for a link to nothing: the output may lie on a disk that is not there now, or nowhere."""
    if target.is_symlink() and not target.exists():
        raise OutputExists(f"{target} is a link to nothing; --exists overwrite replaces the link")


def deepest_layer(path: Path, enough: int | None = None) -> int:
    """Return the largest number of layers of any channel and block; 0 for silence.

    Reads and checks the whole file, or what it takes to find `enough` layers.
    """
    return max(channel_depths(path, enough))


def channel_depths(path: Path, enough: int | None = None) -> list[int]:
    """Return, channel by channel, the largest number of layers of any block; 0 for silence.

    Reads and checks the whole file, or what it takes to find `enough` layers in any channel.
    """
    with Reader(path) as reader:
        depths = [0] * reader.head.channels
        for block in reader.blocks():
            depths = [max(depth, len(channel.layers)) for depth, channel in zip(depths, block.channels, strict=True)]
            if enough is not None and max(depths) >= enough:
                break
    return depths


def copy_mode(source: Path, stream: BinaryIO) -> None:
    """Give an output the permissions of its source."""
    if hasattr(os, "fchmod"):
        os.fchmod(stream.fileno(), stat.S_IMODE(source.stat().st_mode))
