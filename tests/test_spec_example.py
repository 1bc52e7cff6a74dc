"""The spec and the code say the same: the worked example, the tables of fields, the errors, the numbers."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
import spec_example

from dacfile import errors
from dacfile.container import CONTAINERS, SUBTYPES, Reader, wire
from dacfile.container.head import FIXED_BYTES
from dacfile.limits import Limits

SPEC = (Path(__file__).parent.parent / "spec" / "dacz-v1.md").read_text()


def example() -> bytes:
    """Return the bytes of the table in section 16, reading nothing but the table."""
    block = SPEC.split("```hexdump\n")[1].split("```")[0]
    data = b""
    for line in block.splitlines():
        offset, text = int(line[:4], 16), line[6:53]
        assert offset == len(data), f"the offset in the line {line!r} is wrong"
        data += bytes.fromhex(text)
    return data


def rows(section: str) -> list[list[str]]:
    """Return the cells of the rows of the first table after a heading."""
    body = SPEC.split(f"\n{section}\n")[1].split("\n#")[0]
    table = re.search(r"\n\|[^\n]*\n\|[-|]+\n((?:\|[^\n]*\n)+)", body)
    assert table
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.group(1).splitlines()]


def test_the_writer_makes_the_worked_example() -> None:
    assert example() == spec_example.file_bytes()


def test_the_reader_reads_the_worked_example() -> None:
    with Reader(io.BytesIO(example())) as reader:
        assert reader.head == spec_example.HEAD
        assert reader.tags == (("TITLE", "Hi"),)
        (block,) = reader.blocks()
    low_nibbles_first = [(layer.data[0] & 15, layer.data[0] >> 4) for layer in block.channels[0].layers]
    assert low_nibbles_first == list(spec_example.CODES)


@pytest.mark.parametrize(
    ("section", "total"),
    [("### 4.1 Fields", FIXED_BYTES), ("## 8. `TAIL`", wire.TAIL_BYTES), ("### 6.1 Fields", 8)],
)
def test_tables_have_no_holes(section: str, total: int) -> None:
    at = 0
    for offset, size, *_ in rows(section):
        if at == total:
            break
        assert int(offset) == at
        at += int(size)
    assert at == total


def test_chunk_types() -> None:
    assert [row[0].strip("`") for row in rows("### 3.2 Chunks")] == ["0", "4", "8", "8 + length"]
    named = re.findall(r"^\| `(\w{4})` \|", SPEC, re.MULTILINE)
    assert {name.encode() for name in named} == set(wire.ORDER)
    assert [wire.ORDER[name.encode()] for name in named] == sorted(wire.ORDER.values())


def test_limits_are_those_of_the_code() -> None:
    fields = {row[2].split(":")[0]: row[3] for row in rows("### 4.1 Fields")}
    limits = Limits()
    assert fields["rate"] == f"1..{limits.rate:,}"
    assert fields["hop"] == f"1..{limits.hop:,}"
    assert fields["F"] == f"1..{limits.frames_per_block:,}"
    assert fields["N"] == f"2..{limits.codebook_size:,}"
    assert fields["K"] == f"1..{limits.codebooks}"
    assert fields["C"] == f"1..{limits.channels}"
    assert fields["source length"] == f"at most 2^{limits.source_samples.bit_length() - 1}"
    assert f"{limits.tags_entries:,} entries" in SPEC
    assert f"{limits.chunks:,} chunks" in SPEC


def test_errors_and_exit_codes() -> None:
    named = 0
    for names, code, _ in rows("## 12. Errors"):
        for name in re.findall(r"`(\w+)`", names):
            assert getattr(errors, name).exit_code == int(code)
            named += 1
    assert named == 12


@pytest.mark.parametrize(("title", "numbers"), [("Sample formats", SUBTYPES), ("File formats", CONTAINERS)])
def test_appendix_a(title: str, numbers: dict[int, str]) -> None:
    text = re.search(rf"{title}: ([^.]+)\.", SPEC)
    assert text
    found = {int(number): name for number, name in re.findall(r"(\d+)\s+(\w+)", text.group(1))}
    assert found == {number: name for number, name in numbers.items() if number}


def test_links_lead_somewhere() -> None:
    folder = Path(__file__).parent.parent / "spec"
    for target in set(re.findall(r"\]\((\w[^)# ]*\.md)\)", SPEC)):
        assert (folder / target).exists(), target
    for target in set(re.findall(r"`(tests/\w+\.py)`", SPEC)):
        assert (folder.parent / target).exists(), target
