"""The arrangement of `dac` for CPUs gives what the plain network gives, at any tile size and by either convolution."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dacfile import codec
from dacfile.model import dac_cpu, rows_cpu, snake_cpu
from dacfile.model.dac import Dac
from dacfile.model.dac_cpu import FastDac
from dacfile.model.layers import Snake

SMALL = {"encoder_dim": 4, "decoder_dim": 32, "n_codebooks": 3, "codebook_size": 64, "sample_rate": 16000}


def network(strides: tuple[int, ...]) -> Dac:
    torch.manual_seed(2)
    model = Dac({**SMALL, "encoder_rates": strides, "decoder_rates": strides[::-1]}).eval().requires_grad_(False)
    for name, tensor in model.state_dict().items():
        if name.endswith("alpha"):
            tensor.uniform_(-2, 2)  # trained ones may be negative
        elif name.endswith("bias"):
            tensor.normal_(0, 0.3)  # zero padding must not look like silence
    return model


@torch.inference_mode()
@pytest.mark.parametrize("strides", [(2, 4, 8, 8), (2, 4, 5, 8), (3, 5), (2,)])
@pytest.mark.parametrize("short", [False, True])
@pytest.mark.parametrize(("tile", "piece"), [(3700, 1 << 16), (100, 512)])
def test_codes_and_samples_are_those_of_the_plain_network(
    strides: tuple[int, ...], tile: int, piece: int, short: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dac_cpu, "TILE", tile)
    monkeypatch.setattr(snake_cpu, "PIECE", piece)
    monkeypatch.setattr(rows_cpu, "VALUE_COST", 0 if short else 1 << 30)  # networks this small would never be short
    model = network(strides)
    x = torch.randn(2, 6 * model.facts.hop) * 0.3
    zero = torch.zeros(2, dtype=torch.int64)
    codes = model.encode(x)
    samples = model.decode(codes, zero, zero)
    fast, before = FastDac(model), x.clone()
    assert torch.equal(fast.encode(x), codes)
    assert torch.equal(x, before)
    assert torch.allclose(fast.decode(codes, zero, zero), samples, atol=1e-6)
    assert torch.allclose(fast.decode(codes[:, :1], zero, zero), model.decode(codes[:, :1], zero, zero), atol=1e-6)


def test_weights_are_unchanged() -> None:
    model = network((2, 4))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    fast = FastDac(model)
    with torch.inference_mode():
        fast.decode(fast.encode(torch.randn(1, 4 * model.facts.hop)), torch.zeros(1), torch.zeros(1))
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_unknown_layers_are_refused() -> None:
    with pytest.raises(TypeError, match="ReLU"):
        dac_cpu.steps(nn.Sequential(nn.ReLU()))


@pytest.mark.parametrize(("taps", "pairs"), [(7, 6), (2, 0), (3, 0), (7, 3), (5, 1)])
def test_products_at_points_are_as_exact_as_the_direct_sum(taps: int, pairs: int) -> None:
    torch.manual_seed(1)
    weight, bias = torch.randn(24, 16, taps), torch.randn(24)
    made = rows_cpu.points(taps, pairs)
    assert made.gather.shape[0] == 4 + 2 * pairs - taps + 1
    for rows in (1, 5, 700, 3000):  # less than one call's, one, several
        x = torch.randn(rows + taps - 1, 16)
        exact = F.conv1d(x.T[None].double(), weight.double(), bias.double())[0].T
        direct = F.conv1d(x.T[None], weight, bias)[0].T
        with torch.inference_mode():
            short = rows_cpu.short(weight, bias, made)(x)
        assert short.shape == exact.shape
        error = (direct - exact).square().mean().sqrt()
        assert (short - exact).square().mean().sqrt() < 1.5 * error + 1e-6


def test_without_onednn_the_plain_network_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> None:
        raise RuntimeError("no such operator")

    model = network((2,))
    assert isinstance(codec.fastest(model, torch.device("cpu"), "fp32"), FastDac)
    rows_cpu.is_supported.cache_clear()
    monkeypatch.setattr(rows_cpu, "direct", missing)
    try:
        assert codec.fastest(model, torch.device("cpu"), "fp32") is model
        with pytest.raises(RuntimeError, match="oneDNN"):
            FastDac(model)
    finally:
        rows_cpu.is_supported.cache_clear()


def test_convolutions_of_the_published_sizes_multiply_less(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = []
    monkeypatch.setattr(rows_cpu, "short", lambda weight, bias, made: chosen.append(tuple(weight.shape)))
    for shape in [(96, 96, 7), (768, 768, 7), (512, 2048, 2), (1536, 1024, 7), (64, 1, 7), (192, 192, 2)]:
        rows_cpu.convolution(torch.zeros(shape), torch.zeros(shape[0]))
    assert chosen == [(96, 96, 7), (768, 768, 7), (512, 2048, 2)]


@torch.inference_mode()
def test_snake_is_exact_to_float_rounding_of_its_argument() -> None:
    torch.manual_seed(3)
    layer = Snake(8)
    layer.alpha.uniform_(-3, 3)
    layer.alpha[0, 0] = 1e-4
    x = torch.cat([torch.randn(3000, 8) * 3, torch.randn(1000, 8) * 1e-3, torch.randn(100, 8) * 100])
    exact = layer.double()(x.T[None].double())[0].T
    out = torch.empty_like(x)
    snake_cpu.snake(layer.float())(x, out)
    # d/dx of the sine's square over alpha is at most 1, so an error of 2^-23 |x| in the argument is one in the result.
    assert ((out - exact).abs() <= 4e-7 * x.abs().clamp(min=1e-3) + 3e-7 / layer.alpha.flatten().abs()).all()
