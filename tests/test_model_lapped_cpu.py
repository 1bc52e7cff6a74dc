"""The arrangement of `lapped` for CPUs gives what the plain network gives, whatever else is in the batch."""

from __future__ import annotations

import pytest
import torch

from dacfile.codec import Codec
from dacfile.model import products_cpu
from dacfile.model.facts import SIDE
from dacfile.model.lapped import Lapped
from dacfile.model.lapped_cpu import FastLapped, RoughPostFilter

NUMBERS = {"rate": 16000, "hop": 64, "codebooks": 3, "codebook_size": 32, "code_dim": 4, "width": 32,
           "encoder_blocks": 2, "decoder_blocks": 2, "split": 8, "quadrature": 16, "noise_frames": 16}  # fmt: skip

pytestmark = pytest.mark.skipif(not products_cpu.is_supported(), reason="PyTorch without oneDNN")


@pytest.fixture(scope="module", params=[0, 2], ids=["one look", "two looks and post-filter"])
def model(request: pytest.FixtureRequest) -> Lapped:
    torch.manual_seed(1)
    look = {"look_blocks": request.param, "look_width": 12 * request.param}
    post = {"post_bins": 8 * request.param, "post_window": 64 * request.param, "post_width": 4 * request.param}
    built = Lapped({**NUMBERS, **look, **post}).eval().requires_grad_(False)
    for name, tensor in built.state_dict().items():
        if name.endswith(("bias", "scale", "noise", "energy_mean", "leave.weight")):
            tensor.normal_(0, 0.3)  # fresh ones hide what is left out
    return built


def inputs(model: Lapped, batch: int = 3, frames: int = 40) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(2)
    samples = torch.randn(batch, (frames + 1) * model.facts.hop) * 0.3
    return samples, torch.tensor([0, 7, 100])[:batch], torch.tensor([0, 1, SIDE])[:batch]


@torch.inference_mode()
def test_codes_and_samples_are_those_of_the_plain_network(model: Lapped) -> None:
    fast = FastLapped(model)
    samples, first, channel = inputs(model)
    before = samples.clone()
    codes = model.encode(samples, first, channel)
    assert torch.equal(fast.encode(samples, first, channel), codes)
    assert torch.equal(samples, before)
    for depth in (1, 2, 3):
        part = codes[:, :depth].clone()
        part[1, -1, 5:20] = -1  # layers that are absent add nothing
        torch.testing.assert_close(fast.decode(part, first, channel), model.decode(part, first, channel))


@torch.inference_mode()
@pytest.mark.parametrize("rounded", [False, True])
def test_a_preview_is_about_what_decodes(model: Lapped, monkeypatch: pytest.MonkeyPatch, rounded: bool) -> None:
    monkeypatch.setattr(products_cpu, "is_rounding_faster", lambda: rounded)
    if rounded and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("no bfloat16 in oneDNN on this processor")
    fast = FastLapped(model)
    samples, first, channel = inputs(model)
    codes = model.encode(samples, first, channel)
    decoded, preview = fast.decode(codes, first, channel), fast.preview(codes, first, channel)
    assert torch.equal(preview, decoded) != rounded
    assert (preview - decoded).square().sum() < 1e-3 * decoded.square().sum()


@torch.inference_mode()
def test_a_preview_finds_the_post_filters_gains_of_every_other_spectrum(model: Lapped) -> None:
    if model.decoder.post is None or not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("no post-filter, or no bfloat16 in oneDNN on this processor")
    magnitudes = torch.rand(2, 131, model.decoder.post.window // 2 + 1)
    gains, rough = model.decoder.post.gains(magnitudes), RoughPostFilter(model.decoder.post).gains(magnitudes)
    torch.testing.assert_close(rough[:, ::2], gains[:, ::2], rtol=0.05, atol=0)
    assert torch.equal(rough[:, 1::2], rough[:, :-1:2])


@torch.inference_mode()
def test_a_row_does_not_depend_on_its_batch(model: Lapped) -> None:
    fast = FastLapped(model)
    samples, first, channel = inputs(model)
    codes = fast.encode(samples, first, channel)
    decoded = fast.decode(codes, first, channel)
    for row in range(len(samples)):
        alone = slice(row, row + 1)
        assert torch.equal(fast.encode(samples[alone], first[alone], channel[alone]), codes[alone])
        torch.testing.assert_close(fast.decode(codes[alone], first[alone], channel[alone]), decoded[alone])


def test_weights_are_unchanged(model: Lapped) -> None:
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    FastLapped(model)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(("precision", "supported", "fast"), [("fp32", True, True), ("bf16", True, False),
                                                              ("fp32", False, False)])  # fmt: skip
def test_it_is_used_where_it_can_be(
    model: Lapped, precision: str, supported: bool, fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products_cpu, "is_supported", lambda: supported)
    codec = Codec(model, device="cpu", precision=precision)
    assert isinstance(codec.network, FastLapped) == fast
