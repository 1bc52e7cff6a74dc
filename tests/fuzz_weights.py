"""Fuzzing of weights and prior files: wrong bytes, lying headers, impossible configurations, with ids that fit.

The suite runs a few hundred cases in a child process (`test_hard_weights.py`); long runs go by hand:
`python tests/fuzz_weights.py --count 100000 --seed 1`. The process may take no more than `fuzz_loop.MARGIN` bytes of
memory beyond what it has when everything is imported. It fails on the first exception that is no `DaczError`.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent)]

import numpy as np  # noqa: E402
import safetensors.numpy  # noqa: E402
from fuzz_loop import limit_memory, run_cases  # noqa: E402
from network_case import random_prior  # noqa: E402
from small_models import SMALL_DAC, SMALL_LAPPED  # noqa: E402

from dacfile.entropy import decode_blocks, encode_blocks, load_prior  # noqa: E402
from dacfile.entropy.counts import CountPrior, normalise  # noqa: E402
from dacfile.entropy.files import save_prior  # noqa: E402
from dacfile.entropy.prior import content_id  # noqa: E402
from dacfile.errors import DaczError  # noqa: E402

NUMBERS = [0, -1, 1, 2, 7, 64, 4096, 1 << 31, 1 << 40, 1 << 70, 1.5, float("nan"), float("inf")]
VALUES: list[Any] = [*NUMBERS, "x", "", None, True, [], [1], [0] * 1000, {}, {"a": 1}, [[1, 2]], [-1, 1 << 40]]
DTYPES = ["F16", "F32", "F64", "BF16", "I8", "U8", "I16", "U16", "I32", "I64", "BOOL", "F8_E4M3", "C64", "", 7]


@dataclass
class Kind:
    """A kind of file: good ones, how its id is made, and what is done with one that can be loaded."""

    good: list[bytes]
    make_id: Callable[[dict[str, Any], dict[str, np.ndarray]], bytes]
    use: Callable[[Path], None]


def use_prior(path: Path) -> None:
    """Load a prior; if that works it has to code exactly."""
    prior = load_prior(path)
    codes = np.random.default_rng(0).integers(0, prior.codebook_size, (prior.codebooks, 9)).astype(np.uint16)
    stored = encode_blocks(prior, [[codes]], [3], prior.codebook_size)
    (back,) = decode_blocks(prior, stored, [9], None, [3], prior.codebook_size)[0]
    if not np.array_equal(codes, back):
        raise AssertionError("a prior that loads does not code exactly")


def priors() -> Kind:
    tables = normalise(np.random.default_rng(0).integers(1, 99, (2, 2, 16))).astype(np.int32)
    return Kind(_saved(lambda p: save_prior(CountPrior(tables), p), lambda p: save_prior(random_prior(), p)),
                content_id, use_prior)  # fmt: skip


def use_model(path: Path) -> None:
    """Load a model; if that works it has to code something."""
    import torch

    from dacfile.model.checkpoint import load_model

    model, _ = load_model(path)
    with torch.inference_mode():
        codes = model.encode(torch.zeros(1, model.facts.lead + 4 * model.facts.hop))
        model.decode(codes, torch.zeros(1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64))


def models() -> Kind:
    """Return small networks of both architectures; imports torch."""
    import torch

    from dacfile.model.base import build
    from dacfile.model.checkpoint import model_id, save_native

    def saver(config: dict[str, Any]) -> Callable[[Path], object]:
        model = build(config)
        return lambda path: save_native(path, model.config, model.state_dict())

    def make_id(config: dict[str, Any], tensors: dict[str, np.ndarray]) -> bytes:
        return model_id(config, {name: torch.from_numpy(array) for name, array in tensors.items()})

    return Kind(_saved(saver(SMALL_DAC), saver(SMALL_LAPPED)), make_id, use_model)


def _saved(*savers: Callable[[Path], object]) -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for save in savers:
            path = Path(folder) / "a.safetensors"
            save(path)
            files.append(path.read_bytes())
        return files


def damaged(rng: random.Random, kind: Kind) -> bytes:
    """Return one damaged file."""
    data = rng.choice(kind.good)
    if rng.randrange(5) == 0:
        return _flipped(rng, data)
    length = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + length]), bytearray(data[8 + length :])
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        rng.choice((_config, _config, _tensor, _metadata, _values))(rng, header, body)
    packed = _joined(header, bytes(body))
    return _with_id(packed, header, bytes(body), kind) if rng.randrange(4) else packed


def _flipped(rng: random.Random, data: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((1, 2, 8))):
        at = rng.randrange(len(out)) if rng.randrange(2) else rng.randrange(min(len(out), 600))
        out[at] = rng.randrange(256)
    return bytes(out[: rng.randrange(len(out))]) if rng.randrange(3) == 0 else bytes(out)


def _joined(header: dict[str, Any], body: bytes) -> bytes:
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + body


def _with_id(packed: bytes, header: dict[str, Any], body: bytes, kind: Kind) -> bytes:
    """Return the file with the id that its contents have, so that what is behind the hash is reached."""
    try:
        config = json.loads(header["__metadata__"]["config"])
        name = kind.make_id(config, safetensors.numpy.load(packed)).hex()
        header["__metadata__"]["id"] = name
        return _joined(header, body)
    except Exception:  # there is no id for what cannot be read
        return packed


def _config(rng: random.Random, header: dict[str, Any], body: bytearray) -> None:
    """Change one number of the configuration."""
    try:
        config = json.loads(header["__metadata__"]["config"])
        key = rng.choice([*config, "more"])
        if isinstance(config.get(key), list) and config[key] and rng.randrange(2):
            config[key][rng.randrange(len(config[key]))] = rng.choice(VALUES)
        elif rng.randrange(8) == 0:
            config.pop(key, None)
        else:
            config[key] = rng.choice(VALUES)
        header["__metadata__"]["config"] = json.dumps(config, sort_keys=True, separators=(",", ":"))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError):
        header["__metadata__"] = {"config": "{}"}


def _tensor(rng: random.Random, header: dict[str, Any], body: bytearray) -> None:
    """Let the header lie about a tensor."""
    names = [name for name, facts in header.items() if name != "__metadata__" and isinstance(facts, dict)]
    if not names:
        return
    name = rng.choice(names)
    change = rng.randrange(6)
    if change == 0:
        header[rng.choice((name + "x", rng.choice(names)))] = header.pop(name)
    elif change == 1:
        header[name]["dtype"] = rng.choice(DTYPES)
    elif change == 2:
        header[name]["shape"] = rng.choice([[], [0], [1 << 62], [1 << 33, 1 << 33], [-1], "x", [1, 4]])
    elif change == 3:
        header[name]["data_offsets"] = rng.choice([[0, 1 << 62], [1 << 62, 0], [0, 0], [-1, 4], [8], None])
    elif change == 4:
        del header[name]
    else:
        header[name] = rng.choice(VALUES)


def _metadata(rng: random.Random, header: dict[str, Any], body: bytearray) -> None:
    held = header.get("__metadata__")
    if not isinstance(held, dict) or not held or rng.randrange(6) == 0:
        header["__metadata__"] = rng.choice(VALUES)
        return
    held[rng.choice([*held])] = rng.choice([*map(str, VALUES), *VALUES, "[" * 100_000, "ff" * 16, '{"kind": []}'])


def _values(rng: random.Random, header: dict[str, Any], body: bytearray) -> None:
    """Change the numbers themselves: NaN, infinity, the largest, all the same."""
    if not body:
        return
    start = rng.randrange(len(body)) & ~3
    size = rng.choice((2, 4, 64, len(body)))
    pattern = rng.choice((b"\xff\xff", b"\x00\x7e", b"\xff\x7b", b"\x80\x80", b"\x00\x00", b"\x7f\x7f"))
    end = min(start + size, len(body))
    body[start:end] = (pattern * size)[: end - start]


def tried(kind: Kind, path: Path, number: int) -> str:
    """Return what became of one damaged file, written to `path`."""
    path.write_bytes(damaged(random.Random(number), kind))
    try:
        kind.use(path)
    except DaczError as error:
        return type(error).__name__
    return "loaded"


def main() -> None:
    """Run many cases and report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", choices=["priors", "models"], default="priors")
    options = parser.parse_args()
    kind = priors() if options.kind == "priors" else models()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.safetensors"
        for data in kind.good:
            path.write_bytes(data)
            kind.use(path)
        limit_memory()
        run_cases(partial(tried, kind, path), options.count, options.seed)


if __name__ == "__main__":
    main()
