"""`dacz optimize` under bad conditions: killed, files whose model or prior is missing; and priors made from audio."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from stub_codec import StubCodec
from test_priors import codes_of, forget, own_store, same, stub_entry  # noqa: F401

import dacfile
from dacfile.entropy import load_prior
from dacfile.entropy.files import save_prior
from dacfile.errors import ChecksumError
from dacfile.training.prior_counts import train_count_prior

HERE = Path(__file__).parent
pytestmark = pytest.mark.usefixtures("stub_models", "own_store")


@pytest.fixture
def tones(tmp_path, dacz):
    """Twenty-four raw files of one tone each: every one has few codes, and tables make all of them smaller."""
    for i in range(24):
        samples = 0.5 * np.sin(2 * np.pi * np.arange(24_000) / 16) + 0.01 * i
        (tmp_path / "music").mkdir(exist_ok=True)
        soundfile.write(tmp_path / "music" / f"{i:02d}.wav", samples, 8000)
    assert dacz("compress", tmp_path / "music", "-o", tmp_path / "archive").code == 0
    return tmp_path / "archive"


def start(archive: Path, store: Path) -> subprocess.Popen[str]:
    """Start `dacz optimize` up to the point where everything is imported."""
    path = os.pathsep.join([str(HERE.parent), str(HERE.parent / "cli"), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [sys.executable, str(HERE / "stub_optimize.py"), str(archive), "--always"],
        env={**os.environ, "DACZ_MODELS": str(store), "PYTHONPATH": path},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("seed", range(4))
def test_killed_at_a_random_moment_every_file_is_readable(tones, own_store, dacz, seed):  # noqa: F811
    before = codes_of(tones)
    process = start(tones, own_store)
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
    wanted = random.Random(seed).randint(1, 20)
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:  # killed once some files have their new prior
        if sum(dacfile.open(path).head.prior_id != bytes(16) for path in tones.glob("?*.dacz")) >= wanted:
            break
    process.kill()
    process.communicate()
    done = sum(dacfile.open(path).head.prior_id != bytes(16) for path in tones.glob("?*.dacz"))
    assert done >= 1
    assert same(codes_of(tones), before)
    assert dacz("verify", tones).code == 0
    _, err = start(tones, own_store).communicate("\n", timeout=120)
    assert err == ""
    assert same(codes_of(tones), before)
    assert len(list((tones / ".dacz").iterdir())) == 1  # the second run has gone on with the prior of the first
    assert {dacfile.open(path).head.prior_id for path in tones.glob("?*.dacz")} == {own_prior_id(tones)}
    assert dacz("repack", tones, "--prior", "none", "--in-place").code == 0
    assert {dacfile.open(path).head.prior_id for path in tones.glob("?*.dacz")} == {bytes(16)}
    assert same(codes_of(tones), before)


def own_prior_id(archive: Path) -> bytes:
    (path,) = (archive / ".dacz").glob("*.prior.safetensors")
    return load_prior(path).id


@pytest.fixture
def learns_tables(monkeypatch):
    from dacfile.training import prior_archive

    def learn(pieces, facts, model_id, *rest):
        return train_count_prior([piece.first for piece in pieces], 64, 1, {"model": model_id.hex()})

    monkeypatch.setattr(prior_archive, "train_on_pieces", learn)


@pytest.mark.usefixtures("learns_tables", "stub_entry")
def test_files_without_their_prior_or_damaged_are_told_at_the_end(tones, own_store, tmp_path, dacz):  # noqa: F811
    lost = train_count_prior([dacfile.open(tones / "00.wav.dacz").codes()[0]], 64, 1, {"x": "y"})
    save_prior(lost, tmp_path / "lost.prior.safetensors")
    assert dacz("repack", tones / "03.wav.dacz", "--prior", tmp_path / "lost.prior.safetensors", "--in-place").code == 0
    forget(own_store)
    (tones / "04.wav.dacz").write_bytes(b"no dacz file")
    kept = {name: (tones / f"{name}.wav.dacz").read_bytes() for name in ("03", "04")}
    done = dacz("optimize", tones, "--json", "--always")
    assert done.out, done.err
    events = [json.loads(line) for line in done.out.splitlines()]
    assert (done.code, events[0]["event"], events[0]["files"]) == (2, "saving", 22)
    assert sum(event["event"] == "file_done" for event in events) == 22
    assert lost.id.hex() in done.err
    assert "dacz prior add FILE --name NAME" in done.err
    assert done.err.count("\n") == 2
    assert {name: (tones / f"{name}.wav.dacz").read_bytes() for name in kept} == kept
    assert dacz("optimize", tones, "-q").out == ""


@pytest.fixture
def bundled(tones, tmp_path, monkeypatch):
    """Tables of the archive's codes as the package's prior for the stub."""
    from dacfile import installed, priors
    from dacfile.entropy import files

    info = {"model": StubCodec().id.hex(), "name": "bundled"}
    prior = train_count_prior([codes[0] for codes in codes_of(tones).values()], 64, 1, info)
    (tmp_path / "package").mkdir()
    save_prior(prior, tmp_path / "package" / "stub.prior.safetensors")
    for module in (files, priors):
        monkeypatch.setattr(module, "BUNDLED", tmp_path / "package")
    installed._cached_default.cache_clear()  # it knows that there was none when the archive was made
    return prior


@pytest.mark.parametrize("options", [[], ["--always"]])
@pytest.mark.parametrize("same_again", [True, False])
@pytest.mark.usefixtures("stub_entry", "learns_tables")
def test_the_bundled_prior_costs_nothing(tones, bundled, own_store, dacz, monkeypatch, options, same_again):  # noqa: F811
    """Learning gives the bundled prior again, or one that saves as much and takes room."""
    from dacfile.training import prior_archive

    if same_again:
        monkeypatch.setattr(prior_archive, "train_on_pieces", lambda *arguments: bundled)
    before = codes_of(tones)
    done = dacz("optimize", tones, "--dry-run", *options)
    assert (done.code, "a prior that is there already" in done.out) == (0, True)
    assert dacz("optimize", tones, *options).code == 0
    assert {dacfile.open(path).head.prior_id for path in tones.glob("?*.dacz")} == {bundled.id}
    assert same(codes_of(tones), before)
    assert not (tones / ".dacz").exists()
    assert not own_store.exists()
    assert "nothing done" in dacz("optimize", tones).out


@pytest.mark.usefixtures("stub_entry", "learns_tables")
def test_a_prior_that_is_installed_is_not_installed_again(tones, own_store, dacz):  # noqa: F811
    assert dacz("optimize", tones, "--always").code == 0
    (copy,) = own_store.iterdir()
    copy.rename(own_store / "mine.prior.safetensors")
    assert dacz("repack", tones, "--prior", "none", "--in-place").code == 0
    assert dacz("optimize", tones, "--always").code == 0
    assert [path.name for path in own_store.iterdir()] == ["mine.prior.safetensors"]
    assert {dacfile.open(path).head.prior_id for path in tones.glob("?*.dacz")} == {own_prior_id(tones)}


@pytest.fixture
def two_models(tones, stub_models, monkeypatch):
    """Half of the tones as if another model had made them; returns the files of the first, and of the second one."""
    from dacfile.container import rewrite
    from dacfile.model import store

    monkeypatch.setattr(
        store, "find", lambda key: store.ModelEntry(key.hex(), key, stub_models.facts, Path("stub"), False, 0)
    )
    first, second = sorted(tones.glob("*.dacz"))[:12], sorted(tones.glob("*.dacz"))[12:]
    for path in second:
        with path.with_suffix(".new").open("w+b") as stream:
            rewrite(path, stream, lambda blocks: blocks, lambda head: replace(head, model_id=bytes(16)))
        path.with_suffix(".new").replace(path)
    return first, second


def while_recoding(monkeypatch, happens):
    """Make something happen before the first file is recoded."""
    from dacfile.recode import Recode

    plain, calls = Recode.__call__, []

    def call(self, task, stream, progress):
        calls.append(task)
        if len(calls) == 1:
            happens()
        return plain(self, task, stream, progress)

    monkeypatch.setattr(Recode, "__call__", call)


@pytest.mark.usefixtures("learns_tables")
def test_ctrl_c_stops_before_the_next_model(tones, two_models, dacz, monkeypatch):
    first, second = two_models
    before = [path.read_bytes() for path in second]
    monkeypatch.setattr("dacfile.batch.MAX_JOBS", 1)

    def interrupt():
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.5)  # until the main thread has taken it

    while_recoding(monkeypatch, interrupt)
    done = dacz("optimize", tones, "--always", "--json")
    events = [json.loads(line)["event"] for line in done.out.splitlines()]
    assert (done.code, events.count("saving"), events.count("file_done")) == (130, 1, 1)
    assert [path.read_bytes() for path in second] == before
    assert len(list((tones / ".dacz").iterdir())) == 1
    assert dacz("optimize", tones, "--always").code == 0
    assert all(dacfile.open(path).head.prior_id != bytes(16) for path in (*first, *second))


def full_disk():
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.usefixtures("learns_tables")
def test_a_full_disk_stops_before_the_next_model(tones, two_models, dacz, monkeypatch):
    before = [path.read_bytes() for path in two_models[1]]
    while_recoding(monkeypatch, full_disk)
    done = dacz("optimize", tones, "--always", "--json")
    assert (done.code, done.out.count('"saving"')) == (2, 1)
    assert [path.read_bytes() for path in two_models[1]] == before


@pytest.mark.usefixtures("learns_tables", "stub_entry")
def test_the_exit_code_of_one_file_is_its_own(tones, dacz, monkeypatch):
    def damaged():
        raise ChecksumError("damaged meanwhile")

    for path in sorted(tones.glob("*.dacz"))[2:]:
        path.unlink()
    for files, code in ((2, 2), (1, 3)):
        with monkeypatch.context() as patch:
            while_recoding(patch, damaged)
            assert dacz("optimize", tones, "--always").code == code
        assert dacz("repack", tones, "--prior", "none", "--in-place").code == 0
        (tones / f"{files - 1:02}.wav.dacz").unlink()


@pytest.mark.usefixtures("stub_entry", "learns_tables")
def test_a_dangling_link_beside_an_archives_prior_is_passed_over(tones, dacz):
    (tones / ".dacz").mkdir()
    (tones / ".dacz" / "gone.prior.safetensors").symlink_to(tones / "nowhere")
    assert dacz("optimize", tones, "--always").code == 0
    assert dacz("verify", tones).code == 0
    assert len({dacfile.open(path).head.prior_id for path in tones.glob("?*.dacz")} - {bytes(16)}) == 1


def test_a_missing_model_is_told(tones, dacz, monkeypatch):
    from dacfile.errors import ModelNotFound
    from dacfile.model import store

    def missing(key):
        raise ModelNotFound("the model is not installed; get it with `dacz models fetch`")

    monkeypatch.setattr(store, "find", missing)
    done = dacz("optimize", tones)
    assert (done.code, done.err.count("dacz models fetch")) == (2, 24)


@pytest.mark.usefixtures("stub_entry")
def test_priors_are_learned_and_judged_from_audio_too(tones, tmp_path, dacz):
    """The same codes, whether they come from the archive or from the audio that it was made of."""
    by_audio, by_file = tmp_path / "a.prior.safetensors", tmp_path / "b.prior.safetensors"
    for source, out in ((tmp_path / "music", by_audio), (tones, by_file)):
        done = dacz("prior", "train", source, "--model", "stub", "-o", out, "--minutes", 0)
        assert (done.code, done.err) == (0, "")
        assert "24 files" in done.out
    assert load_prior(by_audio).id == load_prior(by_file).id
    first, second = (json.loads(dacz("prior", "eval", by_file, s, "--json").out) for s in (tmp_path / "music", tones))
    assert first == second
    mixed = json.loads(dacz("prior", "eval", by_file, tmp_path, "--json").out)
    assert mixed["files"] == 48
    assert dacz("prior", "eval", "none", tmp_path / "music" / "00.wav").code == 5
