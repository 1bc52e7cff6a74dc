"""Every error has one class, one root and a documented exit code."""

from __future__ import annotations

import inspect
import pickle

import pytest

from dacfile import errors
from dacfile.errors import DaczError, LimitError
from dacfile.limits import Limits

EXIT_CODES = {
    "UsageError": 1,
    "SourceChanged": 2,
    "OutputExists": 2,
    "Truncated": 3,
    "ChecksumError": 3,
    "StructureError": 3,
    "EntropyMismatch": 3,
    "NotDacz": 4,
    "UnsupportedVersion": 4,
    "UnsupportedFeature": 4,
    "UnsupportedAudio": 4,
    "LimitError": 4,
    "ModelNotFound": 5,
    "PriorNotFound": 5,
    "ModelMismatch": 5,
    "UnsafeWeights": 5,
}
CLASSES = [c for _, c in inspect.getmembers(errors, inspect.isclass) if c.__module__ == errors.__name__]


def test_the_list_is_complete() -> None:
    assert {c.__name__: c.exit_code for c in CLASSES if c is not DaczError} == EXIT_CODES


@pytest.mark.parametrize("kind", CLASSES)
def test_errors_are_documented_and_survive_a_process_border(kind: type[DaczError]) -> None:
    assert kind.__doc__
    assert issubclass(kind, DaczError)
    again = pickle.loads(pickle.dumps(kind("what, where, what to do")))
    assert (type(again), str(again)) == (kind, "what, where, what to do")


def test_limit_error_names_value_and_limit() -> None:
    assert str(LimitError.over("tags: entries", 5, 4)) == "tags: entries: 5 is more than the limit of 4"


def test_a_raw_layer_always_fits_its_length_field() -> None:
    limits = Limits()
    bits = (limits.codebook_size - 1).bit_length()
    assert limits.frames_per_block * bits <= 8 * 0xFFFF
