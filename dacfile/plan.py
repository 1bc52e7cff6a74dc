"""From what was asked for to a list of files: walk folders, name the outputs, find collisions before writing.

Rules. Folders are walked in sorted order; a folder reached twice (links, loops) is walked once. The output tree
mirrors the input tree, counted from the deepest folder that all inputs share, so nothing is ever flattened. Without an
output folder a file's output lies beside it. What is not a regular file is left out with a note within folders, and is
a problem where it was named. An output folder inside an input folder is not walked.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dacfile.atomic import PREFIX
from dacfile.errors import DaczError, UsageError

DACZ = ".dacz"

# What a walk takes for audio. A file that is named explicitly is tried whatever its name says.
AUDIO_SUFFIXES = frozenset(
    ".wav .wave .w64 .rf64 .bwf .flac .aif .aiff .aifc .caf .au .snd .ogg .oga .opus .mp3 .mp2 .voc .sd2 .avr .pvf "
    ".paf .sf .m4a .m4b .mp4 .aac .alac .wma .ape .wv .mka .webm .mpc .tta .amr .ac3".split()
)

# Resource forks that macOS leaves on foreign file systems: they carry the name of the audio file, not its contents.
_APPLE_DOUBLE = "._"
IRREGULAR = "not a regular file"


@dataclass(frozen=True)
class Task:
    """One file to make: `source` becomes `target`; `size` is the source's in bytes."""

    source: Path
    target: Path
    size: int


@dataclass(frozen=True)
class Note:
    """Something that was left out on purpose, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Problem:
    """Something that was asked for and cannot be done."""

    path: Path
    error: DaczError | OSError


@dataclass(frozen=True)
class Rules:
    """How one direction names its files.

    accept: whether a walk takes a file of this name; rename: the output's name, may raise DaczError; names_a_file:
    whether an output path means a file and not a folder (only asked for a single input file); refuse: a reason to
    leave out a file even when it is named explicitly, or None.
    """

    accept: Callable[[str], bool]
    rename: Callable[[Path], str]
    names_a_file: Callable[[Path], bool]
    refuse: Callable[[str], str | None] = lambda name: None


@dataclass
class Plan:
    """What a run will do: files to make, files left out on purpose, inputs that cannot be done."""

    tasks: list[Task] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Bytes of all sources."""
        return sum(task.size for task in self.tasks)


def make_plan(inputs: Sequence[Path], out: Path | None, rules: Rules) -> Plan:
    """Return the files to make for `inputs` (files and folders) under `out`, or beside the inputs when it is None.

    Missing, unreadable and nameless inputs become problems of the plan. Raises UsageError when two sources would get
    the same output, or an output is itself a source.
    """
    plan = Plan()
    target_of = _naming(inputs, out, rules)
    for source, size in _Walk(plan, rules, out).files(inputs):
        try:
            plan.tasks.append(Task(source, target_of(source), size))
        except (DaczError, OSError) as error:
            plan.problems.append(Problem(source, error))
    _check_collisions(plan)
    return plan


def _naming(inputs: Sequence[Path], out: Path | None, rules: Rules) -> Callable[[Path], Path]:
    if out is None:
        return lambda source: source.with_name(rules.rename(source))
    if not out.is_dir():
        alone = len(inputs) == 1 and not inputs[0].is_dir()
        if alone and rules.names_a_file(out):
            return lambda source: out
        if rules.names_a_file(out):
            raise UsageError(f"{out}: the name of a file, for several; make it a folder first if that is meant")
        if out.exists():
            raise UsageError(f"{out}: exists and is not a folder, nor has it the name of such an output")
    base = _common_folder(inputs)
    return lambda source: (out / _relative(source, base)).with_name(rules.rename(source))


def _common_folder(inputs: Sequence[Path]) -> str:
    folders = [os.path.abspath(p if p.is_dir() else p.parent) for p in inputs]
    try:
        return os.path.commonpath(folders) if folders else os.curdir
    except ValueError as error:  # different drives
        raise UsageError(f"the inputs have no folder in common ({error}); compress them one after the other") from None


def _relative(source: Path, base: str) -> Path:
    return Path(os.path.relpath(os.path.abspath(source), base))


class _Walk:
    """Regular files below the inputs, sorted, each folder once; notes and problems go to the plan."""

    def __init__(self, plan: Plan, rules: Rules, out: Path | None) -> None:
        self.plan = plan
        self.rules = rules
        self.out = _identity(out) if out is not None else None
        self.seen_folders: set[tuple[int, int]] = set()
        self.seen_files: set[str] = set()

    def files(self, inputs: Iterable[Path]) -> Iterator[tuple[Path, int]]:
        """Yield (path, size in bytes) of every file to work on."""
        for path in inputs:
            try:
                info = path.stat()
            except FileNotFoundError:
                self._fail(path, UsageError(f"{path}: no such file or folder"))
            except OSError as error:
                self._fail(path, error)
            else:
                if stat.S_ISDIR(info.st_mode):
                    yield from self._folder(path)
                elif stat.S_ISREG(info.st_mode):
                    yield from self._file(path, info.st_size)
                else:
                    self._fail(path, UsageError(f"{path}: {IRREGULAR}; save its contents as one first"))

    def _folder(self, top: Path) -> Iterator[tuple[Path, int]]:
        pending, linked = [top], list[Path]()
        while pending or linked:
            # Links last, so that a folder keeps its own name when a link leads to it too.
            folder = (pending or linked).pop()
            identity = _identity(folder)
            if identity is not None:  # else reading it will tell why
                if identity in self.seen_folders or (identity == self.out and folder is not top):
                    continue
                self.seen_folders.add(identity)
            try:
                entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
            except OSError as error:
                self._fail(folder, error)
                continue
            for entry in reversed(entries):
                if _is_folder(entry):
                    (linked if entry.is_symlink() else pending).append(folder / entry.name)
            for entry in entries:
                if not _is_folder(entry) and self._wanted(entry.name):
                    yield from self._entry(folder / entry.name)

    def _wanted(self, name: str) -> bool:
        return self.rules.accept(name) and not name.startswith((PREFIX, _APPLE_DOUBLE))

    def _entry(self, path: Path) -> Iterator[tuple[Path, int]]:
        try:
            info = path.stat()
        except FileNotFoundError:
            self._note(path, "a link to nothing")
        except OSError as error:
            self._fail(path, error)
        else:
            if stat.S_ISREG(info.st_mode):
                yield from self._file(path, info.st_size)
            else:
                self._note(path, IRREGULAR)

    def _file(self, path: Path, size: int) -> Iterator[tuple[Path, int]]:
        if reason := self.rules.refuse(path.name):
            self._note(path, reason)
            return
        key = os.path.abspath(path)
        if key not in self.seen_files:
            self.seen_files.add(key)
            yield path, size

    def _note(self, path: Path, reason: str) -> None:
        self.plan.notes.append(Note(path, reason))

    def _fail(self, path: Path, error: DaczError | OSError) -> None:
        self.plan.problems.append(Problem(path, error))


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        info = path.stat()
    except OSError:
        return None
    return info.st_dev, info.st_ino


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _check_collisions(plan: Plan) -> None:
    sources = {os.path.abspath(task.source) for task in plan.tasks}
    targets: dict[str, Path] = {}
    for task in plan.tasks:
        key = os.path.normcase(os.path.abspath(task.target))
        other = targets.setdefault(key, task.source)
        if other is not task.source:
            raise UsageError(f"{other} and {task.source} would both become {task.target}; nothing was done")
        if key in sources:
            raise UsageError(f"the output of {task.source} would replace {task.target}, an input; nothing was done")


def find_dacz(inputs: Sequence[Path]) -> tuple[list[Path], list[Problem]]:
    """Return the `.dacz` files that are named or lie below the folders named, and what could not be looked at."""
    plan = Plan()
    rules = decompress_rules(lambda path: "")
    return [path for path, _ in _Walk(plan, rules, None).files(inputs)], plan.problems


def read_list(text: str) -> list[Path]:
    """Return the paths of a list of files: one a line, empty lines left out; NUL as separator when there is one."""
    # str.splitlines would also split at characters that names may hold, such as U+2028.
    parts = text.split("\0") if "\0" in text else re.split(r"\r?\n", text)
    return [Path(part) for part in parts if part]


def compress_rules() -> Rules:
    """Return the rules for audio files -> `.dacz`: the suffix is appended, so `a.wav` and `a.flac` never collide."""
    return Rules(
        accept=lambda name: os.path.splitext(name)[1].lower() in AUDIO_SUFFIXES,
        rename=lambda path: path.name + DACZ,
        names_a_file=lambda out: out.suffix.lower() == DACZ,
        refuse=lambda name: "is a .dacz file already" if name.lower().endswith(DACZ) else None,
    )


def decompress_rules(container_of: Callable[[Path], str]) -> Rules:
    """Return the rules for `.dacz` -> audio files.

    container_of: the suffix (with dot) of the format that a file will be written in. `song.flac.dacz` becomes
    `song.flac` when that is the suffix, else the suffix is appended: `song.mp3.dacz` -> `song.mp3.wav`.
    """

    def rename(path: Path) -> str:
        stem = path.name[: -len(DACZ)] if path.name.lower().endswith(DACZ) else path.name
        suffix = container_of(path)
        return stem if _same_format(os.path.splitext(stem)[1].lower(), suffix) else stem + suffix

    return Rules(
        accept=lambda name: name.lower().endswith(DACZ),
        rename=rename,
        names_a_file=lambda out: out.suffix.lower() in AUDIO_SUFFIXES,
    )


def repack_rules() -> Rules:
    """Return the rules for `.dacz` -> `.dacz` of the same name elsewhere."""
    return Rules(
        accept=lambda name: name.lower().endswith(DACZ),
        rename=lambda path: path.name,
        names_a_file=lambda out: out.suffix.lower() == DACZ,
    )


_SAME_FORMAT = ({".wav", ".wave", ".bwf"}, {".aif", ".aiff"})


def _same_format(left: str, right: str) -> bool:
    return left == right or any(left in group and right in group for group in _SAME_FORMAT)
