"""Learn a prior from the codes of `.dacz` files: no audio and no model is needed, only the priors of the files."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from dacfile.blocks import CodedBlock, decode_codes
from dacfile.container import Head, Reader
from dacfile.entropy import Prior
from dacfile.entropy.context import NetworkPrior
from dacfile.entropy.files import Storable
from dacfile.errors import ModelMismatch, UsageError
from dacfile.installed import prior_of
from dacfile.training.prior import Progress
from dacfile.training.prior_counts import train_count_prior
from dacfile.training.prior_data import Piece
from dacfile.training.prior_run import CodeFacts, default_config, train_prior


def pieces_of_file(path: Path, model_id: bytes) -> list[Piece]:
    """Return the codes of a file as pieces: channel 0 with each channel that is coded after it; silence is left out.

    Raises ModelMismatch when another model has made the file, and what decoding its codes raises.
    """
    with Reader(path) as reader:
        head = reader.head
        if head.model_id != model_id:
            raise ModelMismatch(f"{path}: made with the model {head.model_id.hex()}, not with {model_id.hex()}")
        return list(_pieces(str(path), decode_codes(reader.blocks(), head, prior_of(head, path)), head))


def _pieces(name: str, blocks: Iterable[CodedBlock], head: Head) -> Iterator[Piece]:
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


def filled(pieces: Sequence[Piece], codebooks: int) -> list[Piece]:
    """Return pieces of `codebooks` layers each, which is what the network learns from.

    Where any first channel has all layers, those that have fewer are left out. What is still missing, as in a side
    channel of less depth, becomes code 0: no file holds it, and a network predicts a constant at no cost.
    """
    deep = [piece for piece in pieces if len(piece.first) == codebooks]
    return [
        Piece(
            piece.name, _fill(piece.first, codebooks), None if piece.second is None else _fill(piece.second, codebooks)
        )
        for piece in deep or pieces
    ]


def _fill(codes: np.ndarray, codebooks: int) -> np.ndarray:
    return np.pad(codes, ((0, codebooks - len(codes)), (0, 0)))


def train_on_pieces(
    pieces: Sequence[Piece],
    facts: CodeFacts,
    model_id: bytes,
    name: str,
    minutes: float,
    start: Prior | None = None,
    listen: Callable[[Progress], None] | None = None,
) -> Storable:
    """Return a prior learned in `minutes` of processor time; a network or count tables, whichever codes better.

    `start`: an installed prior of the same model; if it is a network, it is trained further, which takes a fraction of
    the time. Raises UsageError when there are no codes.
    """
    if not pieces:
        raise UsageError("no codes to learn from: the files are empty or silent")
    frames = sum(piece.frames * (2 if piece.second is not None else 1) for piece in pieces)
    info = {"name": name, "frames": str(frames), "model": model_id.hex()}
    if math.isqrt(facts.codebook_size) ** 2 != facts.codebook_size:
        arrays = [array for piece in pieces for array in (piece.first, piece.second) if array is not None]
        arrays.append(np.zeros((facts.codebooks, 0), np.uint16))  # tables for layers that no file has
        return train_count_prior(arrays, facts.codebook_size, 1, info)
    config = default_config(facts.codebooks, facts.codebook_size)
    if isinstance(start, NetworkPrior) and start.codebooks == facts.codebooks:
        return train_prior(filled(pieces, facts.codebooks), start.sizes, minutes, info, listen, start)
    return train_prior(filled(pieces, facts.codebooks), config, minutes, info, listen)
