"""Stereo: size at equal mel distance of left and right, for left/right and mid/side of every depth.

    python benchmarks/stereo.py FOLDER [--model 44k] [--seconds 10] [--out benchmarks/results/stereo.csv]

Codes every stereo file in FOLDER both ways, drops layers from both channels (left/right) or from the side (mid/side),
and writes a row for each: bytes as raw codes and with the model's prior, mel distance (mean of left and right), SI-SDR.
Then prints what each choice saves against two plain channels (left/right, nearest codes, stored raw) of the same mel
distance, whose size is interpolated between their depths.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch

from dacfile.api import load_codec
from dacfile.audio.stereo import ChannelPlan, LevelMeter, Levels, plan_channels
from dacfile.codec import Codec
from dacfile.entropy import Prior, encode_blocks
from dacfile.model.facts import SIDE
from dacfile.priors import named_prior
from dacfile.quality.spectral import mel_distance
from dacfile.quality.waveform import si_sdr
from dacfile.stream import StreamEncoder

BLOCK_SECONDS = 20
PLAIN = "plain"


@dataclass(frozen=True)
class Choice:
    """How a pair of channels is coded."""

    mid_side: bool
    layers: tuple[int, int]
    nearest: bool = False  # codes chosen by distance alone

    def __str__(self) -> str:
        """Return for example "ms 9+4"; "plain 9+9" for left and right by their nearest codes."""
        kind = PLAIN if self.nearest else "ms" if self.mid_side else "lr"
        return f"{kind} {self.layers[0]}+{self.layers[1]}"


@dataclass(frozen=True)
class Pair:
    """Two channels at the model's rate, float32 [n, 2], and their levels."""

    name: str
    samples: np.ndarray
    levels: Levels

    @property
    def difference(self) -> float:
        """Mid's loudness over the side's, dB."""
        mid, side = (max(value, -200.0) for value in self.levels.loudness[2:])
        return mid - side


def read_pairs(folder: Path, rate: int, seconds: float) -> Iterator[Pair]:
    """Yield the beginnings of all files of two channels that differ and are not silent."""
    for path in sorted(folder.rglob("*.flac")):
        if soundfile.info(path).channels != 2:
            continue
        samples, source_rate = soundfile.read(
            path, dtype="float32", stop=int(seconds * soundfile.info(path).samplerate)
        )
        if source_rate != rate:
            samples = soxr.resample(samples, source_rate, rate)
        meter = LevelMeter(rate, 2)
        meter.push(samples)
        levels = meter.levels()
        if min(levels.peaks) > 0:
            yield Pair(path.stem, samples, levels)


def choices(codebooks: int) -> list[Choice]:
    """Return left/right with 9+9, 8+8, ..., nearest codes and not, and mid/side with 9+9, 9+8, ... for K = 9."""
    depths = range(codebooks, codebooks // 2, -1)
    left_right = [Choice(False, (n, n), nearest) for nearest in (True, False) for n in depths]
    return left_right + [Choice(True, (codebooks, n)) for n in range(codebooks, 1, -1)]


def automatic(pair: Pair, codebooks: int) -> Choice:
    """Return what the compressor does unless it is told otherwise."""
    plan = plan_channels(pair.levels, codebooks)
    return Choice(plan.mid_side, (plan.layers[0], plan.layers[1]))


def plan_for(pair: Pair, choice: Choice, codebooks: int) -> ChannelPlan:
    """Return the gains for a choice; its depths are applied to the codes."""
    return plan_channels(pair.levels, codebooks, "ms" if choice.mid_side else "lr")


def size_of(codes: Sequence[np.ndarray], prior: Prior | None, block: int) -> int:
    """Return the bytes of the layers of two channels' codes [n, T], in blocks."""
    starts = range(0, codes[0].shape[1], block)
    blocks = [[np.ascontiguousarray(channel[:, start : start + block]) for channel in codes] for start in starts]
    return sum(len(data) for made in encode_blocks(prior, blocks, list(starts)) for rows in made for data, _ in rows)


def numbers(mid_side: bool) -> tuple[int, int]:
    """Return what the networks call the two channels."""
    return 0, SIDE if mid_side else 1


def coded(codec: Codec, channels: np.ndarray, mid_side: bool) -> np.ndarray:
    """Return codes uint16 [2, K, T] of coded channels float32 [n, 2]."""
    encoder = StreamEncoder(codec, numbers(mid_side))
    return np.concatenate([encoder.push(channels), encoder.finish()], axis=-1)


def decoded(codec: Codec, codes: Sequence[np.ndarray], mid_side: bool) -> np.ndarray:
    """Return coded channels float32 [n, 2] of two channels' codes of different depth."""
    both = zip(codes, numbers(mid_side), strict=True)
    return np.stack([codec.decode_windows(c[None], [0], [number])[0] for c, number in both], 1)


def measure(codec: Codec, plain: Codec, prior: Prior, pair: Pair) -> Iterator[dict[str, object]]:
    """Yield a row for every choice; `plain` is the codec that takes the nearest codes."""
    facts = codec.facts
    block = round(BLOCK_SECONDS * facts.rate / facts.hop)
    reference = torch.from_numpy(np.ascontiguousarray(pair.samples.T))
    whole: dict[tuple[bool, bool], np.ndarray] = {}
    chosen = automatic(pair, facts.codebooks)
    for choice in dict.fromkeys([*choices(facts.codebooks), chosen]):
        plan = plan_for(pair, choice, facts.codebooks)
        way = (choice.mid_side, choice.nearest)
        if way not in whole:
            whole[way] = coded(plain if choice.nearest else codec, plan.apply(pair.samples), choice.mid_side)
        codes = [c[:n] for c, n in zip(whole[way], choice.layers, strict=True)]
        samples = plan.invert(decoded(codec, codes, choice.mid_side)[: len(pair.samples)])
        estimate = torch.from_numpy(np.ascontiguousarray(samples.T, np.float32))
        yield {
            "clip": pair.name,
            "difference_db": round(pair.difference, 2),
            "choice": str(choice),
            "auto": int(choice == chosen),
            "raw": size_of(codes, None, block),
            "bytes": size_of(codes, prior, block),
            "mel": round(float(mel_distance(reference, estimate, facts.rate).mean()), 4),
            "si_sdr": round(float(si_sdr(reference, estimate).nanmean()), 2),
        }


def plain_bytes(rows: Sequence[dict], mel: float) -> float:
    """Return the raw bytes of two plain channels at a mel distance, extrapolated at the ends."""
    plain = sorted((row["mel"], row["raw"]) for row in rows if row["choice"].startswith(PLAIN))
    slopes = np.polyfit([m for m, _ in plain], [b for _, b in plain], 1)
    if not plain[0][0] <= mel <= plain[-1][0]:
        return float(np.polyval(slopes, mel))
    return float(np.interp(mel, [m for m, _ in plain], [b for _, b in plain]))


def summary(rows: Sequence[dict]) -> str:
    """Return a line for every choice: means, and the saving against plain channels of equal mel distance."""
    clips = {row["clip"]: [r for r in rows if r["clip"] == row["clip"]] for row in rows}
    groups = {name: [r for r in rows if r["choice"] == name] for name in dict.fromkeys(r["choice"] for r in rows)}
    groups["auto"] = [row for row in rows if row["auto"]]
    lines = [
        f"{'choice':8} {'clips':>5} {'mel':>7} {'SI-SDR':>7} {'prior':>8} {'all':>8}   (prior: against its own codes)"
    ]
    for name, chosen in groups.items():
        plain = sum(plain_bytes(clips[row["clip"]], row["mel"]) for row in chosen)
        total, raw = (sum(row[key] for row in chosen) for key in ("bytes", "raw"))
        mel, sdr = (np.mean([row[key] for row in chosen]) for key in ("mel", "si_sdr"))
        saved = f"{1 - total / raw:8.1%} {1 - total / plain:8.1%}"
        lines.append(f"{name:8} {len(chosen):5} {mel:7.3f} {sdr:7.2f} {saved}")
    return "\n".join(lines)


def main() -> None:
    """Measure, write the rows, print the summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="44k")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/stereo.csv"))
    arguments = parser.parse_args()
    codec, plain = load_codec(arguments.model, device="cpu"), load_codec(arguments.model, device="cpu", rdo=0)
    prior = named_prior(arguments.model)
    rows: list[dict] = []
    for pair in read_pairs(arguments.folder, codec.rate, arguments.seconds):
        rows.extend(measure(codec, plain, prior, pair))
        print(pair.name, f"{pair.difference:.1f} dB", flush=True)
    with arguments.out.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(summary(rows))


if __name__ == "__main__":
    main()
