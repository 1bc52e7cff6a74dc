"""Train the context network prior: codes in, a prior file out, unattended, in a given number of minutes."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dacfile.entropy.network import NetworkConfig
from dacfile.training.prior_data import Piece, Sampler, likeness, split
from dacfile.training.prior_net import PriorNet

log = logging.getLogger(__name__)
NAT = 1 / math.log(2)


@dataclass(frozen=True)
class Recipe:
    """How to train; the defaults made the bundled priors."""

    minutes: float = 20.0  # of processor time, so that a busy machine does not spoil the result
    crops: int = 12
    length: int = 192  # frames of a crop
    rate: float = 4e-3
    weight_decay: float = 0.01
    warm_up: int = 100  # steps
    average: float = 0.998  # of the weights that are kept
    evaluations: int = 20
    patience: int = 4  # evaluations without progress before training stops
    seed: int = 0


@dataclass(frozen=True)
class Progress:
    """What a listener hears at every evaluation; `bits` is held-out bits a code, layer by layer."""

    done: float
    steps: int
    training_bits: float
    bits: tuple[float, ...]


class Evaluator:
    """Mean bits of every layer over held-out crops, the same crops every time."""

    def __init__(self, pieces: Sequence[Piece], config: NetworkConfig, recipe: Recipe) -> None:
        sampler = Sampler(pieces, recipe.length, config.phases, seed=1)
        self._batches = [sampler.draw(recipe.crops) for _ in range(6)]

    @torch.no_grad()
    def __call__(self, net: PriorNet) -> tuple[float, ...]:
        """Return held-out bits a code for each layer."""
        net.choose_exponents()
        nats, codes = torch.zeros(net.config.codebooks), 0
        for batch in self._batches:
            losses, count = batch_loss(net, batch)
            nats, codes = nats + losses, codes + count
        return tuple((nats / codes * NAT).tolist())


def batch_loss(net: PriorNet, batch: tuple[np.ndarray, ...]) -> tuple[Tensor, int]:
    """Return (nats of each layer summed over both channels, frames coded)."""
    first, phase, pairs, second = (torch.from_numpy(array) for array in batch)
    losses, states = net(first, phase, keep_last=len(pairs) > 0)
    frames = first.shape[0] * first.shape[2]
    if len(pairs):
        more, _ = net(second, phase[pairs], [state[pairs] for state in states])
        losses, frames = losses + more, frames + second.shape[0] * second.shape[2]
    return losses, frames


def train_network(
    pieces: Sequence[Piece],
    config: NetworkConfig,
    recipe: Recipe = Recipe(),
    listen: Callable[[Progress], None] | None = None,
    start: PriorNet | None = None,
) -> PriorNet:
    """Return the network that did best on held-out pieces; takes `recipe.minutes` of processor time at most.

    `start`: a network to train further in place of a new one; its configuration counts.
    """
    torch.manual_seed(recipe.seed)
    training, held = split(pieces)
    net = _new_network(training, config) if start is None else start
    config = net.config
    averaged = copy.deepcopy(net)
    best, best_bits, stale = copy.deepcopy(net), math.inf, 0
    evaluate = Evaluator(held, config, recipe)
    sampler = Sampler(training, recipe.length, config.phases, recipe.seed)
    optimiser = torch.optim.AdamW(
        net.parameters(), recipe.rate, (0.9, 0.98), weight_decay=recipe.weight_decay, fused=True
    )
    began, steps, milestone = time.process_time(), 0, 1
    while stale < recipe.patience:
        done = (time.process_time() - began) / (60 * recipe.minutes)
        bits = _step(net, optimiser, sampler, recipe, steps, min(done, 1.0))
        steps += 1
        _follow(averaged, net, min(recipe.average, 1 - 1 / (steps / 3 + 1)))
        if done * recipe.evaluations < milestone:
            continue
        milestone += 1
        held_bits = evaluate(averaged)
        if listen:
            listen(Progress(min(done, 1.0), steps, bits, held_bits))
        if (mean := sum(held_bits)) < best_bits:
            best, best_bits, stale = copy.deepcopy(averaged), mean, 0
        else:
            stale += 1
        if done >= 1:
            break
    best.choose_exponents()
    return best


def _new_network(pieces: Sequence[Piece], config: NetworkConfig) -> PriorNet:
    arrays = [array for piece in pieces for array in (piece.first, piece.second) if array is not None]
    known = likeness(arrays, config.codebook_size, config.groups)
    net = PriorNet(config, torch.from_numpy(known.order))
    net.start_from(known)
    return net


def _step(
    net: PriorNet, optimiser: torch.optim.Optimizer, sampler: Sampler, recipe: Recipe, steps: int, done: float
) -> float:
    for group in optimiser.param_groups:
        group["lr"] = (
            recipe.rate * min(1.0, (steps + 1) / recipe.warm_up) * (0.02 + 0.98 * math.cos(math.pi / 2 * done) ** 2)
        )
    if steps % 20 == 0:
        net.choose_exponents()
    losses, frames = batch_loss(net, sampler.draw(recipe.crops))
    loss = losses.sum() / (frames * len(losses))
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    optimiser.step()
    return loss.item() * NAT


@torch.no_grad()
def _follow(averaged: PriorNet, net: PriorNet, share: float) -> None:
    torch._foreach_lerp_(list(averaged.parameters()), list(net.parameters()), 1 - share)
