"""`lapped` on a CPU: the same network with its matrix products in oneDNN, weights packed once.

Measured on one AMD Zen 5 core: PyTorch's own product (MKL) does 100 GFLOP/s there, oneDNN with packed weights 230 to
240, with the GELU in the same pass. Convolutions read and write rows [L, width] as they lie, and the sums of what a
code adds to the latent are looked up in tables. Results differ from plain PyTorch's by rounding only.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from functools import cache
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dacfile.model import mdct, products_cpu
from dacfile.model.base import Model
from dacfile.model.convnext import Block
from dacfile.model.lapped import ENERGY_FLOOR, Decoder, Encoder, Lapped, compand
from dacfile.model.lapped_quantizer import Choice, LappedQuantizer, Stage, largest
from dacfile.model.look import SecondLook, looked_at
from dacfile.model.postfilter import GAIN_RANGE, SPECTRA_AT_ONCE, PostFilter
from dacfile.model.products_cpu import Step, packed


def linear(layer: nn.Linear, then: str = "none", dtype: torch.dtype = torch.float32) -> Step:
    """Return a linear layer."""
    return packed(layer.weight, layer.bias, then, dtype)


class AsLayer(nn.Module):
    """A step in the place of a layer."""

    def __init__(self, step: Step) -> None:
        super().__init__()
        self.forward = step


def convolution(layer: nn.Conv1d) -> Step:
    """Return a convolution over rows: as a two-dimensional one of height 1, which may keep channels last."""
    weight = layer.weight.detach()[:, :, None].contiguous(memory_format=torch.channels_last)
    padding = (0, int(layer.padding[0]))

    def step(x: Tensor) -> Tensor:
        columns = x.transpose(1, 2)[:, :, None]
        return F.conv2d(columns, weight, layer.bias, 1, padding, 1, layer.groups)[:, :, 0].transpose(1, 2)

    return step


def block(layer: nn.Module, dtype: torch.dtype = torch.float32) -> Step:
    """Return a ConvNeXt block, products in `dtype`; its residual scale is part of its last product."""
    if not isinstance(layer, Block):
        raise TypeError(f"no fast form of {type(layer).__name__}")
    mix, norm, scale = convolution(layer.mix), layer.norm, layer.scale.detach()
    widen = linear(layer.widen, "gelu", dtype)
    narrow = packed(layer.narrow.weight * scale[:, None], layer.narrow.bias * scale, dtype=dtype)
    return lambda x: narrow(widen(norm(mix(x)))).to(x.dtype).add_(x)


def run(steps: Sequence[Step], x: Tensor) -> Tensor:
    """Take x through the steps, one after another."""
    for step in steps:
        x = step(x)
    return x


class FastEncoder:
    """Samples [B, (L + 1) hop] -> features -> latent [B, L, width], as `Encoder` makes them."""

    def __init__(self, encoder: Encoder) -> None:
        self._config, self._energy_mean = encoder.config, encoder.energy_mean
        self._analysis = packed(encoder.analysis.T)
        self._averaging = packed(encoder.averaging.T)
        self._steps = [linear(encoder.project), *map(block, encoder.blocks)]

    def features(self, samples: Tensor) -> Tensor:
        """Return what `Encoder.features` does."""
        spectrum = self._analysis(mdct.frames(samples, self._config.hop))
        power = self._averaging(spectrum[..., : self._config.hop].square())
        energies = (0.5 * torch.log(power + ENERGY_FLOOR) - self._energy_mean) * self._config.energy_weight
        return torch.cat([compand(spectrum, self._config.exponent), energies], -1)

    def latent(self, features: Tensor) -> Tensor:
        """Return what `Encoder.latent` does."""
        return run(self._steps, features)


class FastPostFilter(PostFilter):
    """A post-filter whose network works on rows, one for each bin of each spectrum."""

    dtype = torch.float32

    def __init__(self, post: PostFilter) -> None:
        super().__init__(post.bins, post.window, post.enter.out_channels)
        self.load_state_dict(post.state_dict())
        self._surroundings = self.enter.weight.detach().to(self.dtype).contiguous(memory_format=torch.channels_last)
        self._middle = packed(post.middle.weight[..., 0, 0], post.middle.bias, "gelu", self.dtype)
        self._leave = packed(post.leave.weight[..., 0, 0], post.leave.bias, dtype=self.dtype)
        self._place = post.place.weight.detach()[..., 0, 0].T.to(self.dtype).contiguous()
        self._bias = cast(Tensor, post.enter.bias).detach().to(self.dtype)

    def gains(self, magnitudes: Tensor) -> Tensor:
        """Return the gains of magnitudes [b, F, bins]: window by window, for the cache's sake."""
        return torch.cat([super(FastPostFilter, self).gains(window) for window in magnitudes.split(1)])

    def _gains(self, around: Tensor, places: Tensor, first: int) -> Tensor:
        last = first + SPECTRA_AT_ONCE
        seen = channels_last(around[:, :, first : last + 2 * self._past].to(self.dtype))
        hidden = F.conv2d(seen, self._surroundings, self._bias, dilation=(self.apart, 1)).permute(0, 2, 3, 1)
        place = places[:, :, first:last].permute(0, 2, 3, 1).reshape(-1, len(self._place)).to(self.dtype)
        rows = hidden.reshape(-1, hidden.shape[-1]).addmm_(place, self._place)
        return self._leave(self._middle(F.gelu(rows))).float().view(hidden.shape[:3]).clamp_(*GAIN_RANGE).exp_()


class RoughPostFilter(FastPostFilter):
    """A post-filter for previews: in bfloat16, and with gains of its own for every other spectrum only."""

    dtype = torch.bfloat16
    apart = FastPostFilter.apart // 2

    def gains(self, magnitudes: Tensor) -> Tensor:
        """Return about the gains of magnitudes [b, F, bins]."""
        found = super().gains(magnitudes[:, ::2])
        return found.repeat_interleave(2, 1)[:, : magnitudes.shape[1]]


def channels_last(image: Tensor) -> Tensor:
    """Return an image of one channel [B, 1, H, W] with strides that say so: its own would leave it open.

    What a convolution makes of it then has its channels last as well.
    """
    _, _, height, width = image.shape
    return image.contiguous().as_strided(image.shape, (height * width, 1, width, 1))


class FastDecoder:
    """Latent [B, L, width], noise [B, L, hop] and gains -> samples [B, (L - 1) hop], as `Decoder` makes them.

    `dtype` is that of the blocks, and `post` makes the post-filter's fast form.
    """

    def __init__(
        self, decoder: Decoder, dtype: torch.dtype = torch.float32, post: type[FastPostFilter] = FastPostFilter
    ) -> None:
        self.config, self.noise_at = decoder.config, decoder.noise_at
        self._plain = copy(decoder)
        self._plain._modules = {**decoder._modules, "project": AsLayer(linear(decoder.project))}
        if decoder.post is not None:
            self._plain._modules["post"] = post(decoder.post)
        self._synthesis = packed(decoder.synthesis.T)
        self._steps = [convolution(decoder.enter), *(block(layer, dtype) for layer in decoder.blocks)]

    def __call__(self, latent: Tensor, noise: Tensor, gains: Tensor | None = None) -> Tensor:
        coefficients = self._plain.coefficients(run(self._steps, latent), noise, gains)
        return mdct.overlap_add(self._synthesis(coefficients))


class FastLook:
    """`look_inputs` -> what the latent is moved by, as `SecondLook` does it."""

    def __init__(self, look: SecondLook) -> None:
        self.levels = look.levels
        self._steps: list[Step] = [linear(look.enter), *map(block, look.blocks), look.norm, linear(look.leave)]

    def __call__(self, inputs: Tensor) -> Tensor:
        return run(self._steps, inputs)


class FastStage:
    """One codebook of the quantiser."""

    def __init__(self, stage: Stage) -> None:
        codebook = stage.codebook
        self.project_in = linear(stage.project_in)
        self.scores = packed(codebook, codebook.square().sum(-1) * -0.5)  # largest for the nearest entry
        self.entries = stage.entries()


class FastQuantizer:
    """Latent <-> codes, as `LappedQuantizer` does it."""

    def __init__(self, quantizer: LappedQuantizer) -> None:
        self._stages = [FastStage(stage) for stage in quantizer]
        self._absent = len(self._stages[0].entries)
        # One table for all stages, each followed by a row of zeros for codes that are absent.
        self._table = torch.cat([F.pad(stage.entries, (0, 0, 0, 1)) for stage in self._stages])

    def encode(self, latent: Tensor, choice: Choice | None = None) -> Tensor:
        """Return codes int64 [B, K, L] of a latent float32 [B, L, width], as `LappedQuantizer.encode` does."""
        residual, codes = latent.clone(), []
        choose = choice.chooser(*latent.shape[:2]) if choice else self.nearest
        for k, stage in enumerate(self._stages):
            codes.append(choose(k, stage.project_in(residual)))
            residual -= F.embedding(codes[-1], stage.entries)
        return torch.stack(codes, 1)

    def nearest(self, k: int, projected: Tensor) -> Tensor:
        """Return the index of stage k's entry that is nearest to projections [B, L, dim]."""
        return largest(self._stages[k].scores(projected))

    def decode(self, codes: Tensor) -> Tensor:
        """Return the latent float32 [B, L, width] of codes int64 [B, n <= K, L]; a code of -1 adds nothing."""
        batch, depth, frames = codes.shape
        rows = torch.where(codes < 0, self._absent, codes) + (self._absent + 1) * torch.arange(depth)[:, None]
        bags = rows.transpose(1, 2).reshape(-1, depth)
        return F.embedding_bag(bags, self._table, mode="sum").view(batch, frames, -1)


class FastLapped(Model):
    """A `Lapped` for inference on a CPU in float32; its weights are copied in another order."""

    def __init__(self, model: Lapped) -> None:
        super().__init__()
        self.facts, self.config = model.facts, model.config
        self.choice = model.choice
        with torch.no_grad():
            self.encoder, self.decoder = FastEncoder(model.encoder), FastDecoder(model.decoder)
            self.quantizer = FastQuantizer(model.quantizer)
            self.look = FastLook(model.look) if model.look else None
        # Only encoders listen, and packing its weights takes as long as decoding seconds of sound.
        self._rounded_decoder = cache(lambda: FastDecoder(model.decoder, torch.bfloat16, RoughPostFilter))

    def encode(self, x: Tensor, first_frame: Tensor | None = None, channel: Tensor | None = None) -> Tensor:
        """Return codes int64 [B, K, L] of samples float32 [B, (L + 1) hop], as `Lapped.encode` does."""
        return self.quantizer.encode(looked_at(self, x, first_frame, channel), self.choice)

    def decode(self, codes: Tensor, first_frame: Tensor, channel: Tensor, gains: Tensor | None = None) -> Tensor:
        """Return samples float32 [B, (L - 1) hop] of codes int64 [B, n <= K, L], as `Lapped.decode` does."""
        noise = self.decoder.noise_at(first_frame, channel, codes.shape[-1])
        return self.decoder(self.quantizer.decode(codes), noise, gains)

    def preview(self, codes: Tensor, first_frame: Tensor, channel: Tensor, *gains: Tensor) -> Tensor:
        """Return about what `decode` does, and sooner where the processor has bfloat16."""
        noise = self.decoder.noise_at(first_frame, channel, codes.shape[-1])
        decoder = self._rounded_decoder() if products_cpu.is_rounding_faster() else self.decoder
        return decoder(self.quantizer.decode(codes), noise, *gains)
