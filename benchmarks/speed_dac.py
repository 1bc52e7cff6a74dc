"""Time the published 44.1 kHz network on the CPU: the fast form, plain PyTorch, and the reference, alternately.

    python benchmarks/speed_dac.py [--threads 1] [--seconds 15] [--rounds 5]

The reference is DacModel of transformers, where that is installed (`pip install transformers`); it
gets the same random weights, in the same process, and codes in its default windows of 5 s. Printed are CPU seconds per
second of audio (the best round; other programs disturb these less than seconds on the clock) and the ratios.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch

from dacfile.codec import Codec
from dacfile.model.dac import PUBLISHED, Dac
from dacfile.model.layouts import canonical, fold

Code = Callable[[np.ndarray], np.ndarray]
REFERENCE_WINDOW = 5.0  # s


def plain_codec(model: Dac) -> Codec:
    """Return a codec that runs the network as plain PyTorch."""
    codec = Codec(model, device="cpu")
    for parameter in model.parameters():
        parameter.data = parameter.data.contiguous()  # back in PyTorch's own order
    codec.network = model
    return codec


def reference_model(device: str = "cpu") -> tuple[Dac, Code, Code] | None:
    """Return our network with a reference's weights, and that reference's encoder and decoder on a device; or None."""
    try:
        from transformers import DacConfig, DacModel  # type: ignore[import-not-found]
    except ImportError:
        return None
    torch.manual_seed(0)
    network = DacModel(DacConfig(sampling_rate=44100)).eval().requires_grad_(False)
    ours = Dac(PUBLISHED["descript-44k"])
    ours.load_state_dict(fold(canonical({name: tensor.clone() for name, tensor in network.state_dict().items()})))
    network.to(device)

    def encode(audio: np.ndarray) -> np.ndarray:
        return network.encode(torch.from_numpy(audio.T[None]).to(device)).audio_codes[0].cpu().numpy()

    def decode(codes: np.ndarray) -> np.ndarray:
        latent = network.quantizer.from_codes(torch.from_numpy(codes.astype(np.int64))[None].to(device))[0]
        return network.decoder(latent)[0].cpu().numpy().T

    return ours.eval(), encode, decode


def in_windows(function: Code, axis: int, size: int) -> Code:
    """Return a function that is called for windows of its input, one after another, without context."""

    def run(whole: np.ndarray) -> np.ndarray:
        cuts = list(range(size, whole.shape[axis], size))
        return np.concatenate([function(part) for part in np.split(whole, cuts, axis)], axis=1 - axis)

    return run


def best_times(functions: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Run the functions alternately and return the least CPU seconds of each."""
    best = dict.fromkeys(functions, float("inf"))
    for _ in range(rounds):
        for name, function in functions.items():
            start = time.process_time()
            function()
            best[name] = min(best[name], time.process_time() - start)
    return best


def report(what: str, times: dict[str, float], seconds: float) -> None:
    """Print CPU seconds per second of audio and how much slower than the fast form the others are."""
    ratios = ", ".join(f"{name} / fast {times[name] / times['fast']:.2f}" for name in times if name != "fast")
    figures = "  ".join(f"{name} {value / seconds:.3f}" for name, value in times.items())
    print(f"{what}: CPU seconds per second of audio: {figures}   ({ratios})")


@torch.inference_mode()
def main() -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    reference = reference_model()
    model = reference[0] if reference else Dac(PUBLISHED["descript-44k"]).eval()
    hop, rate = model.facts.hop, model.facts.rate
    frames = round(arguments.seconds * rate / hop)
    audio = np.random.default_rng(0).normal(0, 0.1, (frames * hop, 1)).astype(np.float32)
    twin = Dac(model.config)
    twin.load_state_dict(model.state_dict())
    fast, plain = Codec(model, device="cpu"), plain_codec(twin)
    codes = fast.encode(audio)
    encoders: dict[str, Callable[[], object]] = {
        "fast": lambda: fast.encode(audio),
        "plain": lambda: plain.encode(audio),
    }
    decoders: dict[str, Callable[[], object]] = {
        "fast": lambda: fast.decode(codes),
        "plain": lambda: plain.decode(codes),
    }
    if reference:
        window = int(REFERENCE_WINDOW * rate) // hop
        encode, decode = in_windows(reference[1], 0, window * hop), in_windows(reference[2], 1, window)
        encoders["reference"], decoders["reference"] = lambda: encode(audio), lambda: decode(codes[0])
        equal = (reference[1](audio[: window * hop]) == fast.encode(audio[: window * hop])[0]).mean()
        print(f"codes equal to the reference's, one window: {equal:.2%}")
    print(f"codes equal to plain PyTorch's: {(codes == plain.encode(audio)).mean():.2%}")
    report("encode", best_times(encoders, arguments.rounds), frames * hop / rate)
    report("decode", best_times(decoders, arguments.rounds), frames * hop / rate)


if __name__ == "__main__":
    main()
