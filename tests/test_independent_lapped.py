"""The decoder that was written from the spec alone makes the sound that the library makes."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from audio_files import tone, write
from container_files import attacked, equalised, make_head, raw_layer, write_file
from independent_lapped import Model, decode_channel, decode_file, read_model
from independent_reader import Refused, read_file
from small_models import SMALL_LAPPED

import dacfile
from dacfile.codec import Codec, load_codec
from dacfile.container import CODED, SAME, SILENT, Block, ChannelBlock, Head
from dacfile.errors import StructureError
from dacfile.folders import BUNDLED
from dacfile.model.checkpoint import save_native
from dacfile.model.lapped import Lapped

# The library computes in binary32, the independent decoder in binary64: measured, they differ by -114 to -133 dB of the
# sound's energy. The tolerance leaves room for other orders of summation. A change of 1 % in any constant of the spec,
# or of one in a whole number, is above it: that is what the small models are for.
TOLERANCE = -105.0  # dB
COPY = -1  # of channel 0, in a layout
BLOCK = 9  # frames

# Random weights, other shapes of tensors, short noise tables. The loud model's gains go beyond their upper limit; its
# last band has the 8 bins that it needs. The quiet one's gains go below the lower limit, and it is faint enough to show
# the constants near zero; 7 bins are left at its end, and joined to the band before.
CONFIG = {**SMALL_LAPPED, "codebooks": 3, "code_dim": 5, "kernel": 5, "expansion": 2, "decoder_blocks": 2}
LOUD = {"hop": 68, "split": 15, "exponent": 0.7, "energy_weight": 1.3, "noise_frames": 29,
        "post_bins": 17, "post_window": 68, "post_width": 5}  # fmt: skip
QUIET = {"hop": 64, "split": 12, "noise_frames": 31, "post_bins": 8, "post_window": 64, "post_width": 3}
SMALL: dict[str, tuple[dict[str, Any], float, float]] = {  # configuration, deviation of weights, mean of energies
    "loud": ({**CONFIG, **LOUD}, 0.3, 1.0),
    "quiet": ({**CONFIG, **QUIET}, 0.03, -14.0),
}
MODELS = (*SMALL, "16k", "24k", "44k")


@dataclass
class Pair:
    """A model in the library and in the independent decoder."""

    codec: Codec
    model: Model

    def random_codes(self, frames: int, layers: int | None = None) -> np.ndarray:
        """Return codes uint16 [layers, frames]."""
        facts = self.codec.facts
        shape = (layers or facts.codebooks, frames)
        return np.random.default_rng(frames).integers(0, facts.codebook_size, shape, dtype=np.uint16)


def write_small(path: Path, name: str) -> Path:
    """Write a model of random weights: F32 for the loud one, F16 for the quiet one."""
    config, deviation, energy = SMALL[name]
    torch.manual_seed(3)
    network = Lapped(config)
    tensors = network.state_dict()
    for key, tensor in tensors.items():
        factor = key.endswith(("noise", "energy_mean", "norm.weight", "scale"))
        tensor.normal_(0, 1 if factor else deviation)
        tensor += energy if key.endswith("energy_mean") else 0
    save_native(path, network.config, tensors, half=name == "quiet")
    return path


@pytest.fixture(scope="module")
def loaded() -> dict[str, Pair]:
    """Return the models that tests have asked for so far."""
    return {}


@pytest.fixture
def pair(request: pytest.FixtureRequest, loaded: dict[str, Pair], tmp_path: Path) -> Pair:
    """Return the model that a test names."""
    name = request.param
    if name not in loaded:
        path = write_small(tmp_path / name, name) if name in SMALL else BUNDLED / f"{name}.safetensors"
        loaded[name] = Pair(load_codec(path, device="cpu"), read_model(path.read_bytes()))
    return loaded[name]


def models(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("pair", names, indirect=True)


def error(expected: np.ndarray, found: np.ndarray) -> float:
    """Return the energy of the difference in dB of that of the sound."""
    assert expected.shape == found.shape
    assert expected.any()
    return float(10 * np.log10(np.sum((found - expected) ** 2) / np.sum(expected**2)))


def make_head_of(codec: Codec, **changes: Any) -> Head:
    """Return the header of a file of a model, changed as asked."""
    facts = codec.facts
    numbers = {"rate": facts.rate, "source_rate": facts.rate, "hop": facts.hop, "context": facts.decoder_context}
    entries = {"codebooks": facts.codebooks, "codebook_size": facts.codebook_size, "model_id": codec.id}
    return make_head(**{**numbers, **entries, "frames_per_block": BLOCK, "channel_mask": 0, **changes})


def make_file(
    path: Path,
    codec: Codec,
    layout: list[list[int]],
    samples: int,
    corrected: bool = False,
    size: int = BLOCK,
    **changes: Any,
) -> Path:
    """Write a file of random codes; `layout` says how many layers each block, `size` frames, has of each channel.

    No layers make it silent, COPY the same as channel 0. Some channels of some blocks have equalisers and attacks, if
    wanted.
    """
    head = make_head_of(codec, channels=len(layout[0]), frames_per_block=size, **changes)
    rng, blocks = random.Random(4), []
    for number, row in enumerate(layout):
        last = number == len(layout) - 1
        frames = size - 4 if last else size
        layers = [tuple(raw_layer(head, frames, rng) for _ in range(depth)) for depth in row]
        modes = [CODED if depth > 0 else SAME if depth == COPY else SILENT for depth in row]
        blocks.append(Block(number, frames, last, tuple(map(ChannelBlock, modes, layers))))
    path.write_bytes(write_file(head, attacked(equalised(blocks)) if corrected else blocks, source_samples=samples))
    return path


def frames_of(layout: list[list[int]], size: int = BLOCK) -> int:
    return size * len(layout) - 4


def decode_independently(pair: Pair, path: Path, layers: int = 64) -> np.ndarray:
    """Return float64 [S, C]."""
    return decode_file(pair.model, read_file(path.read_bytes(), {}), layers).T


@models(*MODELS)
@pytest.mark.parametrize("left_out", [0, 1])
def test_codes_of_a_channel(pair: Pair, left_out: int) -> None:
    codes = pair.random_codes(20, pair.codec.facts.codebooks - left_out)
    found = pair.codec.decode(codes[None])[:, 0]
    assert error(decode_channel(pair.model, codes.astype(int)), found) < TOLERANCE


@models("loud", "quiet")
def test_channels_longer_than_noise_tables_and_windows(pair: Pair) -> None:
    codes = pair.random_codes(1100)
    found = pair.codec.decode(np.stack([codes, codes])).T
    for c in (0, 1):
        assert error(decode_channel(pair.model, codes.astype(int), c=c), found[c]) < TOLERANCE


LAYOUTS = {
    "layers that differ between blocks": [[3, 2], [1, 3], [2, 1]],
    "silence": [[3, 0], [0, 2], [0, 0], [1, 3]],
    "copies beside silence": [[3, 0], [2, COPY], [3, 0], [0, COPY], [2, 3]],
    "five channels": [[2, 3, COPY, 1, 3], [3, 1, 0, COPY, 2]],
}


@models("loud", "quiet")
@pytest.mark.parametrize("transform", [0, 1])
@pytest.mark.parametrize("corrected", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_files(pair: Pair, tmp_path: Path, layout: list[list[int]], transform: int, corrected: bool) -> None:
    gains = tuple(700 - 400 * channel for channel in range(len(layout[0])))
    samples = (frames_of(layout) - 1) * pair.codec.facts.hop - 5
    path = make_file(tmp_path / "a.dacz", pair.codec, layout, samples, corrected, transform=transform, gains=gains)
    for layers in (None, 2):
        found, _ = dacfile.read(path, codec=pair.codec, codebooks=layers)
        expected = decode_independently(pair, path, layers or 64)
        for channel in range(len(layout[0])):
            assert error(expected[:, channel], found[:, channel]) < TOLERANCE


@models("loud", "quiet")
@pytest.mark.parametrize("size", [64, 150])
def test_equalisers_of_several_stretches(pair: Pair, tmp_path: Path, size: int) -> None:
    layout = [[3, 3], [1, 2], [3, 0]]
    samples = (frames_of(layout, size) - 1) * pair.codec.facts.hop - 5
    path = make_file(tmp_path / "a.dacz", pair.codec, layout, samples, True, size)
    plain = make_file(tmp_path / "plain.dacz", pair.codec, layout, samples, False, size)
    found, expected = dacfile.read(path, codec=pair.codec)[0], decode_independently(pair, path)
    for channel in (0, 1):
        assert error(expected[:, channel], found[:, channel]) < TOLERANCE
        assert error(expected[:, channel], decode_independently(pair, plain)[:, channel]) > -40


@models("16k", "24k", "44k")
def test_corrections_of_bundled_models(pair: Pair, tmp_path: Path) -> None:
    path = make_file(tmp_path / "a.dacz", pair.codec, [[2], [1], [2]], 20 * pair.codec.facts.hop, corrected=True)
    plain = make_file(tmp_path / "plain.dacz", pair.codec, [[2], [1], [2]], 20 * pair.codec.facts.hop)
    expected = decode_independently(pair, path)
    assert error(expected, dacfile.read(path, codec=pair.codec)[0]) < TOLERANCE
    assert error(expected, decode_independently(pair, plain)) > -20


@models("16k")
@pytest.mark.parametrize("corrected", [False, True])
def test_a_part_of_a_file(pair: Pair, tmp_path: Path, corrected: bool) -> None:
    layout, rate = [[3, 12], [2, 0], [3, 12], [12, 12], [4, 3], [5, 6], [7, 8]], pair.codec.rate
    path = make_file(tmp_path / "a.dacz", pair.codec, layout, frames_of(layout) * 300, corrected, transform=1)
    start, stop = 30 * 320 + 7, 45 * 320 + 9  # the first block is none of those that this needs
    found, _ = dacfile.read(path, start / rate, stop / rate, codec=pair.codec)
    assert error(decode_independently(pair, path)[start:stop], found) < TOLERANCE


@models("16k")
def test_a_file_made_of_sound(pair: Pair, tmp_path: Path) -> None:
    song = write(tmp_path / "song.wav", tone(6000, 2, 16000), 16000, "WAV")
    path = dacfile.compress(song, codec=pair.codec, stereo="ms", prior=False)
    assert error(decode_independently(pair, path), dacfile.read(path, codec=pair.codec)[0]) < TOLERANCE


@models("loud")
def test_frames_beyond_the_sound_are_ignored_and_missing_ones_refused(pair: Pair, tmp_path: Path) -> None:
    layout, hop = [[3, 2], [3, 0], [3, 2]], pair.codec.facts.hop
    path = make_file(tmp_path / "more.dacz", pair.codec, layout, 10 * hop + 1)
    assert error(decode_independently(pair, path), dacfile.read(path, codec=pair.codec)[0]) < TOLERANCE
    path = make_file(tmp_path / "fewer.dacz", pair.codec, layout, frames_of(layout) * hop)
    with pytest.raises(StructureError, match="frames too few"):
        dacfile.read(path, codec=pair.codec)
    with pytest.raises(Refused, match="StructureError: frames"):
        decode_independently(pair, path)


@models("loud")
def test_the_context_is_as_wide_as_said(pair: Pair) -> None:
    context, hop, t = pair.codec.facts.decoder_context, pair.model.hop, 20
    codes = pair.random_codes(45).astype(int)
    whole = decode_channel(pair.model, codes)[t * hop : (t + 1) * hop]
    for missing, same in ((0, True), (1, False)):
        first, end = t - context, t + context + 1 - missing
        part = decode_channel(pair.model, codes[:, first:end], first)[context * hop : (context + 1) * hop]
        assert np.allclose(part, whole, rtol=1e-9) == same


@models("loud")
def test_other_weights_are_refused(pair: Pair, tmp_path: Path) -> None:
    data = bytearray(write_small(tmp_path / "small", "loud").read_bytes())
    data[-1] ^= 1
    with pytest.raises(Refused, match="ModelMismatch: id"):
        read_model(bytes(data))
    path = make_file(tmp_path / "a.dacz", pair.codec, [[1]], 64, model_id=bytes(16))
    with pytest.raises(Refused, match="ModelMismatch: model"):
        decode_independently(pair, path)
