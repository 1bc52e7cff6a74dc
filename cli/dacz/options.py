"""Options that `compress` and `decompress` share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Exists(StrEnum):
    """What happens when an output is there."""

    skip = "skip"
    overwrite = "overwrite"
    fail = "fail"


# readable=False: typer would refuse the whole call for one unreadable file; here that is one failure of the batch.
Inputs = Annotated[
    list[Path] | None,
    typer.Argument(help="Files, folders (searched), or - for standard input.", show_default=False, readable=False),
]
Out = Annotated[
    Path | None,
    typer.Option("-o", "--output", help="Output folder, or file for a single input, or -. Default: beside the input."),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
Precision = Annotated[str, typer.Option(help="auto, fp32, tf32 or bf16.")]
Jobs = Annotated[int, typer.Option("-j", "--jobs", min=0, help="Files worked on at the same time; 0: chosen for you.")]
CodersOption = Annotated[
    int | None,
    typer.Option(
        "--coders",
        min=0,
        help="Processes for entropy coding; 0: none, threads do it. "
        "Default: one per core on four cores or more, else 0.",
        show_default=False,
    ),
]
Bitrate = Annotated[
    float | None, typer.Option(metavar="KBPS", help="Use as many codebooks as this nominal bit rate allows.")
]
Rdo = Annotated[
    float | None,
    typer.Option(
        help="Rate-distortion optimisation: what a bit weighs; more makes files smaller and worse, 0 is off. "
        "Default: what the prior says; without a prior 0.",
        show_default=False,
    ),
]
Refine = Annotated[
    int,
    typer.Option(
        metavar="PASSES",
        min=0,
        max=1000,
        help="Improve the codes in so many passes: better sound, about the same size, slower. 1 to 20 are sensible.",
    ),
]
NoEqualiser = Annotated[
    bool,
    typer.Option("--no-equaliser", help="Leave out what corrects levels, and attacks: worse sound, a little faster."),
]
Check = Annotated[
    bool,
    typer.Option("--check", help="Skip an output only if it was made from these very samples; file times are ignored."),
]
ExistsOption = Annotated[Exists, typer.Option("--exists", help="What to do when the output is there.")]
FilesFrom = Annotated[
    Path | None, typer.Option(help="Read more inputs from this file, one a line or NUL-separated; - for stdin.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, do nothing.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object per event on standard output.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Say only what fails.")]
