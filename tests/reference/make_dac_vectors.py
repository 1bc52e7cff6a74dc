"""Write the vectors beside this file with the two independent implementations of the `dac` network.

Run it in an environment of its own:
    pip install torch numpy einops transformers && pip install --no-deps descript-audio-codec
    python make_dac_vectors.py
Each file holds: config (JSON), names and shapes of all parameters (JSON), the input, the codes, the decoded samples
with all codebooks and with two. Weights are not stored: `seeded.tensor` makes them from the names.
"""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from seeded import signal, tensor
from torch import nn

HERE = Path(__file__).parent
RATES = {"2488": [2, 4, 8, 8], "2458": [2, 4, 5, 8]}
FRAMES = 12


def stand_in_for_audiotools() -> None:
    """Provide the few names that importing `dac.model` needs of audiotools and argbind; none of them computes."""

    class BaseModel(nn.Module):
        INTERN: ClassVar[list[str]] = []
        EXTERN: ClassVar[list[str]] = []

    names = {
        "audiotools": {"AudioSignal": object, "STFTParams": object},
        "audiotools.ml": {"BaseModel": BaseModel, "Accelerator": object},
        "audiotools.core": {"util": types.SimpleNamespace(find_audio=None)},
        "argbind": {"bind": lambda *args, **kwargs: args[0] if args and callable(args[0]) else (lambda f: f)},
    }
    for name, members in names.items():
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__dict__.update(members)
    sys.modules["audiotools"].ml = sys.modules["audiotools.ml"]


def fill(model: nn.Module) -> dict[str, list[int]]:
    state = model.state_dict()
    made = {name: torch.from_numpy(tensor(name, tuple(value.shape))) for name, value in state.items()}
    model.load_state_dict(made, strict=True)
    return {name: list(value.shape) for name, value in state.items()}


def write(name: str, config: dict, shapes: dict, x: np.ndarray, codes: torch.Tensor, decode) -> None:
    np.savez_compressed(
        HERE / f"{name}.npz",
        config=json.dumps(config),
        shapes=json.dumps(shapes),
        x=x,
        codes=codes[0].numpy().astype(np.uint16),
        samples=decode(codes)[0].numpy(),
        samples_2=decode(codes[:, :2])[0].numpy(),
    )


def descript(rates: list[int], x: np.ndarray) -> tuple:
    from dac.model.dac import DAC

    config = {
        "encoder_dim": 4,
        "encoder_rates": rates,
        "latent_dim": None,
        "decoder_dim": 48,
        "decoder_rates": rates[::-1],
        "n_codebooks": 5,
        "codebook_size": 64,
        "codebook_dim": 8,
        "quantizer_dropout": 0.5,
        "sample_rate": 44100,
    }
    model = DAC(**config).eval()
    shapes = fill(model)
    padded = model.preprocess(torch.from_numpy(x)[None, None], None)
    _, codes, *_ = model.encode(padded)
    return config, shapes, codes, lambda codes: model.decode(model.quantizer.from_codes(codes)[0])[:, 0]


def transformers(rates: list[int], x: np.ndarray) -> tuple:
    from transformers import DacConfig, DacModel

    config = DacConfig(
        encoder_hidden_size=4,
        downsampling_ratios=rates,
        decoder_hidden_size=48,
        n_codebooks=5,
        codebook_size=64,
        codebook_dim=8,
        sampling_rate=44100,
    )
    model = DacModel(config).eval()
    shapes = fill(model)
    hop = int(np.prod(rates))
    padded = np.pad(x, (0, -len(x) % hop))
    codes = model.encode(torch.from_numpy(padded)[None, None]).audio_codes
    kept = {key: value for key, value in config.to_dict().items() if isinstance(value, int | float | list | str)}
    decoder = lambda codes: model.decoder(model.quantizer.from_codes(codes)[0])[:, 0]  # noqa: E731
    return kept, shapes, codes, decoder


@torch.no_grad()
def main() -> None:
    stand_in_for_audiotools()
    for label, rates in RATES.items():
        x = signal(FRAMES * int(np.prod(rates)) - 100)
        for source in (descript, transformers):
            config, shapes, codes, decode = source(rates, x)
            write(f"{source.__name__}_{label}", config, shapes, x, codes, decode)


if __name__ == "__main__":
    main()
