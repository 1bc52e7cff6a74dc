"""Both networks through the codec: windows of any size give what the whole file gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from dacfile.codec import Codec, StreamDecoder, StreamEncoder
from dacfile.device import resolve_device, resolve_precision
from dacfile.errors import UsageError
from dacfile.model.base import build
from dacfile.stream import decode_jobs, encode_jobs
from dacfile.windows import ABSENT, DecodeBuffer, EncodeBuffer

DAC = {"architecture": "dac", "encoder_dim": 2, "decoder_dim": 16, "n_codebooks": 3, "codebook_size": 32}
LAPPED = {"architecture": "lapped", "rate": 8000, "codebooks": 3, "codebook_size": 32, "width": 24}
SHORT = {**LAPPED, "hop": 64, "split": 16, "quadrature": 32}
CONFIGS: dict[str, dict[str, Any]] = {
    "dac-2488": {**DAC, "encoder_rates": [2, 4, 8, 8], "decoder_rates": [8, 8, 4, 2]},
    "dac-2458": {**DAC, "encoder_rates": [2, 4, 5, 8], "decoder_rates": [8, 5, 4, 2]},
    "dac-35": {**DAC, "encoder_rates": [3, 5], "decoder_rates": [5, 3]},
    "lapped-64": {**SHORT, "encoder_blocks": 2, "decoder_blocks": 3},
    "lapped-look": {**SHORT, "encoder_blocks": 1, "decoder_blocks": 1, "look_blocks": 1, "look_width": 12},
    "lapped-post": {**SHORT, "decoder_blocks": 1, "post_bins": 16, "post_window": 128, "post_width": 8},
    "lapped-320": {**LAPPED, "hop": 320, "split": 40, "quadrature": 64, "encoder_blocks": 1, "decoder_blocks": 2},
}


@pytest.fixture(scope="module", params=CONFIGS)
def codec(request: pytest.FixtureRequest) -> Codec:
    torch.manual_seed(3)
    model = build(CONFIGS[request.param])
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            # What starts at zero or near it would hide mistakes.
            if name.endswith(("scale", "noise", "bias", "leave.weight")):
                tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.2)
    return Codec(model, name=request.param, device="cpu", refine=1 if "look" in request.param else 0)


def noise(samples: int, channels: int) -> np.ndarray:
    return np.random.default_rng(samples).normal(0, 0.3, (samples, channels)).astype(np.float32)


def whole_codes(codec: Codec, audio: np.ndarray) -> np.ndarray:
    """Codes of a file in one call of the network."""
    facts, frames = codec.facts, codec.facts.frames(len(audio))
    if not frames:
        return np.zeros((audio.shape[1], facts.codebooks, 0), np.uint16)
    padded = np.zeros((audio.shape[1], facts.lead + frames * facts.hop), np.float32)
    used = min(len(audio), frames * facts.hop)
    padded[:, facts.lead : facts.lead + used] = audio[:used].T
    return codec.encode_windows(padded, [0] * len(padded), range(len(padded)))


def whole_samples(codec: Codec, codes: np.ndarray, samples: int) -> np.ndarray:
    channels = codes.shape[0]
    if not samples:
        return np.zeros((0, channels), np.float32)
    return codec.decode_windows(codes, [0] * channels, range(channels))[:, :samples].T


def lengths(hop: int) -> list[int]:
    return [0, 1, hop - 1, hop, hop + 1, 26 * hop - 9, 27 * hop, 44 * hop + 5]


@pytest.mark.parametrize("extra", [1, 6, 29])
@pytest.mark.parametrize("case", range(8))
def test_windows_equal_whole_file(codec: Codec, case: int, extra: int) -> None:
    facts, samples = codec.facts, lengths(codec.facts.hop)[case]
    audio = noise(samples, 2)
    expected = whole_codes(codec, audio)
    encoder = StreamEncoder(codec, 2, 2 * facts.encoder_context + extra)
    pieces = np.array_split(audio, 3)
    codes = np.concatenate([*(encoder.push(piece) for piece in pieces), encoder.finish()], axis=-1)
    assert codes.dtype == np.uint16
    np.testing.assert_array_equal(codes, expected)
    decoder = StreamDecoder(codec, 2, samples, window=2 * facts.decoder_context + extra)
    decoded = np.concatenate([decoder.push(codes), decoder.finish()])
    assert decoded.shape == (samples, 2)
    assert decoded.dtype == np.float32
    np.testing.assert_allclose(decoded, whole_samples(codec, codes, samples), atol=2e-6)


def test_default_windows_equal_whole_file(codec: Codec) -> None:
    samples = 600 * codec.facts.hop // (8 if codec.facts.hop > 100 else 1)
    audio = noise(samples, 1)
    codes = codec.encode(audio, codec.rate)
    np.testing.assert_array_equal(codes, whole_codes(codec, audio))
    np.testing.assert_allclose(codec.decode(codes, samples), whole_samples(codec, codes, samples), atol=2e-6)
    assert len(codec.decode(codes)) == codec.facts.decoded(codes.shape[-1]) >= samples


def test_a_batch_of_files_equals_each_alone(codec: Codec) -> None:
    hop = codec.facts.hop
    size = 2 * max(codec.facts.encoder_context, codec.facts.decoder_context) + 5
    files = [noise(samples, channels) for samples, channels in [(35 * hop, 2), (60 * hop + 1, 1), (3, 3), (0, 1)]]
    encoders = [EncodeBuffer(codec.facts, range(audio.shape[1]), size) for audio in files]
    jobs = [encoder.push(audio) + encoder.finish() for encoder, audio in zip(encoders, files, strict=True)]
    outputs = iter(encode_jobs(codec, [job for part in jobs for job in part]))
    for audio, part in zip(files, jobs, strict=True):
        codes = np.concatenate([whole_codes(codec, audio)[..., :0], *(next(outputs) for _ in part)], axis=-1)
        np.testing.assert_array_equal(codes, whole_codes(codec, audio))
        decoder = DecodeBuffer(codec.facts, audio.shape[1], stop=len(audio), size=size)
        decoded = decode_jobs(codec, decoder.push(codes) + decoder.finish())
        expected = whole_samples(codec, codes, len(audio))
        np.testing.assert_allclose(np.concatenate([expected[:0], *decoded]), expected, atol=2e-6)


def test_fewer_layers_and_absent_layers(codec: Codec) -> None:
    samples = 20 * codec.facts.hop
    codes = whole_codes(codec, noise(samples, 2))
    marked = codes.copy()
    marked[:, 1:] = ABSENT
    np.testing.assert_allclose(codec.decode(marked, samples), codec.decode(codes[:, :1], samples), atol=2e-6)
    mixed = codes.copy()
    mixed[1, 1:] = ABSENT  # the side of mid/side, say
    both = codec.decode(mixed, samples)
    np.testing.assert_allclose(both[:, 0], codec.decode(codes, samples)[:, 0], atol=2e-6)
    np.testing.assert_allclose(both[:, 1], codec.decode(codes[:, :1], samples)[:, 1], atol=2e-6)
    last = np.where(mixed == ABSENT, codec.facts.codebook_size - 1, mixed)
    assert np.abs(both[:, 1] - codec.decode(last, samples)[:, 1]).max() > 1e-4


def test_nonsense_is_refused(codec: Codec) -> None:
    codes = np.full((1, 1, 4), codec.facts.codebook_size, np.uint16)
    with pytest.raises(UsageError, match="codes"):
        codec.decode(codes)
    with pytest.raises(UsageError, match="Hz"):
        codec.encode(noise(10, 1), codec.rate + 1)


def test_out_of_memory_halves_the_batch_and_remembers(monkeypatch: pytest.MonkeyPatch) -> None:
    codec = Codec(build(CONFIGS["dac-35"]), device="cpu", batch=16)
    network, batches = codec.network.encode, []

    def small_device(x: torch.Tensor, *where: torch.Tensor) -> torch.Tensor:
        batches.append(len(x))
        if len(x) > 4:
            raise torch.cuda.OutOfMemoryError("no")
        return network(x, *where)

    x = noise(20, 150)
    x = x.T.reshape(20, 150)
    where = [0] * 20, [0] * 20
    expected = codec.encode_windows(x, *where)
    monkeypatch.setattr(codec.network, "encode", small_device)
    np.testing.assert_array_equal(codec.encode_windows(x, *where), expected)
    assert batches == [16, 8, 4, 4, 4, 4, 4]
    assert codec.batch == 4
    batches.clear()
    codec.encode_windows(x, *where)
    assert max(batches) == 4


def test_out_of_memory_for_a_single_window_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    codec = Codec(build(CONFIGS["dac-35"]), device="cpu", batch=2)

    def no_memory(x: torch.Tensor, *where: torch.Tensor) -> torch.Tensor:
        raise torch.cuda.OutOfMemoryError("no")

    monkeypatch.setattr(codec.network, "encode", no_memory)
    with pytest.raises(MemoryError, match="no memory for a single window; --device cpu works"):
        codec.encode_windows(np.zeros((2, 150), np.float32), [0, 0], [0, 1])


def test_bf16_is_close(codec: Codec) -> None:
    audio = noise(30 * codec.facts.hop, 1)
    looks = getattr(codec.model, "look", None) is not None
    rough = Codec(codec.model, device="cpu", precision="bf16", refine=1 if looks else 0)
    codes = codec.encode(audio)
    assert (rough.encode(audio)[:, 0] == codes[:, 0]).mean() > 0.5
    assert np.abs(rough.decode(codes) - codec.decode(codes)).max() < 0.1


def test_devices_and_precisions() -> None:
    assert resolve_device("cpu").type == "cpu"
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert resolve_precision("tf32", torch.device("cpu")) == "fp32"
    for device in ["gpu", "cuda:99", "hpu", ""]:
        with pytest.raises(UsageError, match="device"):
            resolve_device(device)
    with pytest.raises(UsageError, match="precision"):
        resolve_precision("fp8", torch.device("cpu"))
