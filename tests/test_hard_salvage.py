"""Damaged files at the command line: `salvage`, `decompress --force`, and what `verify` says about them."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import files_below
from container_files import chunk_spans, join, split
from stub_codec import StubCodec

from dacfile.batch import DecompressSettings, plan_decompress, process
from dacfile.container import Reader, wire
from dacfile.decoder import Decoder
from dacfile.errors import ChecksumError
from dacfile.events import FileDone, FileFailed
from dacfile.pipeline import CompressOptions, DecompressOptions, compress_file, decompress_file

HOUR, RATE = 3600, 1_000
SECONDS_PER_BLOCK = 625 * 32 / RATE
STUB_CLI = Path(__file__).with_name("stub_cli.py")


def compressed(samples: np.ndarray, codec: StubCodec, **options: float) -> bytes:
    wav, target = io.BytesIO(), io.BytesIO()
    soundfile.write(wav, samples, codec.rate, format="WAV", subtype="FLOAT")
    wav.seek(0)
    compress_file(wav, target, codec, options=CompressOptions(stereo="lr", **options))
    return target.getvalue()


def spans_of_blocks(data: bytes) -> list[tuple[int, int]]:
    return [(start, end) for kind, start, end in chunk_spans(data) if kind == wire.BLOCK]


def overwritten(data: bytes, start: int, size: int) -> bytes:
    return data[:start] + np.random.default_rng(start).bytes(size) + data[start + size :]


def audio(path: Path, codec: StubCodec) -> np.ndarray:
    with Reader(path) as reader:
        return np.concatenate(list(Decoder(reader, codec).samples()))


def test_an_hour_with_a_kilobyte_overwritten_loses_only_the_blocks_touched(tmp_path: Path, dacz) -> None:
    codec = StubCodec(rate=RATE, hop=32, codebooks=6)
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, (HOUR * RATE, 1)).astype(np.float32)
    data = compressed(noise, codec)
    spans, middle = spans_of_blocks(data), len(data) // 2
    assert len(spans) == HOUR // SECONDS_PER_BLOCK + (HOUR * RATE + codec.facts.tail > 180 * 625 * 32)
    touched = [n for n, (start, end) in enumerate(spans) if start < middle + 1024 and end > middle]
    assert 1 <= len(touched) <= 2
    for name, content in (("whole", data), ("broken", overwritten(data, middle, 1024))):
        (tmp_path / f"{name}.dacz").write_bytes(content)
    assert dacz("verify", tmp_path / "broken.dacz").code == 3

    done = dacz("salvage", tmp_path / "broken.dacz", "-o", tmp_path / "fixed.dacz", "--json")
    report = json.loads(done.out)
    assert (done.code, report["complete"], report["kept"]) == (3, False, len(spans) - len(touched))
    (gap,) = report["gaps"]
    lost = touched[0] * SECONDS_PER_BLOCK, (touched[-1] + 1) * SECONDS_PER_BLOCK
    assert (gap["start"], gap["stop"]) == pytest.approx(lost)
    assert gap["first_block"] == touched[0]
    assert dacz("verify", tmp_path / "fixed.dacz").code == 0

    before, after = (audio(tmp_path / f"{name}.dacz", codec) for name in ("whole", "fixed"))
    context = codec.facts.decoder_context * codec.facts.hop
    low, high = round(lost[0] * RATE) - context, round(lost[1] * RATE) + context
    assert before.shape == after.shape == (HOUR * RATE, 1)
    np.testing.assert_array_equal(before[:low], after[:low])
    np.testing.assert_array_equal(before[high:], after[high:])
    assert not after[round(lost[0] * RATE) : round(lost[1] * RATE) - codec.facts.lead].any()


CODEC = StubCodec()
SAMPLES = 19_000
DATA = compressed(np.random.default_rng(1).uniform(-0.5, 0.5, (SAMPLES, 2)), CODEC, block_seconds=0.5)
SPANS = spans_of_blocks(DATA)


def broken(*blocks: int) -> bytes:
    """Return DATA with these blocks damaged."""
    data = DATA
    for block in blocks:
        data = overwritten(data, SPANS[block][0] + 40, 8)
    return data


def unpack(data: bytes, **options: object) -> tuple[np.ndarray, tuple[str, ...]]:
    out = io.BytesIO()
    done = decompress_file(io.BytesIO(data), out, lambda h: CODEC, lambda h: None, DecompressOptions(**options))
    out.seek(0)
    return soundfile.read(out, always_2d=True)[0], done.notes


def test_forced_decoding_is_decoding_after_salvage() -> None:
    whole, notes = unpack(DATA)
    assert notes == ()
    assert unpack(DATA, force=True)[1] == ()
    np.testing.assert_array_equal(unpack(DATA, force=True)[0], whole)
    with pytest.raises(ChecksumError):
        unpack(broken(1))
    forced, notes = unpack(broken(1, 3), force=True)
    assert notes == (
        "silent from 0.500 s to 1.000 s (block 1 lost)",
        "silent from 1.500 s to 2.000 s (block 3 lost)",
    )
    assert forced.shape == whole.shape
    np.testing.assert_array_equal(forced[:3_900], whole[:3_900])
    np.testing.assert_array_equal(forced[16_100:], whole[16_100:])
    assert not forced[4_000:7_990].any()
    assert not forced[12_000:15_990].any()


def test_forced_decoding_of_a_part_tells_the_gaps_in_it() -> None:
    part, notes = unpack(broken(1, 3), force=True, start=0.6, duration=0.7)
    assert notes == ("silent from 0.500 s to 1.000 s (block 1 lost)",)
    np.testing.assert_array_equal(part, unpack(broken(1, 3), force=True)[0][4_800:10_400])
    assert unpack(broken(3), force=True, start=0.6, duration=0.7)[1] == ()


def test_forced_decoding_from_a_pipe() -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    out = io.BytesIO()
    options = DecompressOptions(force=True)
    done = decompress_file(Pipe(broken(2)), out, lambda h: CODEC, lambda h: None, options)
    assert done.samples == SAMPLES
    assert done.notes == ("silent from 1.000 s to 1.500 s (block 2 lost)",)


def test_many_gaps_are_not_all_told() -> None:
    data = compressed(np.random.default_rng(1).uniform(-0.5, 0.5, (16_000, 1)), CODEC, block_seconds=0.04)
    for start, _ in spans_of_blocks(data)[::2]:
        data = overwritten(data, start + 20, 4)
    _, notes = unpack(data, force=True)
    assert len(notes) == 21
    assert notes[-1] == "and 5 more gaps"


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """A folder with files damaged in every way that leaves something to save, and one with nothing to save."""
    cases = {
        "whole": DATA,
        "block": broken(2),
        "cut": DATA[: SPANS[2][1] + 100],
        "tail": DATA[:-20],
        "longer": DATA + b"something else",
        "head": overwritten(DATA, 20, 30),
        "headers": overwritten(DATA, 20, 30).replace(b"hcpy", b"hxpy"),
    }
    for name, data in cases.items():
        (tmp_path / "in" / f"{name}.wav.dacz").parent.mkdir(exist_ok=True)
        (tmp_path / "in" / f"{name}.wav.dacz").write_bytes(data)
    return tmp_path / "in"


def test_force_over_a_batch(damaged: Path, tmp_path: Path) -> None:
    plan = plan_decompress([damaged], tmp_path / "out", None, force=True)
    events = list(process(plan, DecompressSettings(options=DecompressOptions(force=True), codec=CODEC)))
    notes = {event.source.name[:-9]: event.notes for event in events if isinstance(event, FileDone)}
    assert notes["whole"] == notes["tail"] == notes["longer"] == ()
    assert notes["block"] == ("silent from 1.000 s to 1.500 s (block 2 lost)",)
    assert notes["cut"] == ("silent from 1.500 s to 2.375 s (blocks 3 to 4 lost)",)
    assert notes["head"] == ("the header was damaged; its copy was used",)
    (failed,) = [event for event in events if isinstance(event, FileFailed)]
    assert (failed.source.name, failed.kind) == ("headers.wav.dacz", "ChecksumError")
    assert {soundfile.info(path).frames for path in (tmp_path / "out").iterdir()} == {SAMPLES}
    assert len(files_below(tmp_path / "out")) == 6


def test_without_force_damaged_files_fail(damaged: Path, tmp_path: Path) -> None:
    plan = plan_decompress([damaged], tmp_path / "out", None)
    events = list(process(plan, DecompressSettings(codec=CODEC)))
    assert (events[-1].done, events[-1].failed, events[-1].exit_code) == (1, 6, 2)
    assert files_below(tmp_path / "out") == ["whole.wav"]


@pytest.mark.usefixtures("stub_models")
def test_force_at_the_command_line(damaged: Path, tmp_path: Path, dacz) -> None:
    done = dacz("decompress", damaged / "block.wav.dacz", "-o", tmp_path / "out", "--force")
    assert done.code == 3
    assert "note: silent from 1.000 s to 1.500 s (block 2 lost)" in done.out
    assert soundfile.info(tmp_path / "out" / "block.wav").frames == SAMPLES
    assert dacz("decompress", damaged / "block.wav.dacz", "-o", tmp_path / "other").code == 3


@pytest.mark.usefixtures("stub_models")
def test_what_force_has_lost_is_told_even_when_quiet(damaged: Path, tmp_path: Path, dacz) -> None:
    one = dacz("decompress", damaged / "block.wav.dacz", "-o", tmp_path / "one", "--force", "-q")
    assert (one.code, one.out) == (3, "")
    assert one.err == f"dacz: {damaged}/block.wav.dacz: silent from 1.000 s to 1.500 s (block 2 lost)\n"
    (damaged / "headers.wav.dacz").unlink()
    several = dacz("decompress", damaged, "-o", tmp_path / "several", "--force", "-q")
    assert (several.code, len(several.err.splitlines())) == (2, 3)
    intact = [damaged / "whole.wav.dacz", "-o", tmp_path / "intact", "--force", "-q"]
    assert dacz("decompress", *intact).code == 0


def test_salvage_says_what_is_lost(damaged: Path, tmp_path: Path, dacz) -> None:
    done = dacz("salvage", damaged / "block.wav.dacz", "-o", tmp_path / "block.dacz")
    assert done.code == 3
    assert done.out.splitlines() == [
        f"{tmp_path}/block.dacz: 4 blocks saved, 1 lost, 0.500 s of 2.375 s are silent",
        "  silent from 1.000 s to 1.500 s (block 2 lost)",
    ]
    done = dacz("salvage", damaged / "head.wav.dacz", "-o", tmp_path / "head.dacz", "-q")
    assert (done.code, done.out) == (0, "")
    assert (tmp_path / "head.dacz").read_bytes() == DATA


def test_salvage_of_a_salvaged_file_still_tells_the_gap(damaged: Path, tmp_path: Path, dacz) -> None:
    assert dacz("salvage", damaged / "block.wav.dacz", "-o", tmp_path / "a.dacz").code == 3
    _, notes = unpack((tmp_path / "a.dacz").read_bytes())
    assert notes == ("silent from 1.000 s to 1.500 s (block 2 lost)",)
    assert "lost" in dacz("info", tmp_path / "a.dacz").out


def test_salvage_never_touches_what_is_there(damaged: Path, tmp_path: Path, dacz) -> None:
    source = damaged / "block.wav.dacz"
    before = source.read_bytes()
    (tmp_path / "link.dacz").hardlink_to(source)
    for out in (source, tmp_path / "link.dacz"):
        done = dacz("salvage", source, "-o", out, "--overwrite")
        assert (done.code, done.err.count("\n")) == (1, 1)
    (tmp_path / "other.dacz").write_bytes(b"mine")
    assert dacz("salvage", source, "-o", tmp_path / "other.dacz").code == 2
    assert (tmp_path / "other.dacz").read_bytes() == b"mine"
    assert dacz("salvage", damaged / "headers.wav.dacz", "-o", tmp_path / "none.dacz").code == 3
    assert source.read_bytes() == before
    assert not (tmp_path / "none.dacz").exists()
    assert dacz("salvage", source, "-o", tmp_path / "other.dacz", "--overwrite").code == 3
    assert dacz("verify", tmp_path / "other.dacz").code == 0


def test_blocks_of_another_file_of_the_same_shape_are_not_told_apart_but_nothing_breaks(tmp_path: Path, dacz) -> None:
    """A CRC tells damage, not authenticity: of two blocks of one number neither is taken."""
    other = compressed(np.random.default_rng(2).uniform(-0.5, 0.5, (SAMPLES, 2)), CODEC, block_seconds=0.5)
    chunks, strange = split(DATA), split(other)
    first = next(n for n, (kind, _) in enumerate(chunks) if kind == wire.BLOCK)
    chunks[first] = strange[first + 1]  # block 1 of the other file in place of block 0
    (tmp_path / "x.dacz").write_bytes(join(chunks))
    done = dacz("salvage", tmp_path / "x.dacz", "-o", tmp_path / "y.dacz")
    assert done.code == 3
    assert "silent from 0.000 s to 1.000 s (blocks 0 to 1 lost)" in done.out
    assert dacz("verify", tmp_path / "y.dacz").code == 0


def test_salvage_needs_neither_torch_nor_numpy(damaged: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from dacz.app import run; "
        f"run(['salvage', {str(damaged / 'cut.wav.dacz')!r}, '-o', {str(tmp_path / 'x.dacz')!r}]); "
        "sys.exit(bool({'torch', 'numpy'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL).returncode == 0
    assert (tmp_path / "x.dacz").exists()


@pytest.mark.usefixtures("stub_models")
def test_two_files_in_one_are_told(tmp_path: Path, dacz) -> None:
    other = compressed(np.random.default_rng(2).uniform(-0.5, 0.5, (SAMPLES, 2)), CODEC, block_seconds=0.5)
    note = f"another file, from byte {len(DATA)} on, was left out"
    for name, data, kept in (("whole", DATA, 5), ("broken", broken(1), 4)):
        path = tmp_path / f"{name}.dacz"
        path.write_bytes(data + other)
        done = dacz("salvage", path, "-o", tmp_path / f"{name}.out.dacz", "-q")
        assert (done.code, f"{kept} blocks saved, {5 - kept} lost" in done.out, note in done.out) == (3, True, True)
        forced = dacz("decompress", path, "-o", tmp_path / f"{name}.wav", "--force")
        assert (forced.code, note in forced.out) == (3, True)
        expected = unpack(data, force=True)[0]
        np.testing.assert_array_equal(soundfile.read(tmp_path / f"{name}.wav", always_2d=True)[0], expected)
    assert (tmp_path / "whole.out.dacz").read_bytes() == DATA


def test_an_empty_file_is_no_damaged_one(tmp_path: Path, dacz) -> None:
    (tmp_path / "empty.wav.dacz").write_bytes(b"")
    for command in (["salvage", "-o", tmp_path / "x.dacz"], ["decompress", "--force", "-o", tmp_path / "x.wav"]):
        done = dacz(*command, tmp_path / "empty.wav.dacz")
        assert (done.code, "not a .dacz file: it is empty" in done.err) == (4, True)
