"""The `dac` network against two independent implementations, and its facts against its own arithmetic."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from reference import seeded

from dacfile.errors import ModelMismatch
from dacfile.model.base import build
from dacfile.model.dac import PUBLISHED, Dac, DacConfig
from dacfile.model.layouts import canonical, fold, infer_config

REFERENCE = Path(__file__).parent / "reference"
VECTORS = sorted(path.stem for path in REFERENCE.glob("*.npz"))
SMALL = {"encoder_dim": 4, "decoder_dim": 32, "n_codebooks": 3, "codebook_size": 32, "sample_rate": 16000}


def small(strides: tuple[int, ...]) -> Dac:
    torch.manual_seed(1)
    return Dac({**SMALL, "encoder_rates": strides, "decoder_rates": strides[::-1]}).eval()


def reference(name: str) -> tuple[dict[str, np.ndarray], dict[str, Any], dict[str, torch.Tensor]]:
    with np.load(REFERENCE / f"{name}.npz") as file:
        arrays = dict(file)
    shapes = json.loads(str(arrays["shapes"]))
    tensors = {key: torch.from_numpy(seeded.tensor(key, tuple(shape))) for key, shape in shapes.items()}
    return arrays, json.loads(str(arrays["config"])), tensors


def load(tensors: dict[str, torch.Tensor], rate: int) -> Dac:
    named = canonical(tensors)
    model = Dac(infer_config(named, rate))
    model.load_state_dict(fold(named), strict=True)
    return model.eval()


@torch.inference_mode()
@pytest.mark.parametrize("name", VECTORS)
def test_codes_and_samples_equal_the_reference(name: str) -> None:
    arrays, _, tensors = reference(name)
    model = load(tensors, 44100)
    x = arrays["x"]
    frames = arrays["codes"].shape[1]
    assert model.facts.frames(len(x)) == frames
    padded = torch.zeros(1, frames * model.facts.hop)
    padded[0, : len(x)] = torch.from_numpy(x)
    codes = model.encode(padded)
    np.testing.assert_array_equal(codes[0].numpy(), arrays["codes"])
    zero = torch.zeros(1, dtype=torch.int64)
    np.testing.assert_allclose(model.decode(codes, zero, zero)[0].numpy(), arrays["samples"], atol=1e-5)
    np.testing.assert_allclose(model.decode(codes[:, :2], zero, zero)[0].numpy(), arrays["samples_2"], atol=1e-5)


@pytest.mark.parametrize("name", [name for name in VECTORS if name.startswith("descript")])
def test_shapes_tell_the_published_configuration(name: str) -> None:
    _, config, tensors = reference(name)
    assert DacConfig.from_dict(infer_config(tensors, 44100)) == DacConfig.from_dict(config)


@pytest.mark.parametrize("name", [name for name in VECTORS if name.startswith("descript")])
def test_new_style_weight_norm_is_the_same_model(name: str) -> None:
    _, _, tensors = reference(name)
    renamed = {
        key.replace("weight_g", "parametrizations.weight.original0").replace(
            "weight_v", "parametrizations.weight.original1"
        ): value
        for key, value in tensors.items()
    }
    assert set(renamed) != set(tensors)
    assert canonical(renamed) == tensors


def test_folding_is_what_torch_weight_norm_computes() -> None:
    torch.manual_seed(0)
    layer = torch.nn.utils.parametrizations.weight_norm(torch.nn.ConvTranspose1d(6, 4, 8))
    state = {f"x.{key}": value.detach() for key, value in layer.state_dict().items()}
    folded = fold(canonical(state))
    assert set(folded) == {"x.weight", "x.bias"}
    assert torch.allclose(folded["x.weight"], layer.weight.detach(), rtol=1e-6, atol=1e-7)


def test_half_a_weight_norm_pair_is_refused() -> None:
    with pytest.raises(ModelMismatch, match="weight_g"):
        fold({"a.weight_v": torch.ones(2, 3, 1)})
    with pytest.raises(ModelMismatch, match="weight_v"):
        fold({"a.weight_g": torch.ones(2, 1, 1)})
    with pytest.raises(ModelMismatch, match="twice"):
        canonical({"a.weight_g": torch.ones(1), "a.parametrizations.weight.original0": torch.ones(1)})


@pytest.mark.parametrize(
    ("name", "rate", "hop", "codebooks", "tail", "kbits", "millions"),
    [
        ("descript-44k", 44100, 512, 9, 0, 7.75, 76.6),
        ("descript-44k-16kbps", 44100, 512, 18, 0, 15.5, 64.2),
        ("descript-24k", 24000, 320, 32, 8, 24.0, 74.7),
        ("descript-16k", 16000, 320, 12, 8, 6.0, 74.1),
    ],
)
def test_published_variants(
    name: str, rate: int, hop: int, codebooks: int, tail: int, kbits: float, millions: float
) -> None:
    with torch.device("meta"):
        model = build(PUBLISHED[name])
    facts = model.facts
    assert (facts.rate, facts.hop, facts.codebooks, facts.codebook_size, facts.tail) == (
        rate,
        hop,
        codebooks,
        1024,
        tail,
    )
    assert facts.nominal_bitrate / 1000 == pytest.approx(kbits, abs=0.01)
    assert sum(tensor.numel() for tensor in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)
    assert json.loads(json.dumps(model.config)) == model.config


def reach_of_frame(model: Dac, frame: int, frames: int) -> np.ndarray:
    """Which input samples the latent of a frame depends on."""
    x = torch.randn(1, 1, frames * model.facts.hop, requires_grad=True)
    model.encoder(x)[..., frame].sum().backward()
    assert x.grad is not None
    return np.flatnonzero(x.grad[0, 0].numpy())


def reach_of_samples(model: Dac, frame: int, frames: int) -> np.ndarray:
    """Which latent frames the samples of a frame depend on."""
    z = torch.randn(1, model.config["latent_dim"], frames, requires_grad=True)
    model.decoder(z)[0, 0, frame * model.facts.hop : (frame + 1) * model.facts.hop].sum().backward()
    assert z.grad is not None
    return np.flatnonzero(z.grad[0].abs().sum(0).numpy())


@pytest.mark.parametrize("strides", [(2, 4, 8, 8), (2, 4, 5, 8), (3, 5), (2,), (8, 8)])
def test_context_is_exactly_the_receptive_field(strides: tuple[int, ...]) -> None:
    model = small(strides)
    facts, frames = model.facts, 2 * max(model.facts.encoder_context, model.facts.decoder_context) + 5
    middle = frames // 2
    samples = reach_of_frame(model, middle, frames)
    before, after = middle - samples[0] // facts.hop, samples[-1] // facts.hop - middle
    assert max(before, after) == facts.encoder_context
    latents = reach_of_samples(model, middle, frames)
    assert max(middle - latents[0], latents[-1] - middle) == facts.decoder_context


@torch.inference_mode()
@pytest.mark.parametrize("strides", [(2, 4, 8, 8), (2, 4, 5, 8), (3, 5), (5, 3), (7, 2, 3), (2,)])
@pytest.mark.parametrize("frames", [1, 2, 9])
def test_lengths_for_all_strides(strides: tuple[int, ...], frames: int) -> None:
    model = small(strides)
    codes = model.encode(torch.randn(2, frames * model.facts.hop))
    assert codes.shape == (2, 3, frames)
    zero = torch.zeros(2, dtype=torch.int64)
    assert model.decode(codes, zero, zero).shape == (2, model.facts.decoded(frames))


@torch.inference_mode()
def test_a_negative_code_adds_nothing() -> None:
    model = small((2, 4))
    codes = model.encode(torch.randn(1, 80))
    zero = torch.zeros(1, dtype=torch.int64)
    absent = codes.clone()
    absent[:, 1:] = -1
    assert torch.allclose(model.decode(absent, zero, zero), model.decode(codes[:, :1], zero, zero))
    absent[:, 0] = -5
    silent = model.decoder(torch.zeros(1, 16, 10))[:, 0]
    assert torch.allclose(model.decode(absent, zero, zero), silent)


@pytest.mark.parametrize(
    "change",
    [
        {"encoder_rates": [1, 8]},
        {"encoder_rates": []},
        {"decoder_rates": [2, 2]},
        {"codebook_dim": [8, 8]},
        {"n_codebooks": 0},
        {"sample_rate": -1},
        {"unknown": 3},
        {"encoder_dim": "four"},
        {"architecture": "other"},
    ],
)
def test_impossible_configurations_are_refused(change: dict[str, Any]) -> None:
    config = {"architecture": "dac", **SMALL, "encoder_rates": [2, 4], "decoder_rates": [4, 2], **change}
    with pytest.raises(ModelMismatch):
        build(config)
