"""Small files that are large when decoded, and damaged ones: memory is bounded, errors are ours."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from container_files import make_head
from stub_codec import StubCodec

from dacfile.audio import resample
from dacfile.audio.files import AudioReader
from dacfile.audio.resample import Resampler
from dacfile.container import SILENT, Block, ChannelBlock, Reader, Writer
from dacfile.decoder import Decoder
from dacfile.errors import LimitError
from dacfile.material import Material

FOLDER = Path(__file__).parent


@pytest.mark.parametrize("seed", [5, 6])
def test_damaged_files_decode_or_raise_our_errors_within_little_memory(seed: int) -> None:
    command = [sys.executable, FOLDER / "fuzz_decode.py", "--count", "150", "--seed", str(seed)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "'decoded'" in done.stdout
    assert "'StructureError'" in done.stdout


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> int:
    """Make pieces small, so that the tests are fast; return the bytes that no array may reach."""
    monkeypatch.setattr(resample, "PIECE_VALUES", 1 << 14)
    return 8 << 14


def test_minutes_at_one_hertz_are_taken_in_pieces(tmp_path: Path, small_pieces: int) -> None:
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).uniform(-0.5, 0.5, 200), 1)
    with AudioReader(tmp_path / "a.wav") as reader:
        material = Material(reader, 1_000)
        blocks = list(material.blocks())
    assert sum(map(len, blocks)) == material.length == 200_000
    # Only the end comes at once: what the filter still holds.
    assert sorted(block.nbytes for block in blocks)[-2] < small_pieces


def test_pieces_are_what_one_push_gives(small_pieces: int) -> None:
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (2_000, 2)).astype(np.float32)
    whole, cut = Resampler(1_000, 40_000, 2), Resampler(1_000, 40_000, 2)
    expected = np.concatenate([whole.push(samples), whole.finish()])
    pieces = list(cut.pieces(samples))
    assert len(pieces) > 2
    np.testing.assert_allclose(np.concatenate([*pieces, cut.finish()]), expected, atol=2e-6)


def test_many_channels_at_one_hertz_are_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros((10, 255), np.float32), 1)
    with AudioReader(tmp_path / "a.wav") as reader, pytest.raises(LimitError, match="1 to 44100 Hz"):
        Material(reader, 44_100)


def test_a_small_file_that_decodes_to_gigabytes_comes_in_pieces(small_pieces: int) -> None:
    """255 silent channels at 768 kHz: a byte a channel and block."""
    codec = StubCodec()
    head = make_head(
        rate=8000, hop=16, frames_per_block=4000, codebook_size=64, codebooks=3, context=2, channels=255,
        channel_mask=0, source_rate=768_000, model_id=codec.id, gains=(0,) * 255,
    )  # fmt: skip
    out = io.BytesIO()
    writer = Writer(out, head)
    writer.write_block(Block(0, 4000, True, (ChannelBlock(SILENT),) * 255))
    writer.finish(4000 * 16 * 96 - 1000, bytes(16))
    assert out.tell() < 2_000
    with Reader(io.BytesIO(out.getvalue())) as reader:
        pieces = Decoder(reader, codec).samples()
        for _, piece in zip(range(5), pieces, strict=False):
            assert piece.nbytes <= 4 * small_pieces  # soxr gives what it held back in larger pieces
            assert not piece.any()


@pytest.mark.skipif(not os.environ.get("DACZ_FUZZ"), reason="long: set DACZ_FUZZ to a number of cases")
@pytest.mark.parametrize("script", ["fuzz_reader", "fuzz_decode", "fuzz_weights"])
def test_long_runs(script: str) -> None:
    command = [sys.executable, FOLDER / f"{script}.py", "--count", os.environ["DACZ_FUZZ"]]
    assert subprocess.run(command).returncode == 0
