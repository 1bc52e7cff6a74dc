"""`dacz bench`: how fast this machine is, for every installed model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dacz.options import Device, Precision
from dacz.text import number

if TYPE_CHECKING:
    from dacfile.speed import Timing

COLUMNS = ("model", "device", "encode", "decode", "entropy encode", "entropy decode", "compress", "decompress")


def command(
    source: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="Audio to use; default: a made-up chord.", show_default=False),
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="A model's name; may be given several times. Default: all installed.")
    ] = None,
    device: Device = "auto",
    precision: Precision = "auto",
    seconds: Annotated[float, typer.Option(min=0.1, help="Seconds of audio; slow models get less.")] = 30.0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per model.")] = False,
) -> int:
    """Measure how many times real time this machine codes, counted over all channels: a stereo minute is two.

    encode, decode: the network. entropy encode, entropy decode: the codes. On a CPU these four use one core.
    compress, decompress: a whole batch from files to files, one file a core.
    """
    from dacfile.model import store
    from dacfile.speed import Bench

    results = []
    for name in model or [entry.name for entry in store.list_models()]:
        bench = Bench(name, device, precision, seconds, source)
        found = {"model": bench.name, "device": bench.device, "precision": bench.precision, "seconds": bench.seconds}
        timings = list(bench.timings())
        if as_json:
            print(json.dumps({**found, "stages": {t.stage: _as_json(t) for t in timings}}), flush=True)
        results.append((found, {t.stage: t for t in timings}))
    if not as_json:
        _show(results)
    return 0


def _as_json(timing: Timing) -> dict[str, Any]:
    return {"speed": timing.speed, "audio": timing.audio, "elapsed": timing.elapsed, "cores": timing.cores}


def _show(results: list[tuple[dict[str, Any], dict[str, Timing]]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE, title="x real time over all channels", title_justify="left", padding=(0, 1, 0, 0))
    for name in COLUMNS:
        width = max(map(len, name.split()))
        table.add_column(name, justify="left" if name in COLUMNS[:2] else "right", min_width=width)
    for found, timings in results:
        speeds = [number(timings[stage].speed) if stage in timings else "-" for stage in COLUMNS[2:]]
        table.add_row(str(found["model"]), f"{found['device']} {found['precision']}", *speeds)
    Console(highlight=False).print(table)
    count = next((t.cores for _, timings in results for t in timings.values() if t.cores > 1), 1)
    print(
        f"On a CPU the first four use one core; compress and decompress are from files to files, on {count} at a time."
    )
