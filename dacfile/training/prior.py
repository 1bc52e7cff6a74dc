"""Train the context network prior: codes in, a prior file out, unattended, in a given number of minutes."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dacfile.entropy.network import NetworkConfig
from dacfile.training.prior_data import MISSING, Piece, Sampler, channels_of, likeness, split
from dacfile.training.prior_net import PriorNet

BITS_PER_NAT = 1 / math.log(2)
COOL_DOWN = 0.7  # of the schedule: from here on the learning rate is below a quarter of its peak


@dataclass(frozen=True)
class Recipe:
    """How to train; the defaults made the bundled priors."""

    minutes: float = 20.0  # of processor time, so that a busy machine does not spoil the result
    crops: int = 12
    length: int = 192  # frames of a crop
    learning_rate: float = 4e-3  # the peak of the schedule
    weight_decay: float = 0.01
    warm_up: int = 100  # steps
    ema_decay: float = 0.998  # of the exponential moving average of the weights: it is what is judged and kept
    evaluations: int = 20
    patience: int = 3  # evaluations without progress before the learning rate goes down, or training stops
    seed: int = 0


@dataclass(frozen=True)
class Evaluation:
    """How far training has come when the network was judged."""

    done: float  # share of the schedule
    steps: int
    training_bits: float  # a code, in the last step
    bits: tuple[float, ...]  # a held-out code, layer by layer


class Evaluator:
    """Mean bits of every layer over held-out crops, the same crops every time."""

    def __init__(self, pieces: Sequence[Piece], config: NetworkConfig, recipe: Recipe) -> None:
        sampler = Sampler(pieces, recipe.length, config.phases, 1, config.codebooks)
        self._batches = [sampler.draw(recipe.crops) for _ in range(6)]

    @torch.no_grad()
    def __call__(self, net: PriorNet) -> tuple[float, ...]:
        """Return held-out bits a code for each layer; 0 for layers that no crop has."""
        net.choose_exponents()
        results = [batch_loss(net, batch) for batch in self._batches]
        nats, codes = (torch.stack(column).sum(0) for column in zip(*results, strict=True))
        return tuple((nats / codes.clamp(min=1) * BITS_PER_NAT).tolist())


def batch_loss(net: PriorNet, batch: tuple[np.ndarray, ...]) -> tuple[Tensor, Tensor]:
    """Return (nats, number of codes) of each layer, both channels together."""
    first, phase, pairs, second = (torch.from_numpy(array) for array in batch)
    losses, states = net(first, phase, keep_last=len(pairs) > 0)
    codes = _present(first)
    if len(pairs):
        more, _ = net(second, phase[pairs], [state[pairs] for state in states])
        losses, codes = losses + more, codes + _present(second)
    return losses, codes


def _present(codes: Tensor) -> Tensor:
    return (codes != MISSING).sum((0, 2))


class _Clock:
    """How far training has come, from 0 to 1, in processor time; may be told to come to an end."""

    def __init__(self, minutes: float) -> None:
        self._began, self._seconds, self._skipped = time.process_time(), 60 * minutes, 0.0

    def done(self) -> float:
        """Return the position in the schedule, at most 1."""
        return min(1.0, (time.process_time() - self._began) / self._seconds + self._skipped)

    def skip_to(self, position: float) -> None:
        """Go on from a later position of the schedule."""
        self._skipped += max(0.0, position - self.done())


class _Best:
    """The weights that did best on held-out pieces so far, and for how many evaluations none did better."""

    def __init__(self, net: PriorNet, bits: float = math.inf) -> None:
        self.net, self._bits, self.stale = copy.deepcopy(net), bits, 0

    def offer(self, net: PriorNet, bits: float) -> None:
        """Keep a copy of the weights if they are better."""
        if bits < self._bits:
            self.net, self._bits, self.stale = copy.deepcopy(net), bits, 0
        else:
            self.stale += 1


def train_network(
    pieces: Sequence[Piece],
    config: NetworkConfig,
    recipe: Recipe = Recipe(),
    on_evaluation: Callable[[Evaluation], None] | None = None,
    start: PriorNet | None = None,
) -> PriorNet:
    """Return the network that did best on held-out pieces; takes `recipe.minutes` of processor time at most.

    When `recipe.patience` evaluations bring nothing, the learning rate goes down at once, and then training stops.
    `start`: a network to train further in place of a new one; its configuration counts.
    """
    torch.manual_seed(recipe.seed)
    training, held = split(pieces)
    net = _new_network(training, config) if start is None else start
    evaluate = Evaluator(held, net.config, recipe)
    sampler = Sampler(training, recipe.length, net.config.phases, recipe.seed, net.config.codebooks)
    optimiser = torch.optim.AdamW(
        net.parameters(), recipe.learning_rate, (0.9, 0.98), weight_decay=recipe.weight_decay, fused=True
    )
    averaged, best = copy.deepcopy(net), _Best(net, math.inf if start is None else sum(evaluate(start)))
    clock, steps, done, milestone = _Clock(recipe.minutes), 0, 0.0, 0.0
    while done < 1 and best.stale < recipe.patience:
        done = clock.done()
        bits = _step(net, optimiser, sampler, recipe, steps, done)
        steps += 1
        _follow(averaged, net, min(recipe.ema_decay, 1 - 1 / (steps / 3 + 1)))
        if done < 1 and done < milestone + 1 / recipe.evaluations:
            continue
        milestone = done
        held_bits = evaluate(averaged)
        best.offer(averaged, sum(held_bits))
        if on_evaluation:
            on_evaluation(Evaluation(done, steps, bits, held_bits))
        if best.stale == recipe.patience and done < COOL_DOWN:
            clock.skip_to(COOL_DOWN)
            best.stale = 0
    best.net.choose_exponents()
    return best.net


def _new_network(pieces: Sequence[Piece], config: NetworkConfig) -> PriorNet:
    known = likeness(channels_of(pieces), config.codebook_size, config.groups, config.codebooks)
    net = PriorNet(config, torch.from_numpy(known.order))
    net.start_from(known)
    return net


def _step(
    net: PriorNet, optimiser: torch.optim.Optimizer, sampler: Sampler, recipe: Recipe, steps: int, done: float
) -> float:
    for group in optimiser.param_groups:
        group["lr"] = (
            recipe.learning_rate
            * min(1.0, (steps + 1) / recipe.warm_up)
            * (0.02 + 0.98 * math.cos(math.pi / 2 * done) ** 2)
        )
    if steps % 20 == 0:
        net.choose_exponents()
    losses, codes = batch_loss(net, sampler.draw(recipe.crops))
    loss = losses.sum() / codes.sum()
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    optimiser.step()
    return loss.item() * BITS_PER_NAT


@torch.no_grad()
def _follow(averaged: PriorNet, net: PriorNet, share: float) -> None:
    torch._foreach_lerp_(list(averaged.parameters()), list(net.parameters()), 1 - share)
