"""Hard cases for any transform codec, made by formula: attacks, pure tones, sweeps, fades, silence, faint noise.

    python benchmarks/hard_cases.py --codec 44k:9 --codec opus:12

Writes the clips to runs/hard-cases/ (they are the same on every machine), codes each, and writes a table of
distances and of three artefacts (see `artefacts.py`) to benchmarks/results/hard-cases.md, with spectrograms in
docs/images/. The means of this set say nothing; what matters is the worst line.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
import torch
from artefacts import floor_in_silence, level_errors, pre_echo
from coders import ROOT, Clip, find_codec
from scoreboard import label
from spectrograms import draw

from dacfile.quality import measure

RATE = 44100
SECONDS = 6
Case = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def castanets(t: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Wooden clicks: noise through two resonances, 2 ms decay of the click and 25 ms of the body, uneven in time."""
    out = np.zeros(len(t))
    starts = np.cumsum(rng.choice([0.09, 0.13, 0.26, 0.4], 40)) + 0.3
    for start in starts[starts < SECONDS - 0.3]:
        s = np.maximum(t - start, 0)
        body = np.sin(2 * np.pi * 1750 * s) + 0.6 * np.sin(2 * np.pi * 3100 * s)
        hit = rng.standard_normal(len(t)) * np.exp(-s / 0.002) + 0.5 * body * np.exp(-s / 0.025)
        out += np.where(t >= start, hit, 0) * rng.uniform(0.15, 0.25)
    return out


def glockenspiel(t: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Bars with inharmonic partials, sharp attack and long decay: high tones that noise cannot stand in for."""
    out = np.zeros(len(t))
    for start, pitch in zip(np.arange(0.3, 5.5, 0.45), rng.permutation(12), strict=False):
        s = np.maximum(t - start, 0)
        bar = sum(
            gain * np.sin(2 * np.pi * 1046.5 * 2 ** (pitch / 12) * ratio * s) * np.exp(-s * decay)
            for ratio, gain, decay in ((1, 1.0, 3), (2.76, 0.5, 6), (5.4, 0.25, 12))
        )
        out += np.where(t >= start, bar, 0) * 0.2
    return out


def clicks(t: np.ndarray, _: np.random.Generator) -> np.ndarray:
    """Single samples at half scale, four a second."""
    out = np.zeros(len(t))
    out[RATE // 8 :: RATE // 4] = 0.5
    return out


def tones(t: np.ndarray, _: np.random.Generator) -> np.ndarray:
    """Pure tones, one a second: 110, 440, 1000, 3000, 6000, 12000 Hz at -14 dBFS."""
    hz = np.array([110, 440, 1000, 3000, 6000, 12000])[np.minimum(t.astype(int), 5)]
    return 0.2 * np.sin(2 * np.pi * hz * t) * np.clip(np.sin(np.pi * t) * 20, -1, 1) ** 2


def chord(t: np.ndarray, _: np.random.Generator) -> np.ndarray:
    """Steady chord of twelve partials up to 9 kHz: dense, tonal, no noise in between."""
    hz = np.array([261.63 * ratio * k for ratio in (1, 1.26, 1.5) for k in (1, 3, 7, 23)])
    level = np.tile([0.25 / k for k in (1, 3, 7, 23)], 3)
    return level @ np.sin(2 * np.pi * hz[:, None] * t + np.arange(12)[:, None])


def sweep(t: np.ndarray, _: np.random.Generator) -> np.ndarray:
    """Logarithmic sweep from 20 Hz to 20 kHz at -12 dBFS."""
    span = math.log(1000)
    return 0.25 * np.sin(2 * np.pi * 20 * SECONDS / span * (np.exp(t / SECONDS * span) - 1))


def fades(t: np.ndarray, _: np.random.Generator) -> np.ndarray:
    """A harmonic tone that fades in from -90 dB, and out again to nothing."""
    tone = sum(np.sin(2 * np.pi * 220 * k * t) / k for k in range(1, 12))
    decibels = np.interp(t, [0, 3, 6], [-90, -14, -90])
    return tone / 2 * 10 ** (decibels / 20)


def gaps(t: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Music-like noise and tone in bursts of 0.7 s with digital silence between."""
    sound = 0.15 * np.sin(2 * np.pi * 330 * t) + 0.05 * rng.standard_normal(len(t))
    return np.where((t % 1.2 > 0.3) & (t % 1.2 < 1.0), sound, 0)


def faint_noise(t: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """White noise at -72 dBFS: a few steps of 16 bits, the sound of an empty room."""
    return 10 ** (-72 / 20) * rng.standard_normal(len(t))


def square(t: np.ndarray, _: np.random.Generator) -> np.ndarray:
    """Square wave at full scale, 100 Hz for three seconds and 1 kHz for three."""
    return np.where(np.sin(2 * np.pi * np.where(t < 3, 100, 1000) * t + 1e-4) >= 0, 1.0, -1.0)


def strings(t: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Dense strings: 24 detuned bows with vibrato, partials to 10 kHz falling by 8 dB an octave."""
    out = np.zeros(len(t))
    for pitch in rng.choice([130.8, 196, 261.6, 329.6, 392, 523.3], 24):
        vibrato = 0.004 * np.sin(2 * np.pi * rng.uniform(4.8, 6.2) * t + rng.uniform(0, 6))
        phase = 2 * np.pi * pitch * rng.normal(1, 0.003) * np.cumsum(1 + vibrato) / RATE
        out += sum(np.sin(k * phase + rng.uniform(0, 6)) / k**1.3 for k in range(1, int(10000 / pitch), 1))
    return 0.012 * out


CASES: tuple[Case, ...] = (
    castanets, glockenspiel, clicks, tones, chord, sweep, fades, gaps, faint_noise, square, strings,
)  # fmt: skip


def generate(folder: Path) -> list[Path]:
    """Write every case as a 16-bit FLAC file and return the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    t = np.arange(RATE * SECONDS) / RATE
    paths = []
    for number, case in enumerate(CASES):
        samples = np.clip(case(t, np.random.default_rng(number)), -1, 1 - 2**-15)
        paths.append(folder / f"{case.__name__}.flac")
        soundfile.write(paths[-1], samples, RATE, subtype="PCM_16")
    return paths


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--codec", action="append", metavar="NAME:SETTING", help="as in quality.py; repeatable")
    parser.add_argument("--clips", type=Path, nargs="*", help="measure these files instead of the generated ones")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "hard-cases.md")
    parser.add_argument("--images", type=Path, default=ROOT / "docs" / "images")
    options = parser.parse_args()
    torch.set_num_threads(1)
    paths = options.clips or generate(ROOT / "runs" / "hard-cases")
    lines = [
        "| case | codec | kbit/s | mel | SI-SDR dB | pre-echo dB | level error dB: mean, worst | floor in silence dB |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for path in paths:
        lines += evaluate(Clip.of(path), options.codec or ["44k:9", "opus:12"], options.images)
    options.out.write_text("\n".join(lines) + "\n")


def evaluate(clip: Clip, codecs: list[str], images: Path) -> list[str]:
    """Return one table line per codec and draw their spectrograms beside the source's."""
    reference, lines = clip.read(), []
    pictures = {"source": reference[:, 0]}
    for name in codecs:
        with tempfile.TemporaryDirectory() as folder:
            size, decoded = find_codec(name).run(clip, Path(folder))
        pictures[label(name)] = decoded[:, 0]
        lines.append(f"| {clip.path.stem} | {label(name)} | {table_line(clip, reference, decoded, size)} |")
    images.mkdir(parents=True, exist_ok=True)
    draw(pictures, clip.rate, images / f"hard-{clip.path.stem}.png")
    return lines


def table_line(clip: Clip, reference: np.ndarray, decoded: np.ndarray, size: int) -> str:
    scores = measure(reference, decoded, clip.rate)
    mean, worst = level_errors(reference, decoded, clip.rate)
    cells = (
        size * 8 / clip.seconds / clip.channels / 1000, scores["mel"], scores["si_sdr"],
        pre_echo(reference, decoded, clip.rate), f"{mean:.1f}, {worst:+.1f}",
        floor_in_silence(reference, decoded, clip.rate),
    )  # fmt: skip
    return " | ".join(c if isinstance(c, str) else "" if math.isnan(c) else f"{c:.1f}" for c in cells)


if __name__ == "__main__":
    main()
