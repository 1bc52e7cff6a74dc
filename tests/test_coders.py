"""Entropy coding in other processes: the same bytes and codes, the same errors, and no process outlives its user."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from dacfile import batch
from dacfile.coders import Coders
from dacfile.combine import SharedPrior
from dacfile.entropy import decode_blocks, encode_blocks
from dacfile.entropy.counts import CountPrior, normalise
from dacfile.errors import DaczError, EntropyMismatch
from dacfile.events import FileDone

SECONDS = 30.0  # that a process may take to end


def make_prior(seed: int = 1) -> CountPrior:
    return CountPrior(normalise(np.random.default_rng(seed).integers(1, 50, (3, 2, 64))).astype(np.int32))


def make_blocks(count: int) -> list[list[np.ndarray]]:
    rng = np.random.default_rng(count)
    return [[rng.integers(0, 64, (3, 40 + n), dtype=np.uint16) for _ in range(1 + n % 2)] for n in range(count)]


def running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def until_ended(process: int) -> bool:
    for _ in range(round(SECONDS / 0.05)):
        if not running(process):
            return True
        time.sleep(0.05)
    return False


def test_bytes_and_codes_are_those_of_one_process():
    priors, blocks, coders = [make_prior(1), make_prior(2)], make_blocks(9), Coders(2)
    firsts = list(range(9))

    def there_and_back(number):
        prior = SharedPrior(coders.remote(priors[number % 2]))
        part = slice(number, number + 3)
        stored = encode_blocks(prior, blocks[part], firsts[part])
        frames = [block[0].shape[1] for block in blocks[part]]
        return stored, decode_blocks(prior, stored, frames, None, firsts[part])

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(there_and_back, range(6)))
    for number, (stored, decoded) in enumerate(results):
        part = slice(number, number + 3)
        assert stored == encode_blocks(priors[number % 2], blocks[part], firsts[part])
        for block, found in zip(blocks[part], decoded, strict=True):
            assert all(np.array_equal(*pair) for pair in zip(block, found, strict=True))


def test_without_processes_a_prior_stays_itself():
    prior = make_prior()
    assert Coders(0).remote(prior) is prior


def test_what_a_process_raises_is_raised_here_and_it_goes_on():
    coders, prior, (block,) = Coders(1), make_prior(), make_blocks(1)
    remote = coders.remote(prior)
    with pytest.raises(EntropyMismatch):
        remote.decode_layers([[[b"\xff" * 40]]], [40], [0])
    first = coders._free.queue[0]._running.pid
    assert remote.encode_layers([block], [0]) == prior.encode_layers([block], [0])
    assert coders._free.queue[0]._running.pid == first


def test_a_process_that_was_killed_is_an_error_once_and_then_replaced():
    coders, prior, (block,) = Coders(1), make_prior(), make_blocks(1)
    remote = coders.remote(prior)
    remote.encode_layers([block], [0])
    os.kill(coders._free.queue[0]._running.pid, signal.SIGKILL)
    with pytest.raises(DaczError, match="has ended"):
        remote.encode_layers([block], [0])
    assert remote.encode_layers([block], [0]) == prior.encode_layers([block], [0])


def test_a_call_that_breaks_off_leaves_nothing_for_the_next_one(monkeypatch):
    coders, prior, (block,) = Coders(1), make_prior(), make_blocks(1)
    remote = coders.remote(prior)
    remote.encode_layers([block], [0])

    def no_memory(stream):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr("dacfile.coders.pickle.load", no_memory)  # the reply stays unread
        with pytest.raises(MemoryError):
            remote.encode_layers([block[::-1]], [7])
    assert remote.encode_layers([block], [0]) == prior.encode_layers([block], [0])


def test_nothing_is_imported_from_the_current_folder(tmp_path, monkeypatch):
    """Music may lie beside a file called numpy.py, which is nobody's program."""
    for name in ("numpy", "dacfile", "pickle", "sitecustomize"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")  # as interactive Python has it
    prior, (block,) = make_prior(), make_blocks(1)
    assert Coders(1).remote(prior).encode_layers([block], [0]) == prior.encode_layers([block], [0])
    assert not (tmp_path / "executed").exists()


def test_modules_are_found_where_the_parent_finds_them(tmp_path, monkeypatch):
    (tmp_path / "own_prior.py").write_text(
        "from dacfile.entropy.counts import CountPrior\nclass OwnPrior(CountPrior): pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    from own_prior import OwnPrior

    prior, (block,) = OwnPrior(make_prior().tensors["counts"]), make_blocks(1)
    assert Coders(1).remote(prior).encode_layers([block], [0]) == prior.encode_layers([block], [0])


def test_processes_end_with_the_coders():
    coders, prior, (block,) = Coders(1), make_prior(), make_blocks(1)
    coders.remote(prior).encode_layers([block], [0])
    process = coders._free.queue[0]._running.pid
    assert running(process)
    del coders
    assert until_ended(process)


def test_processes_end_when_their_parent_is_killed(tmp_path):
    script = (
        "import sys, time; sys.path.insert(0, sys.argv[1])\n"
        "from test_coders import Coders, make_blocks, make_prior\n"
        "coders = Coders(1); coders.remote(make_prior()).encode_layers(make_blocks(1), [0])\n"
        "print(coders._free.queue[0]._running.pid, flush=True); time.sleep(600)\n"
    )
    command = [sys.executable, "-c", script, str(Path(__file__).parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        process = int(parent.stdout.readline())
        assert running(process)
        parent.kill()
    assert until_ended(process)


def test_a_batch_with_processes_writes_the_same_files(tmp_path, make_wav):
    (tmp_path / "in").mkdir()
    for number in range(3):
        make_wav(tmp_path / "in" / f"{number}.wav", channels=1 + number % 2)
    outputs = []
    for coders in (0, 2):
        packed, back = tmp_path / f"packed{coders}", tmp_path / f"back{coders}"
        settings = batch.CompressSettings(model="44k", coders=coders)
        list(batch.process(batch.plan_compress([tmp_path / "in"], packed), settings))
        plan = batch.plan_decompress([packed], back, None)
        events = list(batch.process(plan, batch.DecompressSettings(coders=coders)))
        assert sum(isinstance(event, FileDone) for event in events) == 3
        outputs.append([path.read_bytes() for folder in (packed, back) for path in sorted(folder.iterdir())])
    assert outputs[0] == outputs[1]
