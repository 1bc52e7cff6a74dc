"""Behind the CRCs of the chunks `codes_crc` still stands: a wrong code is never returned in silence."""

from __future__ import annotations

import pytest
from container_files import chunk_spans
from fuzz_reader import crc_checks_off
from make_vectors import FOLDER, outcome

from dacfile.container import wire


@pytest.mark.parametrize("name", ["good-range-mono", "good-range-and-raw", "good-network-mono"])
def test_flipped_bits_in_blocks_with_crc_checks_off(name: str) -> None:
    data = (FOLDER / f"{name}.dacz").read_bytes()
    right = outcome(data)
    found: set[str] = set()
    for kind, start, end in chunk_spans(data):
        if kind != wire.BLOCK:
            continue
        for bit in range(8 * (start + 8), 8 * (end - 4), 5):
            changed = bytearray(data)
            changed[bit // 8] ^= 1 << bit % 8
            with crc_checks_off():
                found.add(outcome(bytes(changed)))
    # The same digest is right where the flipped bit says nothing: below the last byte's place in the coder's interval.
    assert "EntropyMismatch" in found
    assert found <= {"EntropyMismatch", "StructureError", "UnsupportedFeature", right}
