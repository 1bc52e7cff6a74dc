"""`dacz decompress`: .dacz to audio files."""

from __future__ import annotations

from typing import Annotated

import typer

from dacz.options import (
    AsJson,
    CodersOption,
    Device,
    DryRun,
    Exists,
    ExistsOption,
    FilesFrom,
    Inputs,
    Jobs,
    Out,
    Precision,
    Quiet,
)


def command(
    inputs: Inputs = None,
    out: Out = None,
    wanted: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="wav, flac, aiff, w64 or caf; default: as the output is called, else as the source, else wav.",
        ),
    ] = None,
    codebooks: Annotated[int | None, typer.Option(min=1, help="Use only the first codebooks.")] = None,
    start: Annotated[float, typer.Option(min=0, help="Begin at this second.")] = 0.0,
    duration: Annotated[float | None, typer.Option(min=0, help="Decode this many seconds.")] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Decode what is intact of damaged files; what is lost becomes silence.")
    ] = False,
    device: Device = "auto",
    precision: Precision = "auto",
    jobs: Jobs = 0,
    coders: CodersOption = None,
    exists: ExistsOption = Exists.skip,
    files_from: FilesFrom = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """Decompress .dacz files: song.flac.dacz becomes song.flac, song.mp3.dacz becomes song.mp3.wav.

    Folders are searched and their tree is mirrored. Length, rate and channels are those of the source.
    """
    from dacfile import batch
    from dacfile.audio.writer import SUFFIXES
    from dacfile.decompressor import DecompressOptions
    from dacfile.plan import AUDIO_SUFFIXES
    from dacz import work
    from dacz.common import PIPE, gather

    options = DecompressOptions(codebooks=codebooks, start=start, duration=duration, format=wanted, force=force)
    settings = batch.DecompressSettings(
        options=options, device=device, precision=precision, exists=exists.value, coders=coders
    )
    sources = gather(inputs, files_from)
    if work.is_stream(sources, out):
        work.refuse_with_streams({"--dry-run": dry_run, "--json": as_json})
        work.need_suffix(out, AUDIO_SUFFIXES, SUFFIXES.values())
        name = out if out != PIPE else None
        return work.stream(
            sources[0], out, exists.value, quiet, lambda s, t: batch.decompress_stream(s, t, settings, name)
        )
    plan = batch.plan_decompress(sources, out, wanted, force)
    if dry_run:
        return work.dry_run(plan, settings, as_json=as_json)
    return work.run(plan, settings, jobs=jobs, as_json=as_json, quiet=quiet)
