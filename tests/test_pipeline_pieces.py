"""Pieces of a file: nothing lost, nothing larger than asked for, as many windows as a device takes at once."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stub_codec import StubCodec

from dacfile.pieces import PIECE_VALUES, piece_frames, regroup
from dacfile.windows import default_size


@given(lengths=st.lists(st.integers(0, 50), max_size=20), size=st.integers(1, 70), axis=st.sampled_from([0, -1]))
def test_regrouping_keeps_everything_in_order(lengths: list[int], size: int, axis: int) -> None:
    ends = np.cumsum([0, *lengths])
    arrays = [np.arange(a, b).reshape(-1, 1) for a, b in itertools.pairwise(ends)]
    pieces = list(regroup([array if axis == 0 else array.T for array in arrays], size, axis))
    assert all(piece.shape[axis] == size for piece in pieces[:-1])
    assert all(0 < piece.shape[axis] <= size for piece in pieces)
    joined = np.concatenate([piece.ravel() for piece in pieces]) if pieces else np.zeros(0)
    np.testing.assert_array_equal(joined, np.arange(ends[-1]))


@pytest.mark.parametrize(("batch", "channels", "windows"), [(1, 1, 1), (1, 6, 1), (64, 1, 64), (64, 2, 32), (7, 2, 4)])
def test_pieces_fill_a_batch(batch: int, channels: int, windows: int) -> None:
    codec = StubCodec()
    codec.batch = batch
    assert piece_frames(codec, 10, channels) == windows * default_size(10)


def test_pieces_stay_within_their_budget() -> None:
    codec = StubCodec(hop=512)
    codec.batch = 10_000
    assert piece_frames(codec, 26, 255) * 512 * 255 <= PIECE_VALUES
    assert piece_frames(StubCodec(hop=4096), 26, 255) >= 1
