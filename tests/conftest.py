"""For all tests: quiet threads, a store of their own, small audio files, `dacz` in this process."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

# Before anything imports torch: test processes share the cores, and spinning threads would fight for them.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import pytest
import soundfile


@pytest.fixture(autouse=True, scope="session")
def _own_store(tmp_path_factory):
    """Keep the models that a user has added out of the tests."""
    os.environ["DACZ_MODELS"] = str(tmp_path_factory.mktemp("store"))


@dataclass
class Ran:
    """What a command left behind."""

    code: int
    out: str
    err: str


@pytest.fixture
def dacz(capsys):
    """Run `dacz` in this process: dacz("info", path) -> Ran."""
    from dacz.app import run

    def call(*arguments: object) -> Ran:
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return call


@pytest.fixture
def stub_models(monkeypatch):
    """Put the stub codec in place of all models, so that nothing needs torch; any name but "missing" is found."""
    from stub_codec import StubCodec

    from dacfile.errors import ModelNotFound
    from dacfile.installed import Codecs

    stub = StubCodec()

    def get(self: Codecs, key: str | bytes) -> StubCodec:
        if key == "missing" or (isinstance(key, bytes) and key != stub.id):
            raise ModelNotFound(f"the model {key!r} is not installed; get it with `dacz models fetch`")
        return stub

    monkeypatch.setattr(Codecs, "load", get)
    return stub


@pytest.fixture
def make_wav():
    """Write a short noise file: make_wav(path, seconds=0.5, rate=8000, channels=1, seed=0)."""

    def make(path: Path, seconds: float = 0.5, rate: int = 8000, channels: int = 1, seed: int = 0) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        samples = 0.3 * np.random.default_rng(seed).standard_normal((round(seconds * rate), channels))
        soundfile.write(path, np.clip(samples, -1, 1), rate)
        return path

    return make


def files_below(folder: Path) -> list[str]:
    """Return all files below a folder, hidden ones too, as sorted relative names."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
