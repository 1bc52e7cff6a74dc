"""Rate-distortion optimised choice of codes: the entry that is near and cheap, in place of the nearest one.

Of all entries the one with the least distance^2 + lambda R is taken, where R is what a prior would spend on its code,
in bits (entropy-constrained quantisation, Chou, Lookabaugh and Gray 1989). Only encoders do this: files and decoders
know nothing of it. So nothing here need be exact: PyTorch computes the integer network of spec/priors.md as it likes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from dacfile.entropy import Prior
from dacfile.entropy.context import NetworkPrior
from dacfile.entropy.network import LIMIT, STATE_SHIFT, UNIT, Layer
from dacfile.model import products_cpu
from dacfile.model.facts import HEAVIEST_BIT
from dacfile.model.lapped_quantizer import Chooser, Stage, largest
from dacfile.model.products_cpu import Product, Step

WEIGHT_KEY = "rdo"  # among the free texts of a prior file: what a bit shall weigh for its model


class PriorLikelihoods:
    """What a prior says of every code of a layer, for all frames at once.

    Shapes: B channels, each for itself, L frames, N entries. Frames before the first are unknown, as at the start of a
    block, so the first few of a window are judged with less context than they will have. `product` makes the linear
    maps; without it the fastest of `dacfile.model.products_cpu` does, or PyTorch itself.
    """

    def __init__(self, prior: NetworkPrior, device: torch.device, product: Product | None = None) -> None:
        network, product = prior.network, product or products_cpu.for_whole_numbers(device)
        self._side = prior.sizes.taps // 2
        self._start = torch.from_numpy(network.start(0, 0, 1)).to(device)
        self._layers = [_LikelihoodLayer(layer, device, product) for layer in network.layers]
        self.orders = [layer.order for layer in self._layers]  # int64 [N] each: the code at each of the prior's places

    def start(self, rows: int, frames: int) -> Tensor:
        """Return the state before any layer is known, float32 [B, L, width]."""
        return self._start.expand(rows, frames, -1).clone()

    def log_likelihood(self, k: int, state: Tensor, codes: Tensor) -> Tensor:
        """Return natural logarithms, float32 [B, L, N], for `orders[k]`; `codes` [B, L] stand for the own past."""
        layer = self._layers[k]
        sums = layer.head(self._activation(state))
        if layer.past is not None:
            sums += own_past(layer.past, codes)
        values = sums.floor_().clamp_(0, LIMIT)
        groups = F.log_softmax(layer.group(values), -1)
        members = F.log_softmax(layer.member(values).unflatten(-1, (groups.shape[-1], -1)), -1)
        return members.add_(groups[..., None]).flatten(-2)

    def learn(self, k: int, state: Tensor, codes: Tensor) -> Tensor:
        """Return the state when the codes int64 [B, L] of layer k are known as well."""
        layer = self._layers[k]
        state = state + F.embedding(codes, layer.table)
        seen = F.pad(self._activation(state), (0, 0, self._side, self._side))
        windows = seen.unfold(1, 2 * self._side + 1, 1).transpose(2, 3).flatten(2)
        return state.add_(layer.back(layer.mix(windows).floor_().clamp_(0, LIMIT)))

    @staticmethod
    def _activation(state: Tensor) -> Tensor:
        return (state * 0.5**STATE_SHIFT).round_().clamp_(-LIMIT, LIMIT)


class _LikelihoodLayer:
    """One layer of a prior: its linear maps, logits in nats, and its tables."""

    def __init__(self, layer: Layer, device: torch.device, product: Product) -> None:
        def tensor(array: np.ndarray) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(array)).to(device)

        def linear(weight: np.ndarray, bias: np.ndarray | None = None, unit: int = 1) -> Step:
            return product(tensor(weight.T / unit), None if bias is None else tensor(bias / unit))

        member = layer.member.transpose(1, 0, 2).reshape(layer.head.shape[1], -1)
        self.order, self.table = tensor(layer.order.astype(np.int64)), tensor(layer.table)
        self.mix, self.back = linear(layer.mix, layer.mix_bias), linear(layer.back)
        self.head, self.group = linear(layer.head, layer.head_bias), linear(layer.group, layer.group_bias, UNIT)
        self.member = linear(member, layer.member_bias.reshape(-1), UNIT)
        self.past = None if layer.past is None else tensor(layer.past)


def own_past(table: Tensor, codes: Tensor) -> Tensor:
    """Return what the codes [B, L] of the frames before say, summed: [B, L, head], by a table [N, lags, head]."""
    lags = table.shape[1]
    seen = F.pad(codes, (lags, 0), value=-1).unfold(1, lags, 1)[:, :-1].flatten(0, 1)  # the oldest first
    rows = seen.clamp(min=0) * lags + torch.arange(lags - 1, -1, -1, device=codes.device)
    known = (seen >= 0).to(table.dtype)
    sums = F.embedding_bag(rows, table.flatten(0, 1), mode="sum", per_sample_weights=known)
    return sums.view(*codes.shape, -1)


class RdoChoice:
    """How an encoder weighs bits against distance.

    `weight` 1 is the exchange of an ideal quantiser at high rate, at which a bit divides the error of d dimensions by
    2^(2/d): lambda = weight * 2 ln 2 / d * D. For the mean error D of a stage stands the mean square distance between
    an entry and its nearest neighbour: D is 0.9 to 1.35 times that, measured in nine stages of the 44k model.
    """

    def __init__(self, likelihoods: PriorLikelihoods, stages: Iterable[Stage], weight: float) -> None:
        self.likelihoods, self._stages = likelihoods, list(stages)
        # lambda / 2, in squared distance a nat
        self._per_nat = [weight / stage.codebook.shape[1] * spacing(stage.codebook) for stage in self._stages]
        self.follow()

    def follow(self) -> None:
        """Take the codebooks as they are now; what a bit weighs stays as it was at the start."""
        self._entries = [
            stage.codebook[order] for stage, order in zip(self._stages, self.likelihoods.orders, strict=False)
        ]
        self._biases = [entries.square().sum(-1) * -0.5 for entries in self._entries]

    def chooser(self, rows: int, frames: int) -> Chooser:
        """Return what chooses the codes of `rows` windows of `frames` frames, stage after stage.

        For its own past, which is not chosen yet, a frame sees the nearest entries.
        """
        likelihoods, state = self.likelihoods, self.likelihoods.start(rows, frames)

        def choose(k: int, projected: Tensor) -> Tensor:
            nonlocal state
            with torch.autocast(projected.device.type, enabled=False):
                scores = torch.addmm(self._biases[k], projected.float().flatten(0, -2), self._entries[k].T)
                scores = scores.view(*projected.shape[:-1], -1)
                nearest = likelihoods.orders[k][largest(scores)]
                scores.add_(likelihoods.log_likelihood(k, state, nearest), alpha=self._per_nat[k])
                codes = likelihoods.orders[k][largest(scores)]
                if k + 1 < len(self._stages):
                    state = likelihoods.learn(k, state, codes)
            return codes

        return choose


def suggested_weight(prior: Prior | None) -> float:
    """Return the weight that a prior names for its model, 0 if it names none that can be."""
    try:
        weight = float(prior.info.get(WEIGHT_KEY, 0)) if prior else 0.0
    except ValueError:
        return 0.0
    return weight if 0 < weight <= HEAVIEST_BIT else 0.0


def spacing(codebook: Tensor) -> float:
    """Return the mean square distance between entries [N, d] and their nearest neighbours."""
    distances = torch.cdist(codebook, codebook).fill_diagonal_(math.inf)
    return float(distances.amin(1).square().mean())
