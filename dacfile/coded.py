"""Codes to learn or judge priors by: of `.dacz` files as they are, of audio files as compressing gives them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from dacfile.errors import ModelNotFound
from dacfile.plan import DACZ, Problem, compress_rules, find_dacz, make_plan
from dacfile.spool import spool

if TYPE_CHECKING:
    from dacfile.stream import WindowCodec


def find_coded(inputs: Sequence[Path]) -> tuple[list[Path], list[Problem]]:
    """Return the `.dacz` and audio files that are named or lie below the folders named, and what cannot be looked at.

    An audio file whose `.dacz` is among them is left out: its codes would count twice.
    """
    named = [path for path in inputs if path.is_dir() or is_dacz(path)]
    files, problems = find_dacz(named) if named else ([], [])
    others = [path for path in inputs if not is_dacz(path) or path.is_dir()]
    plan = make_plan(others, None, compress_rules())
    taken = set(files)
    files += [task.source for task in plan.tasks if task.target not in taken]
    return files, problems + [p for p in plan.problems if p.path not in {problem.path for problem in problems}]


def is_dacz(path: Path) -> bool:
    """Say whether a file is taken for a `.dacz` file, by its name."""
    return path.name.lower().endswith(DACZ)


@contextmanager
def open_coded(path: Path, codec: WindowCodec | None) -> Iterator[Path | BinaryIO]:
    """Give a `.dacz` file's path, or an audio file compressed by `codec` with raw codes.

    Raises what compressing does, ModelNotFound for audio when there is no codec.
    """
    if is_dacz(path):
        yield path
        return
    if codec is None:
        raise ModelNotFound(f"{path}: audio needs a model to be coded with; name it with --model")
    from dacfile.compressor import compress_file

    with spool() as stream:
        compress_file(path, stream, codec)
        stream.seek(0)
        yield stream
