"""`dacz repack`: other .dacz files of the same codes: fewer codebooks, or another prior."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dacz.common import DaczFiles, refuse_pipe
from dacz.options import AsJson, DryRun, Exists, ExistsOption, Quiet


def command(
    inputs: DaczFiles,
    codebooks: Annotated[int | None, typer.Option(min=1, help="Keep the first codebooks of every channel.")] = None,
    prior: Annotated[
        str | None, typer.Option(help="Recode without loss: name, id or file of a prior, or bundled, or none.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--output", help="Output folder, or .dacz file for a single input.")
    ] = None,
    in_place: Annotated[bool, typer.Option("--in-place", help="Replace the files; there is no undo.")] = False,
    exists: ExistsOption = Exists.skip,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """Make .dacz files smaller by leaving out codebooks, or recode the same codes with another prior.

    What is kept decodes as before. Needs neither the source nor the model; leaving out codebooks takes milliseconds.
    Every output is read back before it gets its name; with --prior, the checksums of all codes must be the same.
    """
    from dacfile.errors import UsageError
    from dacfile.repack import RecodeSettings, RepackSettings, plan_repack
    from dacz import work

    if in_place == (out is not None):
        raise UsageError("give either an output with -o, or --in-place to replace the files themselves")
    refuse_pipe(out)
    settings: RepackSettings | RecodeSettings
    if codebooks is not None and prior is None:
        settings = RepackSettings(codebooks=codebooks, exists=exists.value, in_place=in_place)
    elif prior is not None and codebooks is None:
        settings = RecodeSettings(prior=prior, exists=exists.value, in_place=in_place)
    else:
        raise UsageError("give either --codebooks or --prior, one of them")
    plan = plan_repack(inputs, out)
    if dry_run:
        return work.dry_run(plan, settings, as_json=as_json)
    return work.run(plan, settings, jobs=0, as_json=as_json, quiet=quiet)
