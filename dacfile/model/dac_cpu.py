"""`dac` on a CPU: the same network, arranged so that the time goes into matrix products.

Measured against plain PyTorch on one core: convolutions are 1.1 to 1.9 times faster on rows [T, C] ("channels last"),
pointwise ones 2 times when they reach oneDNN, and a Snake computed in pieces that stay in the cache 2 times.
`benchmarks/speed_dac.py` measures the whole. Activations are [B, T, C] throughout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import reduce
from itertools import groupby

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dacfile.model.base import Model
from dacfile.model.dac import Dac
from dacfile.model.layers import SNAKE_EPSILON, Block, ResidualUnit, Snake

Step = Callable[[Tensor], Tensor]  # [B, T, C] -> [B, T', C']; may overwrite its input

# A tile has this many elements per thread (2 MiB), but enough rows to make its halo a small part of it. Smaller tiles
# stay in a nearer cache and gain nothing, larger ones cost a tenth more time.
TILE = 1 << 19
TILE_ROWS = 4096
# Elements of a piece of Snake per thread: two such buffers and the piece itself fit into 1 MiB of cache.
PIECE = 1 << 16


class FastDac(Model):
    """A `Dac` for inference on a CPU in float32. The weights are shared, in another order in memory."""

    def __init__(self, model: Dac) -> None:
        super().__init__()
        self.facts, self.config = model.facts, model.config
        self.quantizer = model.quantizer
        self._encoder = list(steps(model.encoder))
        self._decoder = list(steps(model.decoder.model))

    def encode(self, x: Tensor) -> Tensor:
        """Return the codes int64 [B, K, L] of samples float32 [B, L * hop]."""
        return self.quantizer.encode(run(self._encoder, x[..., None].clone()))

    def decode(self, codes: Tensor, first_frame: Tensor, channel: Tensor) -> Tensor:
        """Return samples float32 [B, L * hop - tail] for codes int64 [B, n, L], as `Dac.decode` does."""
        return run(self._decoder, self.quantizer.decode(codes))[..., 0]


def run(work: list[Step], x: Tensor) -> Tensor:
    """Take x through the steps, one after another."""
    return reduce(lambda value, step: step(value), work, x)


def steps(module: nn.Module) -> Iterator[Step]:
    """Yield the steps of a part of the published network; neighbours that keep the rate become one tiled step."""
    for keeps_rate, group in groupby(layers(module), key=lambda layer: reach(layer) is not None):
        run_of_layers = list(group)
        if keeps_rate:
            yield tiled_step(
                [step_of(layer) for layer in run_of_layers], sum(reach(layer) or 0 for layer in run_of_layers)
            )
        else:
            yield from map(step_of, run_of_layers)


def layers(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the layers of nested sequences in order."""
    if isinstance(module, nn.Sequential | Block):
        for child in module.children():
            yield from layers(child)
    else:
        yield module


def reach(layer: nn.Module) -> int | None:
    """Return how many rows to either side a layer looks, None when it changes the rate."""
    if isinstance(layer, ResidualUnit):
        return sum(reach(part) or 0 for part in layer.block)
    if isinstance(layer, nn.Conv1d) and layer.stride == (1,):
        return int(layer.padding[0])
    return 0 if isinstance(layer, Snake | nn.Tanh) else None


def step_of(layer: nn.Module) -> Step:
    """Return the step for one layer. Raises TypeError for a layer that the published network does not have."""
    if isinstance(layer, ResidualUnit):
        return residual_step(layer)
    if isinstance(layer, Snake):
        return snake_step(layer)
    if isinstance(layer, nn.Conv1d | nn.ConvTranspose1d):
        return convolution_step(layer)
    if isinstance(layer, nn.Tanh):
        return torch.tanh_
    raise TypeError(f"no fast form of {type(layer).__name__}")


def tiled_step(inside: list[Step], halo: int) -> Step:
    """Return steps that are taken through together, tile by tile, so that what lies between them stays in the cache.

    A tile is computed with `halo` rows more on either side, which are thrown away, except at the ends of the input.
    """

    def step(x: Tensor) -> Tensor:
        count = x.shape[1]
        size = max(TILE // x.shape[2], TILE_ROWS) * torch.get_num_threads()
        parts = []
        for start in range(0, count, size):
            first = max(start - halo, 0)
            tile = x[:, first : start + size + halo].clone()
            parts.append(run(inside, tile)[:, start - first : start - first + size])
        return torch.cat(parts, 1) if len(parts) > 1 else parts[0]

    return step


def convolution_step(layer: nn.Conv1d | nn.ConvTranspose1d) -> Step:
    """Return a convolution over rows: as a two-dimensional one of height 1, which may keep channels last."""
    weight = layer.weight.detach()[:, :, None].contiguous(memory_format=torch.channels_last)
    layer.weight.data = weight[:, :, 0]
    bias = None if layer.bias is None else layer.bias.detach()
    stride, dilation = (1, layer.stride[0]), (1, layer.dilation[0])
    padding = (0, int(layer.padding[0]))
    transposed = isinstance(layer, nn.ConvTranspose1d)
    if layer.kernel_size == (1,):
        # Without effect on a kernel of 1, but on one thread PyTorch sends only dilated ones to oneDNN.
        dilation = (2, 2)

    def step(x: Tensor) -> Tensor:
        columns = x.transpose(1, 2)[:, :, None]
        if transposed:
            y = F.conv_transpose2d(columns, weight, bias, stride, padding)
        else:
            y = F.conv2d(columns, weight, bias, stride, padding, dilation)
        return y[:, :, 0].transpose(1, 2).contiguous()

    return step


def residual_step(unit: ResidualUnit) -> Step:
    """Return a residual unit that adds into its input."""
    first, wide, second, narrow = unit.block
    if not (isinstance(first, Snake) and isinstance(second, Snake)):
        raise TypeError("a residual unit without Snakes")
    if not (isinstance(wide, nn.Conv1d) and isinstance(narrow, nn.Conv1d)):
        raise TypeError("a residual unit without convolutions")
    inside = [snake_step(first, in_place=False), convolution_step(wide), snake_step(second), convolution_step(narrow)]
    return lambda x: x.add_(run(inside, x))


def snake_step(layer: Snake, in_place: bool = True) -> Step:
    """Return a Snake that works piece by piece, so that its five passes over memory become one."""
    alpha = layer.alpha.detach().flatten()
    inverse = (alpha + SNAKE_EPSILON).reciprocal()

    def step(x: Tensor) -> Tensor:
        out = x if in_place else torch.empty_like(x)
        rows, results = x.flatten(0, 1), out.flatten(0, 1)
        count = max(PIECE * torch.get_num_threads() // len(alpha), 1)
        sines, scaled = x.new_empty(2, count, len(alpha))
        for piece, result in zip(rows.split(count), results.split(count), strict=True):
            sine, scale = sines[: len(piece)], scaled[: len(piece)]
            torch.mul(piece, alpha, out=sine).sin_()
            torch.mul(sine, inverse, out=scale)
            torch.addcmul(piece, sine, scale, out=result)
        return out

    return step
