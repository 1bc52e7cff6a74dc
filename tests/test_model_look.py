"""The second look: levels are those of the mel distance, and what is heard is what decoding will give."""

from __future__ import annotations

import pytest
import torch

from dacfile.model.facts import SIDE
from dacfile.model.lapped import Lapped
from dacfile.model.look import LEVELS, SCALES, Levels, looked_at
from dacfile.quality.spectral import mel_filters

NUMBERS = {"rate": 16000, "hop": 64, "codebooks": 3, "codebook_size": 32, "code_dim": 4, "width": 32,
           "encoder_blocks": 1, "decoder_blocks": 1, "split": 8, "quadrature": 16, "noise_frames": 16,
           "look_blocks": 1, "look_width": 24}  # fmt: skip


def network(trained: bool) -> Lapped:
    torch.manual_seed(1)
    built = Lapped(NUMBERS).eval().requires_grad_(False)
    built.decoder.noise.normal_(0, 0.3)
    if trained:
        assert built.look is not None
        built.look.leave.weight.normal_(0, 0.3)
    return built


def sound(frames: int = 40) -> torch.Tensor:
    return 0.3 * torch.randn(2, (frames + 1) * 64, generator=torch.Generator().manual_seed(2))


def test_levels_are_mel_magnitudes_around_each_part_of_a_frame() -> None:
    samples, hop, frame = sound(), 64, 17
    levels = Levels(16000, hop)(samples)
    assert levels.shape == (2, 40, LEVELS)
    place = 0
    for size, bands, times in SCALES:
        for part in range(times):
            centre = (frame + 1) * hop - hop // 2 + hop // (2 * times) + part * hop // times
            window = torch.zeros(size)
            start = centre - size // 2
            first, end = max(start, 0), min(start + size, samples.shape[1])
            window[first - start : end - start] = samples[1, first:end]
            magnitudes = torch.fft.rfft(window * torch.hann_window(size)).abs()
            expected = (mel_filters(16000, size, bands).float() @ magnitudes).clamp_min(1e-5).log10()
            torch.testing.assert_close(levels[1, frame, place : place + bands], expected, atol=1e-4, rtol=1e-4)
            place += bands
    assert place == LEVELS


def test_the_context_is_what_a_look_reaches() -> None:
    """Latents of a window are those of the whole sound where its context is there; half of that is not enough."""
    model, frames = network(trained=True), 120
    samples, context = sound(frames), model.facts.encoder_context
    whole = looked_at(model, samples, None, None)
    first = 30
    part = samples[:, first * 64 : (frames - 30 + 1) * 64]
    window = looked_at(model, part, torch.tensor([first, first]), None)
    inner = slice(context, window.shape[1] - context)
    torch.testing.assert_close(window[:, inner], whole[:, first:][:, inner], atol=1e-5, rtol=1e-4)
    edge = context // 2
    assert (window[:, edge] - whole[:, first + edge]).abs().max() > 1e-4


def test_a_model_can_go_without() -> None:
    model = network(trained=True)
    alone = model.without_look()
    assert (alone.look, alone.config["look_blocks"], alone.facts.encoder_context) == (None, 0, 3)
    assert model.look is not None
    assert torch.equal(alone.encode(sound()), model.quantizer.encode(model.encoder(sound())))
    assert alone.without_look() is alone
    Lapped(alone.config).load_state_dict(alone.state_dict())


def test_an_untrained_look_moves_nothing() -> None:
    model = network(trained=False)
    assert torch.equal(model.encode(sound()), model.quantizer.encode(model.encoder(sound())))


def test_it_hears_the_noise_that_decoding_will_add() -> None:
    model, samples = network(trained=True), sound()
    place = torch.tensor([5, 5]), torch.tensor([0, SIDE])
    codes = model.encode(samples, *place)
    assert not torch.equal(codes, model.encode(samples))
    model.decoder.noise[0] = model.decoder.noise[0].roll(-5, 0)  # the noise from frame 5 on
    found = model.encode(samples)
    assert torch.equal(found[0], codes[0])
    assert not torch.equal(found[1], codes[1])


def test_a_hop_that_does_not_part_is_refused() -> None:
    with pytest.raises(ValueError, match="does not part into 32"):
        Lapped({**NUMBERS, "hop": 72, "split": 8})
