"""`dac` on a CPU: the same network, arranged so that the time goes into few matrix products.

Measured against plain PyTorch on one core, 2 times as fast and more (`benchmarks/speed_dac.py`, `docs/performance.md`):
activations are rows [T, C]; a convolution is one over a plain run of rows (`rows_cpu`), to which it multiplies three
times less; a Snake writes straight into the layout that the convolution after it reads (`snake_cpu`); neighbouring
layers of one rate work tile by tile, so that what lies between them stays in the cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, reduce
from itertools import groupby

import torch
from torch import Tensor, nn

from dacfile.model.base import Model
from dacfile.model.dac import Dac
from dacfile.model.layers import Block, ResidualUnit, Snake
from dacfile.model.rows_cpu import Step, convolution, is_supported
from dacfile.model.snake_cpu import snake

# Rows of a tile without its halo. With the halo of three residual units (2 * 39) and the edges of nine phases (2 * 27)
# they fill six calls of 640 rows. Half of that spends more on halos, twice of that leaves the cache.
TILE = 3700


class FastDac(Model):
    """A `Dac` for inference on a CPU in float32, one input of a batch after another.

    Encoder and decoder are prepared when they are first used: in their own order and at their points, the weights of
    the published 44.1 kHz network take 200 and 350 MB. Raises RuntimeError where PyTorch has no oneDNN.
    """

    def __init__(self, model: Dac) -> None:
        super().__init__()
        if not is_supported():
            raise RuntimeError("PyTorch without oneDNN")
        self.facts, self.config = model.facts, model.config
        self.quantizer = model.quantizer
        self._parts = model.encoder, model.decoder.model

    def encode(self, x: Tensor, first_frame: Tensor | None = None, channel: Tensor | None = None) -> Tensor:
        """Return the codes int64 [B, K, L] of samples float32 [B, L * hop]; the rest of the arguments say nothing."""
        return self.quantizer.encode(torch.stack([run(self._encoder, samples[:, None]) for samples in x]))

    def decode(self, codes: Tensor, first_frame: Tensor, channel: Tensor) -> Tensor:
        """Return samples float32 [B, L * hop - tail] for codes int64 [B, n, L], as `Dac.decode` does."""
        return torch.stack([run(self._decoder, latent)[:, 0] for latent in self.quantizer.decode(codes)])

    @cached_property
    def _encoder(self) -> list[Step]:
        return steps(self._parts[0])

    @cached_property
    def _decoder(self) -> list[Step]:
        return steps(self._parts[1])


@dataclass(frozen=True)
class Layer:
    """A layer or residual unit that keeps the rate: rows [T, C] -> [T, C'], and how far it looks to either side."""

    run: Step  # may overwrite its input
    reach: int = 0


@dataclass(frozen=True)
class Resampling:
    """A layer that changes the rate. It reads rows with `margin` rows of zeros before and after them."""

    run: Step
    margin: int


def run(work: list[Step], x: Tensor) -> Tensor:
    """Take x through the steps, one after another."""
    return reduce(lambda value, step: step(value), work, x)


def steps(module: nn.Module) -> list[Step]:
    """Return the steps of a part of the published network; neighbours that keep the rate become one tiled step."""
    made = [layer_of(layer) for layer in layers(module)]
    groups = [list(group) for _, group in groupby(made, key=type)]
    work: list[Step] = []
    for group, after in zip(groups, [*groups[1:], []], strict=True):
        margin = after[0].margin if after and isinstance(after[0], Resampling) else 0
        same = [layer for layer in group if isinstance(layer, Layer)]
        work += [tiled(same, margin)] if same else [layer.run for layer in group]
    return work


def layers(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the layers of nested sequences in order."""
    if isinstance(module, nn.Sequential | Block):
        for child in module.children():
            yield from layers(child)
    else:
        yield module


def layer_of(module: nn.Module) -> Layer | Resampling:
    """Return the fast form of one layer. Raises TypeError for one that the published network does not have."""
    if isinstance(module, ResidualUnit):
        return residual_unit(module)
    if isinstance(module, Snake):
        write = snake(module)
        return Layer(lambda x: (write(x, x), x)[1])
    if isinstance(module, nn.Tanh):
        return Layer(torch.tanh_)
    if isinstance(module, nn.ConvTranspose1d):
        return upsampling(module)
    if isinstance(module, nn.Conv1d):
        return plain(module) if module.stride == (1,) else downsampling(module)
    raise TypeError(f"no fast form of {type(module).__name__}")


def tiled(inside: list[Layer], margin: int) -> Step:
    """Return a step that takes rows through layers tile by tile, and puts `margin` rows of zeros around the result.

    A tile is computed with as many rows more on either side as the layers look, which are thrown away, except at the
    ends of the input.
    """
    halo = sum(layer.reach for layer in inside)
    work = [layer.run for layer in inside]

    def step(x: Tensor) -> Tensor:
        out = x.new_empty(0)
        for start in range(0, len(x), TILE):
            first = max(start - halo, 0)
            tile = run(work, x[first : start + TILE + halo].clone())[start - first : start - first + TILE]
            if not len(out):
                out = tile.new_zeros(len(x) + 2 * margin, tile.shape[1])
            out[margin + start : margin + start + len(tile)] = tile
        return out

    return step


def parts(layer: nn.Conv1d | nn.ConvTranspose1d) -> tuple[Tensor, Tensor]:
    """Return weight and bias, which is zero where the layer has none."""
    weight, outputs = layer.weight.detach(), layer.out_channels
    return weight, weight.new_zeros(outputs) if layer.bias is None else layer.bias.detach()


def plain(layer: nn.Conv1d) -> Layer:
    """Return a convolution that keeps the rate, on rows with its padding around them. Only residual units dilate."""
    convolve, reach = convolution(*parts(layer)), int(layer.padding[0])
    return Layer(lambda x: convolve(nn.functional.pad(x, (0, 0, reach, reach))), reach)


def downsampling(layer: nn.Conv1d) -> Resampling:
    """Return a convolution of 2 s taps and stride s: one of 2 taps, if s rows of C values are a row of s * C."""
    stride = layer.stride[0]
    weight, bias = parts(layer)
    convolve = convolution(weight.unflatten(2, (2, stride)).permute(0, 3, 1, 2).flatten(1, 2), bias)

    def step(x: Tensor) -> Tensor:
        return convolve(x[: len(x) // stride * stride].view(-1, stride * x.shape[1]))

    return Resampling(step, int(layer.padding[0]))


def upsampling(layer: nn.ConvTranspose1d) -> Resampling:
    """Return a transposed convolution of 2 s taps and stride s: one of 2 taps that gives s rows in one.

    Input t reaches outputs s t - padding + [0, 2 s): the output rows [s t, s (t + 1)), counted from -padding, are made
    of input t - 1 with the second half of the taps and input t with the first.
    """
    stride, padding = layer.stride[0], int(layer.padding[0])
    weight, bias = parts(layer)
    halves = weight.unflatten(2, (2, stride)).flip(2).permute(3, 1, 0, 2).flatten(0, 1)  # [s * O, I, 2]
    convolve = convolution(halves, bias.repeat(stride))

    def step(x: Tensor) -> Tensor:
        y = convolve(x)
        rows = y.reshape(-1, y.shape[1] // stride)
        return rows[padding : len(rows) - padding]

    return Resampling(step, 1)


def residual_unit(unit: ResidualUnit) -> Layer:
    """Return a residual unit that adds into its input.

    For a dilation d, row t is stored in phase t % d, at t // d. Within a phase the convolution is not dilated; the
    phases follow one another with zeros between, so that one run of rows does it. What the taps make of the seams
    between phases is never read.
    """
    first, wide, second, narrow = unit.block
    if not (isinstance(first, Snake) and isinstance(second, Snake)):
        raise TypeError("a residual unit without Snakes")
    if not (isinstance(wide, nn.Conv1d) and isinstance(narrow, nn.Conv1d)):
        raise TypeError("a residual unit without convolutions")
    before, between = snake(first), snake(second)
    convolve, mix = convolution(*parts(wide)), convolution(*parts(narrow))
    dilation, edge = wide.dilation[0], wide.kernel_size[0] // 2

    def step(x: Tensor) -> Tensor:
        rows, width = -(-len(x) // dilation), x.shape[1]
        phases = x.new_zeros(dilation, rows + 2 * edge, width)
        for values, stored in in_phases(x, phases[:, edge:]):
            before(values, stored)
        inner = convolve(phases.flatten(0, 1))
        between(inner, inner)
        added = mix(inner).as_strided((dilation, rows, width), phases.stride())
        for values, stored in in_phases(x, added):
            values.add_(stored)
        return x

    return Layer(step, edge * dilation)


def in_phases(x: Tensor, phases: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield views [n, r, C] of rows [T, C] and of the same in phases [d, >= T / d, C]: whole runs of d, the rest."""
    dilation = len(phases)
    whole, rest = divmod(len(x), dilation)
    yield x[: whole * dilation].view(whole, dilation, x.shape[1]), phases[:, :whole].transpose(0, 1)
    if rest:
        yield x[None, whole * dilation :], phases[None, :rest, whole]
