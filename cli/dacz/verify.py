"""`dacz verify`: prove that files are what was written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

from dacfile.errors import DaczError, UsageError
from dacfile.verification import Verification, verify_file
from dacz.common import DaczFiles, complain_about, exit_code, expand
from dacz.text import clock, escape, plural


def command(
    files: DaczFiles,
    deep: bool = typer.Option(False, "--deep", help="Decode the audio too; needs the model."),
    source: Path | None = typer.Option(
        None, help="With --deep, for a single file: the audio file that it was made from, to compare with."
    ),
    as_json: bool = typer.Option(False, "--json", help="One JSON object per file."),
    quiet: bool = typer.Option(False, "-q", "--quiet", help="Say only what is wrong."),
) -> int:
    """Check .dacz files: structure, every checksum, the SHA-256, and that the codes are those that were encoded.

    Folders are searched for .dacz files.
    """
    codes: list[int] = []
    good = 0
    checks: tuple[str, ...] = ()
    if source is not None and not deep:
        raise UsageError("--source compares decoded audio: give --deep too")
    if source is not None and not source.is_file():
        raise UsageError(f"{source}: no such file")
    check = _deep_check(source) if deep else verify_file
    paths = expand(files, codes, as_json)
    if source is not None and len(paths) > 1:
        raise UsageError("--source belongs to one file: name only that one")
    for path in paths:
        try:
            result = check(path)
        except (DaczError, OSError) as error:
            complain_about(path, error, codes, as_json)
            continue
        good += 1
        if as_json:
            print(json.dumps(_as_dict(path, result)))
        elif not quiet:
            print(f"{escape(path)}: ok, {clock(result.seconds)} in {plural(result.blocks, 'block')}")
            checks = checks or result.checks
    if checks:
        print("checked: " + "; ".join(checks))
    return exit_code(codes, good)


def _deep_check(source: Path | None) -> Callable[[Path], Verification]:
    from dacfile.deep import verify_deep
    from dacfile.installed import Codecs

    codecs = Codecs()
    return lambda path: verify_deep(path, codecs, source)


def _as_dict(path: Path, result: Verification) -> dict[str, Any]:
    return {
        "path": str(path),
        "ok": True,
        "blocks": result.blocks,
        "codes": result.codes,
        "seconds": result.seconds,
        "checks": list(result.checks),
    }
