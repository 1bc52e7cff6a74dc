"""Speed of everything, side by side and alternating: networks against the reference, `dacz` against Opus.

    python benchmarks/speed.py                    # about ten minutes on two free cores
    python benchmarks/speed.py --quick            # a minute: to see that it works
    python benchmarks/speed.py --device cuda      # the same, networks and dacz on the GPU

Networks: the published 44.1 kHz architecture (76.7 M parameters, random weights) as we run it, and as DacModel of
transformers runs the same weights in windows of 5 s, where that is installed; and the bundled models. Whole commands:
a folder of songs of 3 minutes and one of clips of 5 s, from FLAC to `.dacz` and back, against opusenc and opusdec
with one process a core. Speeds are seconds of one channel a second on the clock, best round. Writes speed-DEVICE.csv,
speed-DEVICE.md and speed-DEVICE.png to benchmarks/results/, and the tables into docs/performance.md unless --quick.
Needs: pip install 'dacfile[metrics]', opus-tools; transformers for the reference.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from speed_batches import Job, make_clips, make_songs, run_round
from speed_dac import REFERENCE_WINDOW, Code, in_windows, reference_model
from speed_report import Row, write_results

from dacfile.codec import Codec
from dacfile.device import resolve_device
from dacfile.installed import cores
from dacfile.model import store
from dacfile.model.dac import PUBLISHED, Dac
from dacfile.speed import Bench

ROOT = Path(__file__).resolve().parent.parent


def parse() -> argparse.Namespace:
    """Return the arguments; --quick replaces the amounts of work."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--audio", type=Path, default=ROOT / "examples", help="folder of audio to make songs of")
    parser.add_argument("--songs", type=int, default=10)
    parser.add_argument("--song-seconds", type=float, default=180.0)
    parser.add_argument("--clips", type=int, default=2000)
    parser.add_argument("--clip-seconds", type=float, default=5.0)
    parser.add_argument("--network-seconds", type=float, default=15.0)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", choices=("networks", "batches"))
    parser.add_argument("--hardware", default=f"{platform.machine()}, {cores()} cores")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    if (device := resolve_device(arguments.device)).type == "cuda":
        arguments.hardware += f", {torch.cuda.get_device_name(device)}"
    if arguments.quick:
        quick = {
            "songs": 2,
            "song_seconds": 20.0,
            "clips": 12,
            "clip_seconds": 2.0,
            "network_seconds": 1.0,
            "rounds": 1,
        }
        vars(arguments).update(quick)
    return arguments


def best_wall(functions: dict[str, Callable[[], object]], rounds: int) -> dict[str, tuple[float, float]]:
    """Run the functions alternately; return the best seconds on the clock of each, and the CPU seconds of that round.

    Each runs once before, so that nothing is measured that happens only once.
    """
    best = dict.fromkeys(functions, (float("inf"), 0.0))
    for number in range(rounds + 1):
        for name, function in functions.items():
            wall, cpu = time.perf_counter(), time.process_time()
            function()
            spent = time.perf_counter() - wall, time.process_time() - cpu
            if number:
                best[name] = min(best[name], spent)
    return best


@torch.inference_mode()
def published_network(device: str, precision: str, seconds: float, rounds: int) -> Iterator[Row]:
    """Measure the published architecture: ours and, where it is installed, the reference."""
    reference = reference_model(device)
    model = reference[0] if reference else Dac(PUBLISHED["descript-44k"]).eval()
    codec = Codec(model, device=device, precision=precision)
    hop, rate = model.facts.hop, model.facts.rate
    audio = np.random.default_rng(0).normal(0, 0.1, (round(seconds * rate / hop) * hop, 1)).astype(np.float32)
    codes = codec.encode(audio)
    encoders: dict[str, Callable[[], object]] = {"dacfile": lambda: codec.encode(audio)}
    decoders: dict[str, Callable[[], object]] = {"dacfile": lambda: codec.decode(codes)}
    if reference:
        window = int(REFERENCE_WINDOW * rate) // hop
        alike = [in_arithmetic_of(codec, function) for function in reference[1:]]
        encode, decode = in_windows(alike[0], 0, window * hop), in_windows(alike[1], 1, window)
        encoders["DacModel"], decoders["DacModel"] = lambda: encode(audio), lambda: decode(codes[0])
    for what, functions in (("encode", encoders), ("decode", decoders)):
        for tool, (wall, cpu) in best_wall(functions, rounds).items():
            yield Row("network, published 44.1 kHz", tool, what, len(audio) / rate, wall, cpu)


def in_arithmetic_of(codec: Codec, function: Code) -> Code:
    """Return a function that computes as a codec does: left alone, PyTorch has convolutions on CUDA in TF32."""

    def run(whole: np.ndarray) -> np.ndarray:
        with codec.arithmetic():
            return function(whole)

    return run


def bundled_networks(device: str, precision: str, seconds: float) -> Iterator[Row]:
    """Measure the stages of the bundled models."""
    for entry in store.list_models():
        if entry.bundled:
            bench = Bench(entry.name, device, precision, seconds)
            for timing in bench.timings():
                if timing.stage not in ("compress", "decompress"):
                    yield Row(f"stage, {entry.name}", "dacfile", timing.stage, timing.audio, timing.elapsed)


def batches(arguments: argparse.Namespace) -> Iterator[Row]:
    """Measure whole commands over both folders, alternately with Opus."""
    with tempfile.TemporaryDirectory(prefix="speed-") as name:
        folder = Path(name)
        songs = make_songs(arguments.audio, folder / "songs", arguments.songs, arguments.song_seconds)
        clips = make_clips(arguments.audio, folder / "clips", arguments.clips, arguments.clip_seconds)
        for title, source in ((f"{arguments.songs} songs", songs), (f"{arguments.clips} clips", clips)):
            best: dict[tuple[str, str], Row] = {}
            for _ in range(arguments.rounds):
                job = Job(title, source, folder / "work", arguments.device, arguments.precision)
                for row in run_round(job):
                    key = row.tool, row.what
                    best[key] = min(best.get(key, row), row, key=lambda found: found.wall)
            yield from best.values()


def main() -> None:
    """Measure, print as it goes, write the results."""
    arguments = parse()
    rows: list[Row] = []
    parts: list[Iterator[Row]] = []
    if arguments.only != "batches":
        seconds, rounds = arguments.network_seconds, arguments.rounds
        parts.append(published_network(arguments.device, arguments.precision, seconds, rounds))
        parts.append(bundled_networks(arguments.device, arguments.precision, 4 * seconds))
    if arguments.only != "networks":
        parts.append(batches(arguments))
    for part in parts:
        for row in part:
            rows.append(row)
            print(f"{row.workload:32} {row.tool:10} {row.what:16} {row.speed:8.1f} x real time", flush=True)
    stem = f"speed-{arguments.device}" + ("-quick" if arguments.quick else "")
    document = None if arguments.quick or arguments.only else ROOT / "docs" / "performance.md"
    write_results(rows, arguments.hardware, ROOT / "benchmarks" / "results", stem, document)


if __name__ == "__main__":
    main()
