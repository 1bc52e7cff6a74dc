"""Scoreboard: bundled models against Opus, MP3 and AAC, by real file sizes, on a folder of clips.

    python benchmarks/quality.py                       # everything: about an hour on two cores, then from the cache
    python benchmarks/quality.py --codec 44k:9 --codec opus:12 --quick
    python benchmarks/quality.py --rate 16000          # the 16k model and the same baselines on clips of 16 kHz

Every clip is really compressed to a file, decompressed and compared with its source after rounding to the source's
word length. Results of single clips are kept in a cache, keyed by codec (with model id and code), settings and clip.
Writes quality-clips.csv (every clip), quality.csv (means) and quality.md to benchmarks/results/, plots to docs/images/,
and the tables into docs/quality.md. Codecs that are not named keep the results they have there.
Needs: pip install 'dacfile[metrics]', opus-tools, ffmpeg.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import math
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import soundfile
import soxr
import torch
from coders import ROOT, Clip, find_codec
from scoreboard import update_document, write_report

from dacfile.quality.scores import BASIC, METRICS, measure

# Raise this when a metric changes its meaning: cached values are not used again then.
METRICS_VERSION = 1
DEFAULT_CLIPS = ROOT.parent / "shared" / "corpus" / "test"
BASELINES = (*(f"opus:{rate}" for rate in (6, 8, 12, 16, 24)), "mp3:32", "mp3:64", "aac:32", "aac:64")
# By the sample rate of the clips (None: every clip at its own): the model to judge, and how many codebooks to use.
DEPTHS = {
    None: ("44k", (1, 2, 3, 4, 5, 6, 7, 8, 9)),
    24000: ("24k", (1, 2, 4, 8, 12, 16, 24, 32)),
    16000: ("16k", (1, 2, 3, 4, 6, 8, 10, 12)),
}
# By the sample rate of the clips: passes of refinement, with all codebooks; a single one is learned in 44k and 16k.
PASSES: dict[int | None, tuple[int, ...]] = {None: (1, 10), 24000: (), 16000: (1, 10)}
FIELDS = ("codec", "category", "clip", "rate", "channels", "seconds", "bytes", "kbps_per_channel", *METRICS)
QUICK_STEP = 5
Row = dict[str, Any]


def main() -> None:
    options = parse_arguments()
    names = options.codec or default_codecs(options.rate)
    clips = find_clips(options.clips, QUICK_STEP if options.quick else 1)
    if options.rate:
        clips = resampled(clips, options.rate, ROOT / "runs" / f"quality-clips-{options.rate}")
    metrics = options.metrics.split(",") if options.metrics else list(BASIC if options.quick else METRICS)
    stem = f"quality-{options.rate}" if options.rate else "quality"
    out = options.out or (ROOT / "runs" / "quality-quick" if options.quick else ROOT / "benchmarks" / "results")
    images = out if options.quick or options.out else ROOT / "docs" / "images"
    rows = evaluate_all(names, clips, metrics, options.cache, options.jobs)
    out.mkdir(parents=True, exist_ok=True)
    table = out / f"{stem}-clips.csv"
    rows = merged(read_rows(table), rows, default_codecs(options.rate))
    write_rows(table, rows)
    write_report(rows, out, images, stem)
    if images != out:
        update_document(ROOT / "docs" / "quality.md", stem, (out / f"{stem}.md").read_text())


def default_codecs(rate: int | None) -> list[str]:
    """Return the names of the whole scoreboard for clips of this rate."""
    model, depths = DEPTHS[rate]
    return [*(f"{model}:{n}" for n in depths), *(f"{model}@{n}:{depths[-1]}" for n in PASSES[rate]), *BASELINES]


def resampled(clips: list[Path], rate: int, folder: Path) -> list[Path]:
    """Return 16-bit copies at `rate` of the clips that have at least that rate, kept in `folder`."""
    copies = []
    for path in clips:
        clip = Clip.of(path)
        if clip.rate < rate:
            continue
        copies.append(folder / clip.category / f"{path.stem}.flac")
        if not copies[-1].exists():
            copies[-1].parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(copies[-1], soxr.resample(clip.read(), clip.rate, rate), rate, subtype="PCM_16")
    return copies


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--codec",
        action="append",
        metavar="NAME:SETTING",
        help="opus:12, mp3:64, aac:32 (kbit/s per channel), 44k:9, PATH:9 (codebooks), 44k@10:9 (refined); repeatable",
    )
    parser.add_argument("--clips", type=Path, default=DEFAULT_CLIPS, help="folder of audio; sub-folders are categories")
    parser.add_argument("--out", type=Path, help="folder of the results (default: benchmarks/results)")
    parser.add_argument("--cache", type=Path, default=ROOT / "runs" / "quality-cache")
    parser.add_argument("--jobs", type=int, default=1, help="processes, of one thread each")
    parser.add_argument("--rate", type=int, choices=(16000, 24000), help="resample the clips first: for 16k and 24k")
    parser.add_argument("--metrics", help=f"some of {','.join(METRICS)}; known values of others are kept")
    parser.add_argument("--quick", action="store_true", help="every fifth clip, basic metrics, results in runs/")
    return parser.parse_args()


def find_clips(folder: Path, step: int) -> list[Path]:
    """Return every `step`-th audio file of each sub-folder."""
    if not folder.is_dir():
        raise SystemExit(f"{folder}: no such folder; name one with --clips")
    groups: dict[Path, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in {".flac", ".wav"}:
            groups.setdefault(path.parent, []).append(path)
    return [path for group in groups.values() for path in group[::step]]


def evaluate_all(names: list[str], clips: list[Path], metrics: Sequence[str], cache: Path, jobs: int) -> list[Row]:
    """Return one row per codec and clip, from the cache where it knows them; failures are reported and left out."""
    todo = [(name, find_codec(name).identity, clip, metrics, cache) for name in names for clip in clips]
    rows: list[Row] = []
    os.environ["OMP_NUM_THREADS"] = "1"
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        futures = {pool.submit(evaluate, *task): task for task in todo}
        for number, future in enumerate(as_completed(futures), 1):
            name, _, clip, _, _ = futures[future]
            try:
                rows.append(future.result())
            except Exception as error:
                print(f"\n{name} {clip.name}: {type(error).__name__}: {error}", file=sys.stderr)
            print(f"\r{number}/{len(todo)} {name} {clip.stem[:40]:40}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return rows


def evaluate(name: str, identity: str, path: Path, metrics: Sequence[str], cache: Path) -> Row:
    """Return the row of one codec and clip, adding to the cache what it does not know yet."""
    clip = Clip.of(path)
    wanted = [m for m in metrics if clip.category == "speech" or m not in ("pesq", "stoi")]
    entry = cache / f"{cache_key(identity, path)}.json"
    known: Row = json.loads(entry.read_text()) if entry.exists() else {}
    missing = [m for m in wanted if m not in known]
    if missing or not known:
        with tempfile.TemporaryDirectory() as folder:
            size, decoded = find_codec(name).run(clip, Path(folder))
        known |= {"bytes": size, **measure(clip.read(), decoded, clip.rate, missing)}
        cache.mkdir(parents=True, exist_ok=True)
        write_text(entry, json.dumps(known))
    return {**describe(name, clip, known["bytes"]), **{m: known[m] for m in METRICS if m in known}}


def cache_key(identity: str, path: Path) -> str:
    content = hashlib.sha256(path.read_bytes()).hexdigest()
    return hashlib.sha256(f"{METRICS_VERSION} {identity} {content}".encode()).hexdigest()[:32]


def describe(name: str, clip: Clip, size: int) -> Row:
    rate = size * 8 / clip.seconds / clip.channels / 1000
    label = f"{clip.category}/{clip.path.stem}"
    return {
        "codec": name,
        "category": clip.category,
        "clip": label,
        "rate": clip.rate,
        "channels": clip.channels,
        "seconds": round(clip.seconds, 3),
        "bytes": size,
        "kbps_per_channel": round(rate, 3),
    }


def merged(old: Iterable[Row], new: list[Row], names: Sequence[str]) -> list[Row]:
    """Return the new rows and those old ones whose codec was not evaluated now, in the order of `names`."""
    fresh = {row["codec"] for row in new}
    rows = [row for row in old if row["codec"] not in fresh] + new
    order = {name: i for i, name in enumerate(names)}
    return sorted(rows, key=lambda row: (order.get(row["codec"], len(order)), row["codec"], row["clip"]))


def read_rows(path: Path) -> Iterator[Row]:
    if not path.exists():
        return
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            text = {field: row[field] for field in FIELDS[:3]}
            yield text | {f: value_of(row[f]) for f in FIELDS[3:] if row[f]}


def write_rows(path: Path, rows: list[Row]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({k: text_of(v) for k, v in row.items()})


def text_of(value: object) -> object:
    if isinstance(value, float):
        return "nan" if math.isnan(value) else f"{value:.4f}"
    return value


def value_of(text: str) -> float | int:
    return int(text) if text.isdigit() else float(text)


def write_text(path: Path, text: str) -> None:
    """Write in one step: a cache entry is whole or absent."""
    part = path.with_suffix(f".{os.getpid()}")
    part.write_text(text)
    part.replace(path)


if __name__ == "__main__":
    main()
