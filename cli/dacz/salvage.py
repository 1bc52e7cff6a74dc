"""`dacz salvage`: save what is intact of a damaged file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dacfile.errors import DaczError, UsageError
from dacfile.runner import DAMAGED, failure
from dacz.common import print_failure, refuse_pipe
from dacz.options import AsJson, Quiet
from dacz.text import escape, plural

if TYPE_CHECKING:
    from dacfile.container import SalvageReport


def command(
    file: Annotated[Path, typer.Argument(help="A damaged .dacz file.", show_default=False)],
    out: Annotated[Path, typer.Option("-o", "--output", help="The file to write.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the output if it exists.")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """Write a valid copy of a damaged file: every whole block is kept, lost ones become silence.

    The damaged file is left as it is. Needs neither model nor prior. Returns 3 when audio is missing, and says which;
    also when another file follows, of which nothing is used.
    """
    refuse_pipe(out)
    try:
        report = _salvage(file, out, overwrite)
    except (DaczError, OSError) as error:
        if as_json:
            print_failure(failure(file, error))
        raise
    if as_json:
        print(json.dumps(_as_dict(file, out, report)))
    elif not quiet or not report.complete:
        print("\n".join(_lines(out, report)))
    return 0 if report.complete else DAMAGED


def _salvage(file: Path, out: Path, overwrite: bool) -> SalvageReport:
    from dacfile.atomic import AtomicFile
    from dacfile.container import salvage

    with file.open("rb") as source:
        if out.exists() and os.path.samefile(file, out):
            raise UsageError(f"{out}: is the damaged file itself; give another name")
        with AtomicFile(out, overwrite=overwrite) as target:
            return salvage(source, target)


def _lines(out: Path, report: SalvageReport) -> list[str]:
    lost = report.tail.blocks - report.kept
    first = f"{escape(out)}: {plural(report.kept, 'block')} saved, {lost} lost"
    if report.gaps:
        silent = sum(gap.stop - gap.start for gap in report.gaps)
        first += f", {silent:.3f} s of {report.tail.source_samples / report.head.source_rate:.3f} s are silent"
    return [first, *(f"  {note}" for note in report.notes)]


def _as_dict(file: Path, out: Path, report: SalvageReport) -> dict[str, object]:
    return {
        "path": str(file),
        "ok": True,
        "output": str(out),
        "complete": report.complete,
        "blocks": report.tail.blocks,
        "kept": report.kept,
        "seconds": report.tail.source_samples / report.head.source_rate,
        "length_known": report.length_known,
        "head_was_damaged": report.head_was_damaged,
        "start": report.start,
        "stop": report.stop,
        "gaps": [
            {"start": gap.start, "stop": gap.stop, "first_block": gap.first_block, "blocks": gap.blocks}
            for gap in report.gaps
        ],
    }
