"""Prior files: written and read back, found by id, and refused with one clear error when anything is off."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from dacfile.entropy import find_prior, load_prior
from dacfile.entropy.counts import CountPrior, normalise
from dacfile.entropy.files import save_prior
from dacfile.errors import PriorNotFound, UnsafeWeights
from dacfile.folders import PRIOR_SUFFIX


def small_prior(seed: int = 0) -> CountPrior:
    weights = np.random.default_rng(seed).integers(1, 99, (2, 1, 16))
    return CountPrior(normalise(weights).astype(np.int32), {"name": "small"})


def test_written_prior_reads_back_with_the_same_id(tmp_path: Path) -> None:
    prior = small_prior()
    save_prior(prior, tmp_path / "a.prior.safetensors")
    back = load_prior(tmp_path / "a.prior.safetensors")
    assert (back.id, back.config, back.info) == (prior.id, prior.config, {"name": "small"})
    save_prior(prior, tmp_path / "b.prior.safetensors")
    assert (tmp_path / "a.prior.safetensors").read_bytes() == (tmp_path / "b.prior.safetensors").read_bytes()


def test_id_follows_content_not_info() -> None:
    assert small_prior(0).id != small_prior(1).id
    assert small_prior(0).id == CountPrior(small_prior(0).tensors["counts"], {"name": "other"}).id


def test_lookup_by_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DACZ_MODELS", str(tmp_path))
    (tmp_path / ("broken" + PRIOR_SUFFIX)).write_bytes(b"no prior at all")
    for seed in range(3):
        save_prior(small_prior(seed), tmp_path / f"{seed}{PRIOR_SUFFIX}")
    assert find_prior(small_prior(2).id).id == small_prior(2).id
    with pytest.raises(PriorNotFound, match="ff" * 16):
        find_prior(b"\xff" * 16)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(PriorNotFound, match="nowhere"):
        load_prior(tmp_path / "nowhere.prior.safetensors")


GOOD = small_prior().tensors["counts"]
CONFIG = '{"codebook_size":16,"codebooks":2,"kind":"counts","phases":1,"version":1}'


@pytest.mark.parametrize(
    ("tensors", "metadata"),
    [
        ({"counts": GOOD}, {}),
        ({"counts": GOOD}, {"config": "{"}),
        ({"counts": GOOD}, {"config": "[]"}),
        ({"counts": GOOD}, {"config": '{"kind": "oracle", "version": 1}'}),
        ({"counts": GOOD}, {"config": CONFIG, "id": "00" * 16}),
        ({"counts": GOOD + 1}, {"config": CONFIG}),
        ({"counts": GOOD.astype(np.float32)}, {"config": CONFIG}),
        ({"other": GOOD}, {"config": CONFIG}),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
    path = tmp_path / "bad.prior.safetensors"
    save_file(tensors, path, metadata)
    with pytest.raises(UnsafeWeights):
        load_prior(path)


@pytest.mark.parametrize("data", [b"", b"RIFF", bytes(100), b"\xff" * 64])
def test_no_safetensors_at_all(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "bad.prior.safetensors"
    path.write_bytes(data)
    with pytest.raises(UnsafeWeights):
        load_prior(path)


def test_entropy_never_imports_torch() -> None:
    code = "import sys, dacfile.entropy; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
