"""Nothing but `DaczError` leaves the container, whatever the bytes; also behind the CRC checks."""

from __future__ import annotations

from fuzz_reader import CORPUS, crc_checks_off, damaged, exercise
from hypothesis import given, settings
from hypothesis import strategies as st

from dacfile.container import wire

KNOWN_OUTCOMES = {
    *("read", "NotDacz", "Truncated", "ChecksumError", "StructureError", "LimitError"),
    *("UnsupportedFeature", "UnsupportedVersion"),
}


def test_the_corpus_is_intact() -> None:
    assert [exercise(data) for data in CORPUS] == ["read"] * len(CORPUS)


@settings(max_examples=400, deadline=None)
@given(st.integers(0, 1 << 60))
def test_damaged_files(seed: int) -> None:
    assert exercise(damaged(seed)) in KNOWN_OUTCOMES


@settings(max_examples=400, deadline=None)
@given(st.integers(0, 1 << 60))
def test_damaged_files_with_crc_checks_off(seed: int) -> None:
    with crc_checks_off():
        assert exercise(damaged(seed)) in KNOWN_OUTCOMES


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400), st.booleans(), st.sampled_from([b"", wire.MAGIC, CORPUS[0][:105], CORPUS[0][:140]]))
def test_any_bytes(data: bytes, off: bool, start: bytes) -> None:
    if off:
        with crc_checks_off():
            assert exercise(start + data) in KNOWN_OUTCOMES
    else:
        assert exercise(start + data) in KNOWN_OUTCOMES
