"""Learn a prior from the codes of `.dacz` files: no audio and no model is needed, only the priors of the files.

A layer that a channel does not have (a side of less depth, an archive of fewer codebooks) takes no part in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from dacfile.blocks import CodedBlock, decode_codes
from dacfile.container import Reader
from dacfile.entropy import Prior, StoredPrior
from dacfile.entropy.context import NetworkPrior
from dacfile.entropy.prior import Codebooks
from dacfile.errors import ModelMismatch, UsageError
from dacfile.installed import prior_of
from dacfile.training.prior import Evaluation
from dacfile.training.prior_data import Piece, frames_in
from dacfile.training.prior_run import count_tables, default_config, has_network, train_prior

HELD_FRAMES = 864  # 10 s at 44.1 kHz: parts of this length are held out from training, to see when to stop
FRAMES_A_MINUTE = 40_000  # eight minutes of one channel at 44.1 kHz for each minute of processor time
LEAST_MINUTES = 0.3


def pieces_of_file(source: Path | BinaryIO, model_id: bytes, name: str = "") -> list[Piece]:
    """Return the codes of a file as pieces: channel 0 with each channel that is coded after it; silence is left out.

    `name` tells pieces of streams apart. Raises ModelMismatch when another model has made the file, and what decoding
    its codes raises.
    """
    with Reader(source) as reader:
        head = reader.head
        if head.model_id != model_id:
            raise ModelMismatch(f"made with the model {head.model_id.hex()}, not with {model_id.hex()}")
        return list(_pieces(name or str(source), decode_codes(reader.blocks(), head, prior_of(head, source))))


def _pieces(name: str, blocks: Iterable[CodedBlock]) -> Iterator[Piece]:
    run: list[CodedBlock] = []
    for block in blocks:
        if run and _shape(block) != _shape(run[0]):
            yield from _joined(f"{name}:{run[0].sequence}", run)
            run = []
        run.append(block)
    if run:
        yield from _joined(f"{name}:{run[0].sequence}", run)


def _shape(block: CodedBlock) -> list[int]:
    return [0 if codes is None else len(codes) for codes in block.codes]


def _joined(name: str, run: Sequence[CodedBlock]) -> Iterator[Piece]:
    channels = [
        np.concatenate([part for part in parts if part is not None], axis=1) if parts[0] is not None else None
        for parts in zip(*(block.codes for block in run), strict=True)
    ]
    first, others = channels[0], [codes for codes in channels[1:] if codes is not None]
    if first is None:
        yield from (Piece(name, codes) for codes in others)
    elif others:
        yield from (Piece(name, first, codes) for codes in others)
    else:
        yield Piece(name, first)


def cut(pieces: Sequence[Piece], frames: int = HELD_FRAMES) -> list[Piece]:
    """Return the pieces in parts, so that some of a long one can be held out."""
    return [
        Piece(
            f"{piece.name}+{a}",
            piece.first[:, a : a + frames],
            None if piece.second is None else piece.second[:, a : a + frames],
        )
        for piece in pieces
        for a in range(0, piece.frames, frames)
    ]


def enough_minutes(frames: int, most: float) -> float:
    """Return how long training may take for so many frames: more time would only learn them by heart."""
    return min(most, max(LEAST_MINUTES, frames / FRAMES_A_MINUTE))


def train_on_pieces(
    pieces: Sequence[Piece],
    facts: Codebooks,
    model_id: bytes,
    name: str,
    minutes: float,
    start: Prior | None = None,
    on_evaluation: Callable[[Evaluation], None] | None = None,
) -> StoredPrior:
    """Return a prior learned in at most `minutes` of processor time, or count tables if they code better.

    Without any minutes it is count tables.

    `start`: an installed prior of the same model; if it is a network, it is trained further, which takes a fraction of
    the time. Raises UsageError when there are no codes.
    """
    if not pieces:
        raise UsageError("no codes to learn from: the files are empty or silent")
    frames = frames_in(pieces)
    info = {"name": name, "frames": str(frames), "model": model_id.hex()}
    if not minutes or not has_network(facts):
        return count_tables(pieces, facts, 1, info)
    pieces, minutes = cut(pieces), enough_minutes(frames, minutes)
    config = default_config(facts.codebooks, facts.codebook_size)
    if isinstance(start, NetworkPrior) and start.codebooks == facts.codebooks:
        return train_prior(pieces, start.sizes, minutes, info, on_evaluation, start)
    return train_prior(pieces, config, minutes, info, on_evaluation)
