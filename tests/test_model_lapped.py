"""The lapped architecture: its transform, its companding, its quantiser."""

from __future__ import annotations

import itertools

import pytest
import torch

from dacfile.model import mdct
from dacfile.model.facts import SIDE
from dacfile.model.lapped import Lapped, LappedConfig, band_interpolation, compand, expand
from dacfile.model.lapped_quantizer import LappedQuantizer

TINY = {
    "architecture": "lapped",
    "rate": 16000,
    "hop": 64,
    "codebooks": 3,
    "codebook_size": 32,
    "code_dim": 4,
    "width": 32,
    "encoder_blocks": 1,
    "decoder_blocks": 2,
    "split": 8,
    "quadrature": 16,
    "noise_frames": 16,
}


@pytest.fixture
def model() -> Lapped:
    torch.manual_seed(0)
    built = Lapped(TINY).eval()
    built.decoder.noise.normal_()
    return built


@pytest.mark.parametrize("hop", [64, 320, 512])
def test_the_transform_gives_the_signal_back(hop: int) -> None:
    samples = torch.randn(2, 5 * hop, dtype=torch.float64)
    basis = mdct.basis(hop)
    coefficients = mdct.frames(samples, hop) @ basis
    assert coefficients.shape == (2, 4, hop)
    torch.testing.assert_close(mdct.overlap_add(coefficients @ basis.T), samples[:, hop:-hop])


def test_the_transform_is_orthonormal() -> None:
    # One frame alone: its basis vectors are orthogonal and of unit length.
    basis = mdct.basis(32)
    torch.testing.assert_close(basis.T @ basis, torch.eye(32, dtype=torch.float64))


@pytest.mark.parametrize("exponent", [0.5, 0.6, 1.0])
def test_companding_is_inverted(exponent: float) -> None:
    coefficients = torch.tensor([-3.0, -0.1, -1e-6, 0.0, 1e-4, 0.5, 20.0], dtype=torch.float64)
    torch.testing.assert_close(expand(compand(coefficients, exponent), exponent), coefficients)


@pytest.mark.parametrize(("hop", "split"), [(512, 40), (320, 80), (320, 100), (64, 8)])
def test_bands_cover_everything_above_the_split(hop: int, split: int) -> None:
    edges = LappedConfig(rate=16000, hop=hop, codebooks=1, split=split).band_edges
    assert edges[0] == split
    assert edges[-1] == hop
    assert all(high - low >= 8 for low, high in itertools.pairwise(edges))
    torch.testing.assert_close(band_interpolation(edges, hop).sum(0), torch.ones(hop))


def test_every_stage_brings_the_latent_closer() -> None:
    torch.manual_seed(1)
    quantizer = LappedQuantizer(3, 4, 4, 256)
    for k, stage in enumerate(quantizer):
        for layer in (stage.project_in, stage.project_out):
            torch.nn.init.eye_(layer.weight)
            torch.nn.init.zeros_(layer.bias)
        stage.codebook.mul_(0.5**k)
    latent = torch.randn(1, 500, 4)
    codes = quantizer.encode(latent)
    with torch.no_grad():
        errors = [float((latent - quantizer.decode(codes[:, :n])).square().mean()) for n in (1, 2, 3)]
    assert errors[0] > 2 * errors[1] > 4 * errors[2]


def test_an_absent_layer_adds_nothing(model: Lapped) -> None:
    codes = torch.randint(32, (1, 3, 10))
    absent = codes.clone()
    absent[:, 1:] = -1
    torch.testing.assert_close(model.quantizer.decode(absent), model.quantizer.decode(codes[:, :1]))


def test_lengths_follow_the_facts(model: Lapped) -> None:
    facts = model.facts
    samples = torch.randn(2, facts.lead + 7 * facts.hop)
    codes = model.encode(samples)
    assert codes.shape == (2, 3, 7)
    decoded = model.decode(codes, torch.zeros(2, dtype=torch.long), torch.zeros(2, dtype=torch.long))
    assert decoded.shape == (2, 7 * facts.hop - facts.tail)


def test_noise_depends_on_frame_index_and_channel_alone(model: Lapped) -> None:
    decoder = model.decoder
    zero, sixteen = torch.tensor([0]), torch.tensor([16])
    torch.testing.assert_close(decoder.noise_at(zero, zero, 5), decoder.noise_at(sixteen, zero, 5))
    torch.testing.assert_close(decoder.noise_at(zero, zero, 5)[:, 3:], decoder.noise_at(torch.tensor([3]), zero, 2))
    assert not torch.equal(decoder.noise_at(zero, zero, 5), decoder.noise_at(zero, torch.tensor([1]), 5))


def test_a_side_has_the_second_noise_table_in_step_with_channel_0(model: Lapped) -> None:
    noise = model.decoder.noise_at(torch.tensor([3, 3]), torch.tensor([0, SIDE]), 4)
    torch.testing.assert_close(noise, model.decoder.noise[:, 3:7])


def test_unknown_numbers_are_refused() -> None:
    with pytest.raises(TypeError):
        Lapped({**TINY, "colour": 3})
