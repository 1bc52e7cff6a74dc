"""The arrangement of `dac` for CPUs gives what the plain network gives, at any tile size."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dacfile.model import dac_cpu
from dacfile.model.dac import Dac
from dacfile.model.dac_cpu import FastDac

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
@pytest.mark.parametrize(("tile", "piece"), [(1 << 19, 1 << 16), (4096, 512)])
def test_codes_and_samples_are_those_of_the_plain_network(
    strides: tuple[int, ...], tile: int, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dac_cpu, "TILE", tile)
    monkeypatch.setattr(dac_cpu, "TILE_ROWS", 100 if tile < 10000 else 4096)
    monkeypatch.setattr(dac_cpu, "PIECE", piece)
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


def test_weights_are_shared_and_unchanged() -> None:
    model = network((2, 4))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    FastDac(model)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_unknown_layers_are_refused() -> None:
    with pytest.raises(TypeError, match="ReLU"):
        list(dac_cpu.steps(nn.Sequential(nn.ReLU())))
