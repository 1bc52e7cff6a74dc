"""The vectors of the spec: both readers read the good ones and refuse the others for the reason given."""

from __future__ import annotations

import io
import re
from pathlib import Path

import independent_reader
import make_vectors
import pytest

from dacfile.container import CODED, Reader
from dacfile.container.block import max_block_bytes, pack_block, raw_equaliser_bytes
from dacfile.entropy import load_prior
from dacfile.equaliser_code import unpack
from dacfile.errors import EntropyMismatch
from dacfile.verification import verify_file

FOLDER = make_vectors.FOLDER
ROWS = re.findall(r"^\| `([\w-]+)\.dacz` \| (\w+) \| ", (FOLDER / "README.md").read_text(), re.MULTILINE)
PRIORS = {load_prior(path).id: path.read_bytes() for path in FOLDER.glob("*.prior.safetensors")}


def kinds(prefix: str) -> list[str]:
    return [name for name, _ in ROWS if name.startswith(prefix)]


def test_the_readme_lists_every_file() -> None:
    assert sorted(name for name, _ in ROWS) == sorted(path.stem for path in FOLDER.glob("*.dacz"))
    assert len(kinds("good-")) >= 20
    assert len(kinds("bad-")) >= 40
    assert len(kinds("unsupported-")) >= 6


def test_the_script_makes_the_same_files(tmp_path: Path) -> None:
    make_vectors.write_all(tmp_path)
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert made == {path.name: path.read_bytes() for path in FOLDER.iterdir()}


@pytest.mark.parametrize(("name", "expected"), ROWS, ids=[name for name, _ in ROWS])
def test_vector(name: str, expected: str) -> None:
    data = (FOLDER / f"{name}.dacz").read_bytes()
    assert make_vectors.outcome(data) == expected
    if name.startswith("good-"):
        assert re.fullmatch("[0-9a-f]{16}", expected)
        assert independent_reader.digest(independent_reader.read_file(data, PRIORS)) == expected
    else:
        with pytest.raises(independent_reader.Refused) as caught:
            independent_reader.read_file(data, PRIORS)
        assert caught.value.kind == expected


def levels_of(equaliser: bytes, frames: int) -> list[list[int]]:
    return unpack(equaliser, frames).tolist() if equaliser else []


@pytest.mark.parametrize("name", kinds("good-"))
def test_both_readers_agree_on_everything_else(name: str) -> None:
    data = (FOLDER / f"{name}.dacz").read_bytes()
    other = independent_reader.read_file(data, PRIORS)
    with Reader(io.BytesIO(data)) as reader:
        assert list(reader.tags) == other.tags
        assert [(p.kind, p.mime, p.description, p.data) for p in reader.pictures] == other.pictures
        assert list(reader.lost) == other.lost
        assert reader.source_samples == other.source_samples
        assert reader.head.gains == other.head["gains"]
        blocks = list(reader.blocks())
        assert [block.frames for block in blocks] == other.frames
        levels = [[levels_of(channel.equaliser, block.frames) for channel in block.channels] for block in blocks]
        assert levels == [[channel.levels for channel in channels] for channels in other.blocks]
        attacks = [[list(channel.attacks) for channel in block.channels] for block in blocks]
        assert attacks == [[channel.attacks for channel in channels] for channels in other.blocks]


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("good-equaliser", [[True]] * 3),
        ("good-equaliser-range", [[True, True], [True, False], [False, True]]),
        ("good-equaliser-dropped", [[True, True], [True, False], [False, True]]),
        ("good-equaliser-stretches", [[True, True], [True, False], [False, True], [True, True]]),
        ("good-equaliser-weights", [[True]]),
    ],
)
def test_vectors_have_equalisers(name: str, wanted: list[list[bool]]) -> None:
    with Reader(FOLDER / f"{name}.dacz") as reader:
        assert [[bool(c.equaliser) for c in block.channels] for block in reader.blocks()] == wanted


@pytest.mark.parametrize("name", ["good-attacks-some", "good-attacks-range"])
def test_attacks_with_and_without_an_equaliser_are_vectors(name: str) -> None:
    with Reader(FOLDER / f"{name}.dacz") as reader:
        channels = [channel for block in reader.blocks() for channel in block.channels if channel.mode == CODED]
    assert {(bool(c.attacks), bool(c.equaliser)) for c in channels} >= {(True, True), (True, False), (False, True)}


def test_the_most_attacks_are_a_vector() -> None:
    with Reader(FOLDER / "good-attacks-255.dacz") as reader:
        first, last = reader.blocks()
    assert len(first.channels[0].attacks) == 255
    assert first.channels[0].attacks[-1].position == 16 * first.frames - 1
    assert not last.channels[0].attacks


def test_the_largest_block_is_a_vector() -> None:
    with Reader(FOLDER / "good-attacks.dacz") as reader:
        first, *_ = reader.blocks()
        assert len(pack_block(first, reader.head)) == max_block_bytes(reader.head)


@pytest.mark.parametrize("name", ["good-equaliser-some", "good-equaliser-range", "good-equaliser-stretches"])
def test_equalisers_of_both_kinds_are_vectors(name: str) -> None:
    with Reader(FOLDER / f"{name}.dacz") as reader:
        blocks = list(reader.blocks())
    found = {len(c.equaliser) == raw_equaliser_bytes(b.frames) for b in blocks for c in b.channels if c.equaliser}
    assert found == {True, False}


def test_every_weight_is_used_by_a_vector() -> None:
    with Reader(FOLDER / "good-equaliser-weights.dacz") as reader:
        (block,) = reader.blocks()
    (channel,) = block.channels
    assert len(channel.equaliser) < raw_equaliser_bytes(block.frames)
    levels = unpack(channel.equaliser, block.frames)
    assert set(levels[0].tolist()) == set(range(16))
    assert len(set(zip(levels[:-1].ravel().tolist(), levels[1:].ravel().tolist(), strict=True))) == 16 * 16


def stored_kinds(name: str) -> set[str]:
    """Return how the layers of a vector are stored: empty, short, raw."""
    found = set()
    with Reader(FOLDER / f"{name}.dacz") as reader:
        for block in reader.blocks():
            raw = reader.head.raw_layer_bytes(block.frames)
            for channel in block.channels:
                if channel.mode == CODED:
                    found |= {"raw" if len(x.data) == raw else "coded" if x.data else "empty" for x in channel.layers}
    return found


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("good-range-and-raw", {"coded", "raw"}),
        ("good-range-short", {"coded", "empty"}),
        ("good-range-mono", {"coded"}),
        ("good-range-phases", {"coded"}),
        ("good-stereo", {"raw"}),
        ("good-network-stereo", {"coded"}),
    ],
)
def test_vectors_show_what_they_say(name: str, wanted: set[str]) -> None:
    assert stored_kinds(name) >= wanted


def test_verifying_decodes_equalisers() -> None:
    assert verify_file(FOLDER / "good-equaliser-stretches.dacz").blocks == 4
    with pytest.raises(EntropyMismatch):
        verify_file(FOLDER / "bad-equaliser-data.dacz")
