"""`dacz compress`: audio files to .dacz."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from dacfile.errors import UsageError
from dacfile.plan import DACZ
from dacz.options import (
    AsJson,
    Bitrate,
    Check,
    CodersOption,
    Device,
    DryRun,
    Exists,
    ExistsOption,
    FilesFrom,
    Inputs,
    Jobs,
    NoEqualiser,
    Out,
    Precision,
    Quiet,
    Rdo,
    Refine,
)
from dacz.text import plural

if TYPE_CHECKING:
    from dacfile.plan import Plan


def command(
    inputs: Inputs = None,
    out: Out = None,
    model: Annotated[str, typer.Option(help="auto, a name (dacz models), or a weights file.")] = "auto",
    codebooks: Annotated[int | None, typer.Option(min=1, help="Codebooks to use: fewer are smaller and worse.")] = None,
    bitrate: Bitrate = None,
    stereo: Annotated[str, typer.Option(help="auto, lr (left/right) or ms (mid/side).")] = "auto",
    device: Device = "auto",
    precision: Precision = "auto",
    jobs: Jobs = 0,
    coders: CodersOption = None,
    exists: ExistsOption = Exists.skip,
    check: Check = False,
    files_from: FilesFrom = None,
    verify: Annotated[bool, typer.Option("--verify", help="Read back every output and decode its codes.")] = False,
    remove: Annotated[bool, typer.Option("--rm", help="Delete each source after its output was verified.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before --rm.")] = False,
    no_prior: Annotated[bool, typer.Option("--no-prior", help="Store the codes raw: larger, a little faster.")] = False,
    rdo: Rdo = None,
    refine: Refine = 0,
    no_equaliser: NoEqualiser = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """Compress audio files: song.flac becomes song.flac.dacz.

    Folders are searched and mirrored. What is done is skipped. Sources are never changed (and only deleted with --rm).
    """
    from dacfile import batch
    from dacfile.compressor import CompressOptions
    from dacz import work
    from dacz.common import gather

    settings = batch.CompressSettings(
        model=model,
        options=CompressOptions(codebooks, bitrate, stereo, equalise=not no_equaliser),
        device=device,
        precision=precision,
        prior=not no_prior,
        exists=exists.value,
        check=check,
        verify=verify,
        remove=remove,
        rdo=rdo,
        refine=refine,
        coders=coders,
    )
    sources = gather(inputs, files_from)
    if work.is_stream(sources, out):
        refused = {"--rm": remove, "--verify": verify, "--check": check, "--dry-run": dry_run, "--json": as_json}
        work.refuse_with_streams(refused)
        work.need_suffix(out, (DACZ,), (DACZ,))
        return work.stream(sources[0], out, exists.value, quiet, lambda s, t: batch.compress_stream(s, t, settings))
    plan = batch.plan_compress(sources, out)
    if dry_run:
        return work.dry_run(plan, settings, as_json=as_json)
    if remove and not yes:
        _confirm(plan)
    return work.run(plan, settings, jobs=jobs, as_json=as_json, quiet=quiet)


def _confirm(plan: Plan) -> None:
    """Ask before sources are deleted: what is left of them is lossy."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("--rm deletes the sources and .dacz is lossy: add --yes if that is meant")
    question = f"Delete {plural(len(plan.tasks), 'source file')} after compressing? .dacz is lossy. [y/N] "
    try:
        answer = input(question)
    except EOFError:  # Ctrl-D
        answer = ""
        print()
    if answer.strip().lower() not in ("y", "yes"):
        raise UsageError("nothing was done")
