"""How much more could a prior save? The shipped one, grown, on the same codes; it need not be fast.

Gives a prior's network several times its hidden units and a memory of all frames before, trains it further on the codes
that the prior was trained on, and prints bits a code on `test/`'s codes beside the prior's own:

    python benchmarks/entropy_bound.py TESTCODES --training CODES --prior PRIOR [--units 3] [--minutes 20]

It starts as the prior it is grown from, so that a short training tells what size and memory are worth, which a new
network (EnCodec's language model, arXiv 2210.13438, section 3.4) would need hours to say.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dacfile.entropy.files import load_prior
from dacfile.training.prior import Evaluation, Recipe, train_network
from dacfile.training.prior_data import MISSING, Piece, load_pieces
from dacfile.training.prior_export import restore
from dacfile.training.prior_net import LIMIT, UNIT, Layer, PriorNet, activation, quantised
from dacfile.training.prior_run import blocks_of

BITS_PER_NAT = 1 / math.log(2)
HALF_LIVES = (8, 70)  # frames: of the memories of a layer's own codes
REACH = 64  # frames to both sides over which the layers before are averaged
# What reads units, and along which dimension: it starts at zero for units that are added.
READING = {"group": 1, "member": 2, "back": 1}


@lru_cache
def fading(frames: int, half_life: int) -> Tensor:
    """Return the matrix [frames, frames] that averages all rows before each row, later ones more."""
    ages = torch.arange(frames)[:, None] - torch.arange(frames) - 1
    keep = 0.5 ** (1 / half_life)
    return torch.where(ages >= 0, (1 - keep) * keep ** ages.clamp(min=0).float(), 0.0).bfloat16()


@lru_cache
def blurring(frames: int) -> Tensor:
    """Return the matrix [frames, frames] that averages the rows around each row."""
    near = (torch.arange(frames)[:, None] - torch.arange(frames)).abs() <= REACH
    return (near / near.sum(1, keepdim=True)).bfloat16()


class Grown(PriorNet):
    """A prior's network with more units and a long memory, which at first changes nothing."""

    def __init__(self, start: PriorNet, units: int) -> None:
        c = start.config
        super().__init__(replace(c, head=units * c.head, hidden=units * c.hidden), start.order)
        with torch.no_grad():
            self.start.copy_(start.start)
            for mine, small in zip(self.modules_of_codebooks(), start.modules_of_codebooks(), strict=True):
                grow(mine, small)
        head, width = self.config.head, c.width
        self.far = nn.ParameterList(torch.zeros(len(HALF_LIVES), c.past_width, head) for _ in range(c.codebooks))
        self.around = nn.ParameterList(torch.zeros(head, width) for _ in range(c.codebooks))

    def _head(self, layer: Layer, x: Tensor, own: Tensor, reference: Tensor | None) -> Tensor:
        e, k = layer.exponents.head, self.modules_of_codebooks().index(layer)
        total = F.linear(x, quantised(layer.head, e)).float() + layer.head_bias * UNIT + self._own_past(layer, own)
        if reference is not None:
            total = total + F.linear(reference, quantised(layer.reference, e))
        codes = F.embedding(own, activation(layer.recent * UNIT, -LIMIT))
        for half_life, weight in zip(HALF_LIVES, self.far[k], strict=True):
            total = total + fading(own.shape[1], half_life) @ codes @ weight.bfloat16()
        total = total + F.linear(blurring(own.shape[1]) @ x, self.around[k].bfloat16())
        return activation(total, 0.0)


def grow(layer: Layer, small: Layer) -> None:
    """Take over the smaller layer's parameters; what reads added units starts at zero."""
    for name, old in small.named_parameters():
        new = layer.get_parameter(name)
        if name in READING:
            new.zero_().narrow(READING[name], 0, old.shape[READING[name]]).copy_(old)
        elif name == "past":  # [lags, past width, head]
            new[..., : old.shape[2]] = old
        else:
            new[: len(old)] = old


@torch.no_grad()
def judged(net: PriorNet, pieces: Sequence[Piece]) -> dict[str, np.ndarray]:
    """Return bits a code for each layer: of single channels, and of pairs' first and second channels."""
    totals: dict[str, tuple[Tensor, Tensor]] = {}
    depth = net.config.codebooks
    for channels in blocks_of(pieces)[0]:
        states: list[Tensor] | None = None
        for name, channel in zip(("first", "second") if len(channels) == 2 else ("mono",), channels, strict=True):
            codes = torch.from_numpy(channel.astype(np.int64))[None]
            codes = F.pad(codes, (0, 0, 0, depth - codes.shape[1]), value=MISSING)
            phase = torch.zeros(1, codes.shape[2], dtype=torch.int64)
            nats, states = net(codes, phase, states, keep_last=True)
            total, count = totals.get(name, (torch.zeros(depth), torch.zeros(depth)))
            totals[name] = total + nats * BITS_PER_NAT, count + (codes != MISSING).sum((0, 2))
    return {name: (total / count.clamp(min=1)).numpy() for name, (total, count) in totals.items()}


def tell(title: str, net: PriorNet, pieces: Sequence[Piece]) -> None:
    """Print bits a code on pieces that no network has seen."""
    for name, bits in judged(net, pieces).items():
        print(f"{title}, {name:6} " + " ".join(f"{b:6.3f}" for b in bits) + f"  mean {bits.mean():.3f}", flush=True)


def show(state: Evaluation) -> None:
    """Print how training goes on."""
    print(f"{state.done:4.0%}, step {state.steps}: held out {np.mean(state.bits):.3f} bits a code", flush=True)


def main() -> None:
    """Judge, grow, train, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("codes", type=Path, help=".npz of the codes to judge on")
    parser.add_argument("--training", type=Path, required=True, help=".npz of the codes to learn from")
    parser.add_argument("--prior", type=Path, required=True, help="the prior to grow")
    parser.add_argument("--units", type=int, default=3, help="how many times the hidden units of both kinds")
    parser.add_argument("--minutes", type=float, default=20.0, help="of processor time")
    options = parser.parse_args()
    torch.manual_seed(0)
    pieces, small = load_pieces(options.codes), restore(load_prior(options.prior))
    tell("prior", small, pieces)
    net = Grown(small, options.units)
    print(f"{sum(p.numel() for p in net.parameters()) / 1e6:.1f} million parameters")
    recipe = Recipe(
        minutes=options.minutes, learning_rate=2e-3, crops=4, length=576, warm_up=30, ema_decay=0.99, patience=20
    )
    tell("grown", train_network(load_pieces(options.training), net.config, recipe, show, net), pieces)


if __name__ == "__main__":
    main()
