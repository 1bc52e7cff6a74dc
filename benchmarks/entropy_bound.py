"""How much more could a prior save? A float Transformer on the same codes, which need not be fast or exact.

Trains on the codes that the bundled prior was trained on and prints bits a code on `test/`'s codes beside the prior's:

    python benchmarks/entropy_bound.py TESTCODES --training CODES --weights MODEL --prior PRIOR

Frames in order: attention over the frames before (as EnCodec's language model, arXiv 2210.13438, section 3.4), then
within a frame layer by layer. A pair's second channel also sees this frame and the next of the first channel. Codes
start as what they add to the model's latent, which tells from the first step which are alike.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dacfile.entropy.files import load_prior
from dacfile.model.checkpoint import load_model
from dacfile.model.lapped import Lapped
from dacfile.training.prior_data import Piece, Sampler, load_pieces, split
from dacfile.training.prior_run import blocks_of, measured_bits

NAT = 1 / math.log(2)
CODES = 1024


class Attention(nn.Module):
    """One causal Transformer layer, normalised at its entrance; positions as rotations (arXiv 2104.09864)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.enter, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.project, self.join = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor, turns: Tensor) -> Tensor:
        """Map [B, L, width] to the same shape; turns: complex [L, width / heads / 2]."""
        q, k, v = self.project(self.enter(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(rotated(q, turns), rotated(k, turns), v, is_causal=True)
        x = x + self.join(seen.transpose(1, 2).flatten(2))
        return x + self.narrow(F.gelu(self.widen(self.between(x))))


def rotated(x: Tensor, turns: Tensor) -> Tensor:
    """Return x [.., L, d] with every pair of numbers turned."""
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * turns).flatten(-2).to(x.dtype)


class Bound(nn.Module):
    """Nats of codes [B, K, L] given all that comes before them."""

    def __init__(self, codebooks: int, width: int, depth: int, heads: int = 4) -> None:
        super().__init__()
        self.codebooks, self.width = codebooks, width
        self.past, self.present, self.first = (
            nn.ModuleList(nn.Embedding(CODES, width) for _ in range(codebooks)) for _ in range(3)
        )
        self.ahead = nn.Linear(width, width)
        self.layers = nn.ModuleList(Attention(width, heads) for _ in range(depth))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(codebooks))
        self.widen = nn.ModuleList(nn.Linear(width, 3 * width) for _ in range(codebooks))
        self.narrow = nn.ModuleList(nn.Linear(3 * width, width) for _ in range(codebooks))
        self.out = nn.ModuleList(nn.Linear(width, CODES) for _ in range(codebooks))
        angles = 1000.0 ** -torch.linspace(0, 1, width // heads // 2)
        self.register_buffer("angles", angles)

    @torch.no_grad()
    def start_from(self, model: Lapped) -> None:
        """Start with the codebooks' entries as they are in the latent, turned at random into this width."""
        for tables in (self.past, self.present, self.first):
            for table, stage in zip(tables, model.quantizer, strict=True):
                entries = stage.entries() - stage.entries().mean(0)
                turned = entries @ torch.randn(entries.shape[1], self.width)
                table.weight.copy_(0.3 * turned / turned.std())
        for layer in self.out:
            layer.weight.mul_(0.3)

    def joined(self, tables: nn.ModuleList, codes: Tensor) -> Tensor:
        """Return the sum [B, L, width] of what the codes [B, K, L] stand for."""
        return torch.stack([table(codes[:, k]) for k, table in enumerate(tables)]).sum(0)

    def forward(self, codes: Tensor, first: Tensor | None = None) -> Tensor:
        """Return nats [K, B, L]; `first`: the codes of channel 0 where these are channel 1's."""
        x = F.pad(self.joined(self.past, codes)[:, :-1], (0, 0, 1, 0))
        if first is not None:
            other = self.joined(self.first, first)
            x = x + other + self.ahead(F.pad(other[:, 1:], (0, 0, 0, 1)))
        angle = torch.outer(torch.arange(codes.shape[-1]), self.angles)
        turns = torch.polar(torch.ones_like(angle), angle)
        for layer in self.layers:
            x = layer(x, turns)
        return self.within(x, codes)

    def within(self, x: Tensor, codes: Tensor) -> Tensor:
        """Go through the layers of each frame, given what the past says, [B, L, width]."""
        nats = []
        for k in range(self.codebooks):
            h = x + self.narrow[k](F.gelu(self.widen[k](self.norms[k](x))))
            logits = self.out[k](h).float()
            nats.append(F.cross_entropy(logits.flatten(0, 1), codes[:, k].flatten(), reduction="none"))
            x = h + self.present[k](codes[:, k])
        return torch.stack(nats).unflatten(1, (len(codes), -1))


def nats_of(model: Bound, batch: Sequence[np.ndarray]) -> Tensor:
    """Return nats [K, rows, L] of a batch of `Sampler.draw`, second channels behind the first."""
    first, _, pairs, second = (torch.from_numpy(array) for array in batch)
    with torch.autocast("cpu", torch.bfloat16):
        nats = model(first)
        return torch.cat([nats, model(second, first[pairs])], 1) if len(pairs) else nats


def train(model: Bound, pieces: Sequence[Piece], minutes: float, length: int, rate: float = 1e-3) -> None:
    """Train for so many minutes of processor time; tell how it goes on pieces held out."""
    training, held = split(pieces)
    sampler, judge = Sampler(training, length, 1), Sampler(held, length, 1, seed=1)
    batches = [judge.draw(12) for _ in range(6)]
    optimiser = torch.optim.AdamW(model.parameters(), rate, (0.9, 0.98), weight_decay=0.05, fused=True)
    began, step, told = time.process_time(), 0, 0.0
    while (done := (time.process_time() - began) / 60 / minutes) < 1:
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1, (step + 1) / 200) * (0.01 + 0.99 * math.cos(math.pi / 2 * done) ** 2)
        loss = nats_of(model, sampler.draw(12)).mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        step += 1
        if done >= told:
            with torch.no_grad():
                bits = torch.cat([nats_of(model, batch).flatten(1) for batch in batches], 1).mean().item() * NAT
            print(f"{100 * done:3.0f} %, step {step}: held out {bits:.3f} bits a code", flush=True)
            told += 0.05


@torch.no_grad()
def judged(model: Bound, pieces: Sequence[Piece], block: int = 1723) -> dict[str, np.ndarray]:
    """Return bits a code for each layer: of single channels, and of pairs' first and second channels."""
    totals: dict[str, tuple[Tensor, int]] = {}
    for channels in blocks_of(pieces, block)[0]:
        codes = [torch.from_numpy(channel.astype(np.int64))[None] for channel in channels]
        with torch.autocast("cpu", torch.bfloat16):
            found = {"mono" if len(codes) == 1 else "first": model(codes[0])}
            if len(codes) == 2:
                shared = [F.pad(code, (0, 0, 0, model.codebooks - code.shape[1])) for code in codes]
                found["second"] = model(shared[1], shared[0])[: codes[1].shape[1]]
        for name, nats in found.items():
            nothing = torch.zeros(model.codebooks)
            bits = F.pad(nats.sum((1, 2)) * NAT, (0, model.codebooks - len(nats)))
            total, frames = totals.get(name, (nothing, 0))
            totals[name] = total + bits, frames + nats.shape[-1]
    return {name: (total / frames).numpy() for name, (total, frames) in totals.items()}


def main() -> None:
    """Train, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("codes", type=Path, help=".npz of the codes to judge on")
    parser.add_argument("--training", type=Path, required=True, help=".npz of the codes to learn from")
    parser.add_argument("--weights", type=Path, required=True, help="the model that the codes are of")
    parser.add_argument("--prior", type=Path, help="a prior to compare with")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--length", type=int, default=256, help="frames of a training crop")
    options = parser.parse_args()
    torch.manual_seed(0)
    learned, pieces = load_pieces(options.training), load_pieces(options.codes)
    model = Bound(max(len(piece.first) for piece in learned), options.width, options.depth)
    model.start_from(cast(Lapped, load_model(options.weights)[0]))
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f} million parameters")
    train(model, learned, options.minutes, options.length)
    for name, bits in judged(model, pieces).items():
        print(f"Transformer, {name:6} " + " ".join(f"{b:6.3f}" for b in bits) + f"  mean {bits.mean():.3f}")
    if options.prior:
        blocks, firsts = blocks_of([piece for piece in pieces if piece.second is None])
        bits = measured_bits(load_prior(options.prior), blocks, firsts)
        print("the prior, mono     " + " ".join(f"{b:6.3f}" for b in bits) + f"  mean {bits.mean():.3f}")


if __name__ == "__main__":
    main()
