"""`Codec.encode` and `Codec.decode` of arrays: those that are not what they have to be are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import dacfile
from dacfile.codec import Codec
from dacfile.errors import UsageError
from dacfile.windows import ABSENT

NOISE = (0.1 * np.random.default_rng(0).standard_normal((4_000, 2))).astype(np.float32)
CODES = np.random.default_rng(0).integers(0, 1024, (2, 12, 15), dtype=np.uint16)


@pytest.fixture(scope="module")
def codec() -> Codec:
    return dacfile.load_codec("16k", device="cpu", rdo=0)


def with_value(array: np.ndarray, value: float, dtype: Any = None) -> np.ndarray:
    """Return the array with this value in its middle."""
    changed = array.astype(array.dtype if dtype is None else dtype)
    changed.reshape(-1)[changed.size // 2] = value
    return changed


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ((NOISE * 32767).astype(np.int16), "int16"),
        (NOISE > 0, "bool"),
        (NOISE.astype(np.complex64), "complex64"),
        (NOISE.astype(object), "object"),
        (with_value(NOISE, np.nan), "NaN"),
        (with_value(NOISE, -np.inf), "infinite"),
        (with_value(NOISE, 1e300, np.float64), "beyond float32"),
        (NOISE[:, :0], r"shape \(4000, 0\)"),
        (NOISE[None], r"shape \(1, 4000, 2\)"),
        (np.float32(3), r"shape \(\)"),
        ([1, 2, 3], "int64"),
    ],
)
def test_samples_that_are_refused(codec: Codec, samples: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        codec.encode(samples)


def test_any_floating_point_samples_are_the_same(codec: Codec) -> None:
    expected = codec.encode(NOISE)
    spread = np.zeros((8_000, 3), np.float32)
    spread[::2, :2] = NOISE
    for same in (NOISE.astype(np.float64), NOISE.astype(">f4"), np.asfortranarray(NOISE), spread[::2, :2]):
        np.testing.assert_array_equal(codec.encode(same), expected)
    np.testing.assert_array_equal(codec.encode(NOISE[:, 0].tolist()), codec.encode(NOISE[:, :1]))
    assert codec.encode(NOISE[:0]).shape == (2, 12, 0)


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (with_value(CODES, 1024), "does not have"),
        (with_value(CODES, 1024, np.int64), "does not have"),
        (with_value(CODES, 65_536 + 7, np.int64), "0 to 65,535"),
        (with_value(CODES, -1, np.int32), "0 to 65,535"),
        (CODES.astype(np.float32), "float32"),
        (with_value(CODES, np.nan, np.float64), "float64"),
        (CODES > 9, "bool"),
        (CODES[:0], r"shape \(0, 12, 15\)"),
        (CODES[0], r"shape \(12, 15\)"),
        (np.concatenate([CODES, CODES], axis=1), "24 codebooks"),
    ],
)
def test_codes_that_are_refused(codec: Codec, codes: np.ndarray, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        codec.decode(codes)


def test_any_integer_codes_are_the_same(codec: Codec) -> None:
    codes = CODES.copy()
    codes[1, 5:] = ABSENT
    expected = codec.decode(codes)
    for same in (codes.astype(np.int64), codes.astype(">u2"), np.asfortranarray(codes), codes.tolist()):
        np.testing.assert_array_equal(codec.decode(same), expected)
    with pytest.raises(UsageError, match=r"samples: 2\.5"):
        codec.decode(codes, 2.5)  # type: ignore[arg-type]


def test_passes_are_a_whole_number() -> None:
    for passes in (1.5, -1):
        with pytest.raises(UsageError, match="refine"):
            dacfile.load_codec("16k", device="cpu", refine=passes)  # type: ignore[arg-type]
