"""`dacz repack`: smaller copies of .dacz files by leaving out codebooks, without decoding them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dacz.options import AsJson, DryRun, Exists, ExistsOption, Quiet


def command(
    inputs: Annotated[list[Path], typer.Argument(help=".dacz files or folders.", show_default=False)],
    out: Annotated[Path, typer.Option("-o", "--output", help="Output folder, or .dacz file for a single input.")],
    codebooks: Annotated[int, typer.Option(min=1, help="Keep the first codebooks of every channel.")],
    exists: ExistsOption = Exists.skip,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """Copy .dacz files with fewer codebooks: smaller, and what is kept decodes as before.

    Needs neither the source nor the model, and takes milliseconds.
    """
    from dacfile import batch
    from dacz import work

    settings = batch.RepackSettings(codebooks=codebooks, exists=exists.value)
    plan = batch.plan_repack(inputs, out)
    if dry_run:
        return work.dry_run(plan, settings, as_json=as_json)
    return work.run(plan, settings, jobs=0, as_json=as_json, quiet=quiet)
