"""The context network of spec/priors.md in torch, with its quantisation simulated, for training only.

Everything is in the integer network's own units: activations are whole numbers of 1/32 in -127..127, weights whole
numbers of 2**-e in -127..127 with one exponent per tensor, chosen from the weights themselves. Rounding passes
gradients straight through. Matrix products run in bfloat16, which holds such numbers exactly.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dacfile.entropy.network import STATE_BITS, STATE_SHIFT, UNIT, NetworkConfig
from dacfile.training.prior_data import MISSING, Likeness

LIMIT = 127.0


class _Activation(torch.autograd.Function):
    """Clamp to `low`..127 and round halves up; the gradient passes where nothing was clamped."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, low: float) -> Tensor:
        clamped = x.clamp(low, LIMIT)
        ctx.save_for_backward(clamped == x)
        return clamped.add_(0.5).floor_().bfloat16()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (passes,) = ctx.saved_tensors
        return (gradient * passes).float(), None


def activation(x: Tensor, low: float) -> Tensor:
    """Return int8 values, held exactly in bfloat16."""
    return _Activation.apply(x, low)


class _Quantised(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, e: int) -> Tensor:
        return (weight * 2.0**e).add_(0.5).floor_().mul_(2.0**-e).bfloat16()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient.float(), None


def quantised(weight: Tensor, e: int) -> Tensor:
    """Return the weight as the integer network will use it, in real units and held exactly in bfloat16."""
    return _Quantised.apply(weight, e)


def exponent(weights: Sequence[Tensor], smallest: int, largest: int) -> int:
    """Return the largest exponent e at which every weight times 2**e stays within -127..127."""
    peak = max(float(weight.detach().abs().max()) for weight in weights)
    return max(smallest, min(largest, math.floor(math.log2(LIMIT / max(peak, 1e-9)))))


class _GroupedLinear(torch.autograd.Function):
    """`out[i] = weight[g] @ x[i]` for rows sorted by their group g; `bounds` are the groups' first rows and the end."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bounds: list[int]) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.bounds = bounds
        out = x.new_empty(len(x), weight.shape[1])
        for g, (a, b) in enumerate(itertools.pairwise(bounds)):
            if a < b:
                torch.mm(x[a:b], weight[g].t(), out=out[a:b])
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weight = ctx.saved_tensors
        dx, dweight = torch.empty_like(x), torch.zeros_like(weight)
        for g, (a, b) in enumerate(itertools.pairwise(ctx.bounds)):
            if a < b:
                torch.mm(gradient[a:b], weight[g], out=dx[a:b])
                torch.mm(gradient[a:b].t(), x[a:b], out=dweight[g])
        return dx, dweight, None


@dataclass
class Exponents:
    """The weight exponents of one layer; tables and projections that add up share one."""

    table: int = 7
    mix: int = 7
    back: int = 7
    head: int = 7
    group: int = 7
    member: int = 7


class Layer(nn.Module):
    """The parameters that belong to one codebook; shapes as in spec/priors.md."""

    def __init__(self, config: NetworkConfig, index: int) -> None:
        super().__init__()
        c = config
        self.has_past = index in c.own_past
        self.exponents = Exponents()

        def normal(*shape: int, fan: int, gain: float = 1.0) -> nn.Parameter:
            return nn.Parameter(torch.randn(*shape) * gain / math.sqrt(fan))

        self.head = normal(c.head, c.width, fan=c.width)
        self.reference = normal(c.head, c.width, fan=c.width, gain=0.5)
        self.head_bias = nn.Parameter(torch.zeros(c.head))
        self.group = normal(c.groups, c.head, fan=c.head, gain=0.5)
        self.group_bias = nn.Parameter(torch.zeros(c.groups))
        self.member = normal(c.groups, c.members, c.head, fan=c.head, gain=0.5)
        self.member_bias = nn.Parameter(torch.zeros(c.groups, c.members))
        if self.has_past:
            self.recent = normal(c.codebook_size, c.past_width, fan=1, gain=0.5)
            self.past = normal(c.lags, c.past_width, c.head, fan=c.past_width * 2)
        self.table = normal(c.codebook_size, c.width, fan=1, gain=0.3)
        self.mix = normal(c.hidden, c.taps * c.width, fan=c.taps * c.width)
        self.mix_bias = nn.Parameter(torch.zeros(c.hidden))
        self.back = normal(c.width, c.hidden, fan=c.hidden, gain=0.5)

    @torch.no_grad()
    def choose_exponents(self) -> None:
        """Set every exponent from the present weights."""
        heads = [self.head, self.reference]
        if self.has_past:
            heads.append(self.past)
        self.exponents.head = exponent(heads, 0, 14)
        self.exponents.group = exponent([self.group], 0, 14)
        self.exponents.member = exponent([self.member], 0, 14)
        self.exponents.table = exponent([self.table], 0, STATE_BITS)
        self.exponents.mix = exponent([self.mix], 0, 14)
        self.exponents.back = exponent([self.back], STATE_SHIFT, 14)


class PriorNet(nn.Module):
    """Negative log likelihood of codes, layer by layer, as the integer network will code them."""

    def __init__(self, config: NetworkConfig, order: Tensor) -> None:
        """Start at random. `order`: int64 [codebooks, N]; at place `g * members + m` stands member m of group g."""
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList(Layer(config, k) for k in range(config.codebooks))
        self.start = nn.Parameter(torch.randn(2, config.phases, config.width) * 0.1)
        self.order: Tensor
        self.position: Tensor
        self.register_buffer("order", order)
        self.register_buffer("position", torch.argsort(order, 1))

    def choose_exponents(self) -> None:
        """Set every weight exponent from the present weights."""
        for layer in self.modules_of_codebooks():
            layer.choose_exponents()

    @torch.no_grad()
    def start_from(self, likeness: Likeness) -> None:
        """Start with alike codes alike, and with the codes' frequencies in the biases."""
        c = self.config
        for k, layer in enumerate(self.modules_of_codebooks()):
            features = torch.from_numpy(likeness.features[k])
            spread = features / features.shape[1] ** 0.5
            layer.table.mul_(0.3).add_(0.3 * spread @ torch.randn(features.shape[1], c.width))
            if layer.has_past:
                layer.recent.mul_(0.3).add_(0.5 * spread @ torch.randn(features.shape[1], c.past_width))
            counts = torch.from_numpy(likeness.counts[k][likeness.order[k]]).float().add_(1.0).view(c.groups, c.members)
            layer.group_bias.copy_((counts.sum(1) / counts.sum()).log())
            layer.member_bias.copy_((counts / counts.sum(1, keepdim=True)).log())

    def modules_of_codebooks(self) -> list[Layer]:
        """Return the layers, typed."""
        return [layer for layer in self.layers if isinstance(layer, Layer)]

    def forward(
        self, codes: Tensor, phase: Tensor, reference: list[Tensor] | None = None, keep_last: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """Return (nats [layers] summed over the batch, states for later channels).

        `codes`: int64 [B, layers, L], MISSING in layers that a channel does not have, which cost and change nothing;
        `phase`: int64 [B, L]; `reference`: the states of channel 0, one for each layer (channel 0 returns the last one
        only when asked to `keep_last`).
        """
        state = self.start[0 if reference is None else 1][phase] * UNIT
        x = activation(state, -LIMIT)
        losses, states = [], []
        for k, layer in enumerate(self.modules_of_codebooks()[: codes.shape[1]]):
            rows = torch.nonzero(codes[:, k, 0] != MISSING)[:, 0]
            own = codes[rows, k]
            if len(rows):
                z = self._head(layer, x[rows], own, None if reference is None else reference[k][rows])
                losses.append(self._loss(layer, z, self.position[k, own]))
            else:
                losses.append(codes.new_zeros((), dtype=torch.float32))
            if k + 1 < codes.shape[1] or keep_last:
                if len(rows):
                    state = state.index_copy(0, rows, self._update(layer, state[rows], own))
                    x = activation(state, -LIMIT)
                states.append(x)
        return torch.stack(losses), states

    def _head(self, layer: Layer, x: Tensor, own: Tensor, reference: Tensor | None) -> Tensor:
        e = layer.exponents.head
        total = F.linear(x, quantised(layer.head, e)).float() + layer.head_bias * UNIT
        if reference is not None:
            total = total + F.linear(reference, quantised(layer.reference, e))
        if layer.has_past:
            total = total + self._own_past(layer, own)
        return activation(total, 0.0)

    def _own_past(self, layer: Layer, own: Tensor) -> Tensor:
        lags = self.config.lags
        recent = activation(layer.recent * UNIT, -LIMIT)
        rows = F.pad(F.embedding(own, recent), (0, 0, lags, 0))
        length = own.shape[1]
        window = torch.cat([rows[:, lags - lag : lags - lag + length] for lag in range(1, lags + 1)], -1)
        weight = quantised(layer.past, layer.exponents.head)
        return window @ weight.flatten(0, 1)

    def _loss(self, layer: Layer, z: Tensor, position: Tensor) -> Tensor:
        members = self.config.members
        flat, target = z.flatten(0, 1), position.flatten()
        group, member = target // members, target % members
        logits = F.linear(flat, quantised(layer.group, layer.exponents.group)).float() / UNIT
        loss = F.cross_entropy(logits + layer.group_bias, group, reduction="sum")
        rows = torch.argsort(group, stable=True)
        bounds = [0, *torch.bincount(group, minlength=self.config.groups).cumsum(0).tolist()]
        weight = quantised(layer.member, layer.exponents.member)
        inner = _GroupedLinear.apply(flat[rows], weight, bounds).float() / UNIT
        inner = inner + F.embedding(group[rows], layer.member_bias)
        return loss + F.cross_entropy(inner, member[rows], reduction="sum")

    def _update(self, layer: Layer, state: Tensor, own: Tensor) -> Tensor:
        table = quantised(layer.table, layer.exponents.table)
        state = state + F.embedding(own, table) * UNIT
        x = activation(state, -LIMIT)
        side = self.config.taps // 2
        padded = F.pad(x, (0, 0, side, side))
        window = torch.cat([padded[:, i : i + x.shape[1]] for i in range(self.config.taps)], -1)
        total = F.linear(window, quantised(layer.mix, layer.exponents.mix)).float()
        u = activation(total + layer.mix_bias * UNIT, 0.0)
        return state + F.linear(u, quantised(layer.back, layer.exponents.back)).float()
