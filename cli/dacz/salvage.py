"""`dacz salvage`: save what is intact of a damaged file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dacz.text import clock, escape, plural

if TYPE_CHECKING:
    from dacfile.container import SalvageReport

INCOMPLETE = 3  # as for any damaged file


def command(
    file: Annotated[Path, typer.Argument(help="A damaged .dacz file.", show_default=False)],
    out: Annotated[Path, typer.Option("-o", "--output", help="The file to write.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the output if it exists.")] = False,
) -> int:
    """Write a valid copy of a damaged file: every whole block is kept, lost ones become silence.

    The damaged file is left as it is. Returns 3 when something is missing, and says what.
    """
    from dacfile.atomic import AtomicFile
    from dacfile.container import salvage

    with file.open("rb") as source, AtomicFile(out, overwrite=overwrite) as target:
        report = salvage(source, target)
    print("\n".join(_lines(out, report)))
    return 0 if report.complete else INCOMPLETE


def _lines(out: Path, report: SalvageReport) -> list[str]:
    lines = [f"{escape(out)}: {plural(report.kept, 'block')} saved, {report.tail.blocks - report.kept} lost"]
    lines += [f"  silent from {clock(gap.start)} to {clock(gap.stop)}" for gap in report.gaps]
    if report.head_was_damaged:
        lines.append("  the header was damaged; its copy was used")
    if not report.length_known:
        lines.append("  the end of the file is lost; its length is that of the blocks found")
    return lines
