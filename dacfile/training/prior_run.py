"""The prior's training as one command: a file of codes in, a prior file out, with what it saves written into it."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from dacfile.entropy import Prior, StoredPrior, encode_blocks
from dacfile.entropy.context import NetworkPrior
from dacfile.entropy.counts import CountPrior
from dacfile.entropy.files import save_prior
from dacfile.entropy.network import NetworkConfig
from dacfile.entropy.prior import Codebooks
from dacfile.folders import PRIOR_SUFFIX
from dacfile.training.prior import Evaluation, Recipe, train_network
from dacfile.training.prior_counts import train_count_prior
from dacfile.training.prior_data import Piece, channels_of, frames_in, load_pieces, split
from dacfile.training.prior_export import export, restore

log = logging.getLogger(__name__)
BLOCK_FRAMES = 1723  # 20 s at 44.1 kHz: how long a block is when a prior is judged
MOST_WITH_PAST = 9  # layers that look at their own past: each costs about a tenth of the decoding of a single block
MOST_EVALUATED = 40  # held-out blocks that are really coded at the end


def default_config(codebooks: int, codebook_size: int, phases: int = 1) -> NetworkConfig:
    """Return the sizes for a model: at most 100 million multiply-adds a second and a few megabytes for any of them."""
    own_past = tuple(range(min(codebooks, MOST_WITH_PAST)))
    config = NetworkConfig(codebooks, codebook_size, math.isqrt(codebook_size), phases, own_past=own_past)
    if codebooks > 20:
        return replace(config, width=64, hidden=64, head=64, past_width=32)
    if codebooks > 12:
        return replace(config, width=88, hidden=88, head=88, past_width=32)
    return config


def blocks_of(pieces: Iterable[Piece], frames: int = BLOCK_FRAMES) -> tuple[list[list[np.ndarray]], list[int]]:
    """Cut pieces into (blocks of one or two channels, first frames)."""
    blocks, firsts = [], []
    for piece in pieces:
        for a in range(0, piece.frames, frames):
            blocks.append([codes[:, a : a + frames] for codes in piece.channels])
            firsts.append(a)
    return blocks, firsts


def measured_bits(prior: Prior | None, blocks: Sequence[Sequence[np.ndarray]], firsts: Sequence[int]) -> np.ndarray:
    """Return stored bits a code for each layer, really coded, raw fallback included."""
    stored, frames = _stored(prior, blocks, firsts)
    return stored / frames


def _stored(
    prior: Prior | None, blocks: Sequence[Sequence[np.ndarray]], firsts: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return bits and codes of each layer."""
    depth = max(len(codes) for block in blocks for codes in block)
    stored, frames = np.zeros(depth), np.zeros(depth)
    for block, coded in zip(blocks, encode_blocks(prior, blocks, firsts), strict=True):
        for codes, layers in zip(block, coded, strict=True):
            stored[: len(layers)] += [8 * len(data) for data, _ in layers]
            frames[: len(layers)] += codes.shape[1]
    return stored, frames


def has_network(facts: Codebooks) -> bool:
    """Say whether codes like these can have a context network: their number has to be a square."""
    return math.isqrt(facts.codebook_size) ** 2 == facts.codebook_size


def count_tables(
    pieces: Sequence[Piece], facts: Codebooks, phases: int = 1, info: dict[str, str] | None = None
) -> CountPrior:
    """Return count tables for all codebooks, also those that no piece has."""
    arrays = [*channels_of(pieces), np.zeros((facts.codebooks, 0), np.uint16)]
    return train_count_prior(arrays, facts.codebook_size, phases, info)


def train_prior(
    pieces: Sequence[Piece],
    config: NetworkConfig,
    minutes: float,
    info: dict[str, str] | None = None,
    on_evaluation: Callable[[Evaluation], None] | None = None,
    start: Prior | None = None,
    learning_rate: float | None = None,
) -> StoredPrior:
    """Return the better of a network trained for `minutes` of processor time and count tables, on held-out pieces.

    `start`: a context-network prior of the same model to train further, which takes a fraction of the time. Without
    `learning_rate` it is a new network's, or a quarter of that for one to train further.
    """
    training, held = split(pieces)
    tables = count_tables(training, config, config.phases)
    blocks, firsts = blocks_of(held)
    step = -(-len(blocks) // MOST_EVALUATED)
    blocks, firsts = blocks[::step], firsts[::step]
    before = restore(start) if isinstance(start, NetworkPrior) else None
    usual = Recipe.learning_rate * (1 if before is None else 0.25)
    recipe = Recipe(minutes=minutes, learning_rate=learning_rate or usual)
    network = export(train_network(pieces, config, recipe, on_evaluation or _tell, before))
    (by_counts, frames), (by_network, _) = (_stored(prior, blocks, firsts) for prior in (tables, network))
    means = [bits.sum() / frames.sum() for bits in (by_counts, by_network)]
    log.info("held out, bits a code: counts %.3f, network %.3f", *means)
    best: StoredPrior = network if by_network.sum() < by_counts.sum() else tables
    bits = (by_network if best is network else by_counts) / frames
    best.info = {**(info or {}), "held_out_bits": json.dumps([round(float(b), 3) for b in bits])}
    return best


def _tell(found: Evaluation) -> None:
    mean = sum(found.bits) / len(found.bits)
    message = "%3.0f %%, step %d: training %.3f, held out %.3f bits a code"
    log.info(message, 100 * found.done, found.steps, found.training_bits, mean)


def train_prior_file(
    codes: Path,
    target: Path,
    facts: Codebooks,
    minutes: float = 20.0,
    phases: int = 1,
    model_id: bytes | None = None,
    on_evaluation: Callable[[Evaluation], None] | None = None,
    start: Prior | None = None,
    learning_rate: float | None = None,
) -> StoredPrior:
    """Train on the codes of an .npz file (see `load_pieces`) and write `target`, a `*.prior.safetensors`.

    `phases` is the period at which the model's codes depend on the frame index; `model_id`, 16 bytes, ties the prior to
    its model. `start` and `learning_rate` are those of `train_prior`. Codebook sizes that are no square get count
    tables.
    """
    pieces = load_pieces(codes)
    info = {"name": target.name.removesuffix(PRIOR_SUFFIX), "frames": str(frames_in(pieces))}
    if model_id is not None:
        info["model"] = model_id.hex()
    prior: StoredPrior
    if has_network(facts):
        config = default_config(facts.codebooks, facts.codebook_size, phases)
        prior = train_prior(pieces, config, minutes, info, on_evaluation, start, learning_rate)
    else:
        prior = count_tables(pieces, facts, phases, info)
    save_prior(prior, target)
    return prior
