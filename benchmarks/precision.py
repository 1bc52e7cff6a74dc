"""What each arithmetic changes: codes equal to those of the plain float32 network, and what the sound loses.

    python benchmarks/precision.py [--model 44k ...] [--clips FOLDER] [--count 9] [--seconds 6]

A model is a name, a weights file, or `random-dac`: the published 44.1 kHz network with random weights, whose codes are
nearer to ties than those of a trained one. For each arithmetic of this machine (the fast float32 path and bf16 on a
CPU; fp32, tf32 and bf16 on CUDA) the clips are coded, with codes chosen as `dacz compress` chooses them, and decoded
again. Compared are codes, the mel distance and the SI-SDR to the source. Prints a table in Markdown and writes it to
benchmarks/results/precision.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch

from dacfile.codec import Codec, load_codec
from dacfile.entropy import Prior
from dacfile.entropy.context import NetworkPrior
from dacfile.installed import default_prior
from dacfile.model import products_cpu
from dacfile.model.base import Model
from dacfile.model.dac import PUBLISHED, Dac
from dacfile.model.lapped import Lapped
from dacfile.model.rdo import PriorLikelihoods, RdoChoice, suggested_weight
from dacfile.quality.scores import measure

ROOT = Path(__file__).parent.parent
RESULT = Path(__file__).parent / "results" / "precision.md"
RANDOM = "random-dac"
HEAD = "| model | arithmetic | codes equal | first layer | mel | change | SI-SDR dB | change |\n|" + "---|" * 8


@dataclass(frozen=True)
class Outcome:
    """Codes [K, T] of a clip, and the scores of what they decode to."""

    codes: np.ndarray
    mel: float
    si_sdr: float


def build(model: str) -> tuple[Model, Prior | None]:
    """Return the network of a name or file and the prior that chooses its codes, or one with random weights."""
    if model != RANDOM:
        codec = load_codec(model, device="cpu")
        return codec.model, default_prior(codec.name, codec.id)
    torch.manual_seed(0)
    return Dac(PUBLISHED["descript-44k"]), None


def plain_codec(model: str) -> Codec:
    """Return a codec in which everything is PyTorch's own float32, the choice of codes by their bits as well."""
    network, prior = build(model)
    codec = Codec(network, device="cpu", precision="fp32")
    codec.network = codec.model
    if (weight := suggested_weight(prior)) and isinstance(network, Lapped) and isinstance(prior, NetworkPrior):
        likelihoods = PriorLikelihoods(prior, torch.device("cpu"), products_cpu.plain)
        network.choice = RdoChoice(likelihoods, network.quantizer, weight)
    return codec


def arithmetics(model: str) -> Iterator[tuple[str, Codec]]:
    """Yield the codecs of this machine by name; the first is the plain network in float32."""
    yield "plain fp32", plain_codec(model)
    kinds = [("cpu", "fp32"), ("cpu", "bf16")]
    if torch.cuda.is_available():
        kinds += [("cuda", precision) for precision in ("fp32", "tf32", "bf16")]
    for device, precision in kinds:
        network, prior = build(model)
        codec = Codec(network, device=device, precision=precision)
        codec.set_rdo(lambda prior=prior: prior, None)  # type: ignore[misc]
        yield f"{device} {precision}", codec


def clips(folder: Path, rate: int, count: int, seconds: float) -> Iterator[np.ndarray]:
    """Yield the first channels of clips spread evenly over a folder, float32 [samples, 1]."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix in (".flac", ".wav", ".ogg"))
    for path in paths[:: max(len(paths) // count, 1)][:count]:
        audio, source_rate = soundfile.read(path, dtype="float32", always_2d=True)
        yield soxr.resample(audio[: round(seconds * source_rate), :1], source_rate, rate).astype(np.float32)


def outcome(codec: Codec, audio: np.ndarray) -> Outcome:
    """Code a clip and score it."""
    codes = codec.encode(audio)
    scores = measure(audio, codec.decode(codes, len(audio)), codec.rate, ("mel", "si_sdr"))
    return Outcome(codes[0], scores["mel"], scores["si_sdr"])


def rows(model: str, folder: Path, count: int, seconds: float) -> Iterator[str]:
    """Yield a line of the table for each arithmetic."""
    plain: list[Outcome] = []
    for name, codec in arithmetics(model):
        found = [outcome(codec, audio) for audio in clips(folder, codec.rate, count, seconds)]
        plain = plain or found
        equal = [one.codes == other.codes for one, other in zip(found, plain, strict=True)]
        layers = [np.concatenate([part[:end].ravel() for part in equal]).mean() for end in (None, 1)]
        mel, si_sdr = (np.mean([getattr(one, key) for one in found]) for key in ("mel", "si_sdr"))
        changes = (np.mean([getattr(one, key) for one in plain]) for key in ("mel", "si_sdr"))
        mel_change, si_sdr_change = (now - before for now, before in zip((mel, si_sdr), changes, strict=True))
        yield (
            f"| {model} | {name} | {layers[0]:.3%} | {layers[1]:.3%} | {mel:.4f} | {mel_change:+.4f} "
            f"| {si_sdr:.3f} | {si_sdr_change:+.3f} |"
        )


def main() -> None:
    """Parse the arguments, measure, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append")
    parser.add_argument("--clips", type=Path, default=ROOT.parent / "shared" / "corpus" / "test")
    parser.add_argument("--count", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=6.0)
    arguments = parser.parse_args()
    lines = [HEAD]
    for model in arguments.model or ["44k", "24k", "16k", RANDOM]:
        for row in rows(model, arguments.clips, arguments.count, arguments.seconds):
            lines.append(row)
            print(row, flush=True)
    RESULT.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
