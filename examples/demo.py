"""Compress the example clips, look at one, decompress them all, and print what it cost: `make demo`."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import soundfile

from dacz.text import clock, number, size, table

EXAMPLES = Path(__file__).parent
OUT = EXAMPLES.parent / "build" / "demo"
DACZ = [sys.executable, "-m", "dacz"]


def main() -> None:
    shutil.rmtree(OUT, ignore_errors=True)
    packed, back = OUT / "compressed", OUT / "decompressed"
    there = run_json("compress", EXAMPLES, "-o", packed, "--model", "44k")
    run("info", packed / "music" / "crazy_glue.flac.dacz")
    run("verify", "-q", packed)
    home = run_json("decompress", packed, "-o", back)
    print("\n" + table(rows(there, home), right=range(1, 8)))
    print(totals(there, home))
    check(back)
    print(f"\nLength, rate and channels of every file are as before. Listen: compare {EXAMPLES}/ with {back}/")


def run(*arguments: object) -> None:
    """Run one command of dacz, showing it and what it prints; stop the demo if it fails."""
    show(arguments)
    done = subprocess.run([*DACZ, *map(str, arguments)])
    if done.returncode:
        sys.exit(done.returncode)


def run_json(*arguments: object) -> list[dict[str, Any]]:
    """Run one command and return its events."""
    show(arguments)
    done = subprocess.run([*DACZ, *map(str, arguments), "--json"], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(done.returncode)
    return [json.loads(line) for line in done.stdout.splitlines()]


def show(arguments: tuple[object, ...]) -> None:
    print("\n$ dacz", *(short(argument) for argument in arguments), flush=True)


def short(argument: object) -> str:
    return str(argument.relative_to(EXAMPLES.parent)) if isinstance(argument, Path) else str(argument)


def files(events: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the finished files by the name of the source."""
    done = [event for event in events if event["event"] == "file_done"]
    return {Path(event["source"]).name.removesuffix(".dacz"): event for event in done}


def rows(there: list[dict[str, Any]], home: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Return the table: one row per clip, speeds over all channels of the clip."""
    head = ("clip", "seconds", "channels", "source", ".dacz", "to 16-bit PCM", "kbit/s", "compress", "decompress")
    found: list[tuple[str, ...]] = [head]
    decoded = files(home)
    for name, event in sorted(files(there).items()):
        pcm = 2 * event["channels"] * soundfile.info(event["source"]).frames
        audio = event["seconds"] * event["channels"]
        found.append(
            (
                name,
                f"{event['seconds']:.1f}",
                str(event["channels"]),
                size(event["bytes_in"]),
                size(event["bytes_out"]),
                f"{pcm / event['bytes_out']:.0f} : 1",
                f"{event['bytes_out'] * 8 / event['seconds'] / 1000:.2f}",
                f"{number(audio / event['elapsed'])} x",
                f"{number(audio / decoded[name]['elapsed'])} x",
            )
        )
    return found


def totals(there: list[dict[str, Any]], home: list[dict[str, Any]]) -> str:
    """Return the last lines: everything, start-up and loading of the model included."""
    lines = []
    for word, end in (("compressing", there[-1]), ("decompressing", home[-1])):
        speed = number(end["channel_seconds"] / end["elapsed"])
        lines.append(
            f"{word}: {clock(end['seconds'])} of audio, {size(end['bytes_in'])} -> {size(end['bytes_out'])}, "
            f"{end['elapsed']:.1f} s with loading the model, {speed} x real time over all channels"
        )
    return "\n".join(lines)


def check(back: Path) -> None:
    """Stop with a message unless every clip came back with its length, rate and channels."""
    for path in back.rglob("*.*"):
        before, after = soundfile.info(EXAMPLES / path.relative_to(back)), soundfile.info(path)
        facts = [(i.frames, i.samplerate, i.channels) for i in (before, after)]
        if facts[0] != facts[1]:
            sys.exit(f"{path}: came back as {facts[1]}, was {facts[0]}")


if __name__ == "__main__":
    main()
