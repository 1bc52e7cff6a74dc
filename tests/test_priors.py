"""`dacz prior` and `dacz repack --prior`: the codes stay the same, whatever prior codes them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

import dacfile
from dacfile import installed
from dacfile.entropy import load_prior
from dacfile.entropy.files import save_prior
from dacfile.model import store
from dacfile.training.prior_archive import cut, pieces_of_file, train_on_pieces
from dacfile.training.prior_counts import train_count_prior

pytestmark = pytest.mark.usefixtures("stub_models", "own_store")


@pytest.fixture
def own_store(tmp_path, monkeypatch):
    """A user's store that ends with the test; what was looked up before and in it is forgotten."""
    monkeypatch.setenv("DACZ_MODELS", str(tmp_path / "store"))
    caches = (installed._cached_prior, installed._cached_default)
    for cache in caches:
        cache.cache_clear()
    yield tmp_path / "store"
    for cache in caches:
        cache.cache_clear()


@pytest.fixture
def archive(tmp_path, make_wav, dacz):
    """Three raw files: noise in two channels, noise in one, and nothing."""
    for name, channels, seconds in (("a", 2, 2), ("b", 1, 2), ("empty", 1, 0)):
        make_wav(tmp_path / "music" / f"{name}.wav", seconds, channels=channels, seed=channels)
    assert dacz("compress", tmp_path / "music", "-o", tmp_path / "archive").code == 0
    return tmp_path / "archive"


@pytest.fixture
def prior_file(archive, tmp_path):
    """Count tables of the codes of a.wav.dacz."""
    prior = train_count_prior(list(dacfile.open(archive / "a.wav.dacz").codes()), 64, 1, {"description": "test"})
    save_prior(prior, tmp_path / "own.prior.safetensors")
    return tmp_path / "own.prior.safetensors"


def codes_of(folder: Path) -> dict[str, np.ndarray]:
    return {path.name: dacfile.open(path).codes() for path in sorted(folder.glob("?*.dacz"))}


def same(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> bool:
    return left.keys() == right.keys() and all(np.array_equal(left[name], right[name]) for name in left)


def forget(store: Path) -> None:
    """Make this another machine: nothing is installed."""
    shutil.rmtree(store)
    installed._cached_prior.cache_clear()


def prior_ids(folder: Path) -> set[bytes]:
    return {dacfile.open(path).head.prior_id for path in folder.glob("?*.dacz")}


def test_add_and_list(prior_file, own_store, dacz):
    done = dacz("prior", "add", prior_file, "--name", "mine")
    assert done.code == 0
    identity = load_prior(prior_file).id.hex()
    assert identity in done.out
    assert (own_store / "mine.prior.safetensors").read_bytes() == prior_file.read_bytes()
    entries = {entry["name"]: entry for entry in json.loads(dacz("prior", "list", "--json").out)}
    assert entries["mine"]["id"] == identity
    assert (entries["mine"]["kind"], entries["mine"]["bundled"]) == ("counts", False)
    assert entries["44k"]["bundled"]
    assert identity in dacz("prior", "list").out


def test_remove(prior_file, own_store, dacz):
    dacz("prior", "add", prior_file, "--name", "mine")
    assert "removed mine" in dacz("prior", "remove", "mine").out
    assert list(own_store.iterdir()) == []
    assert dacz("prior", "remove", "mine").code == 5
    assert dacz("prior", "remove", "44k").code == 1


@pytest.mark.parametrize(
    ("name", "code"), [("44k", 1), ("none", 1), ("bundled", 1), ("../x", 1), ("", 1), ("taken", 2), ("0aF9" * 8, 1)]
)
def test_names_that_cannot_be(prior_file, own_store, dacz, name, code):
    assert dacz("prior", "add", prior_file, "--name", "taken").code == 0
    done = dacz("prior", "add", prior_file, "--name", name)
    assert (done.code, done.err.count("\n")) == (code, 1)
    assert [path.name for path in own_store.iterdir()] == ["taken.prior.safetensors"]


def test_what_is_no_prior_is_not_added(tmp_path, own_store, dacz):
    (tmp_path / "x.prior.safetensors").write_bytes(b"nonsense")
    assert dacz("prior", "add", tmp_path / "x.prior.safetensors", "--name", "x").code == 5
    assert dacz("prior", "add", tmp_path / "absent", "--name", "x").code == 5
    assert not own_store.exists()


def test_eval_says_what_a_recoding_does(archive, prior_file, tmp_path, dacz):
    found = json.loads(dacz("prior", "eval", prior_file, archive, "--json").out)
    assert found["files"] == 3
    assert found["codes"] == sum(codes.size for codes in codes_of(archive).values())
    assert found["raw_bytes"] == found["stored_bytes"] > found["prior_bytes"]
    assert len(found["bits"]) == 3
    assert "with this prior" in dacz("prior", "eval", prior_file, archive).out
    assert dacz("prior", "add", prior_file, "--name", "mine").code == 0
    assert dacz("repack", archive, "--prior", "mine", "-o", tmp_path / "out").code == 0
    before, after = (sum(p.stat().st_size for p in folder.glob("?*.dacz")) for folder in (archive, tmp_path / "out"))
    assert before - after == found["raw_bytes"] - found["prior_bytes"]


def test_a_prior_may_say_anything_of_its_model(archive, tmp_path, dacz):
    prior = train_count_prior(list(dacfile.open(archive / "a.wav.dacz").codes()), 64, 1, {"model": "../weights.pth"})
    save_prior(prior, tmp_path / "odd.prior.safetensors")
    assert dacz("prior", "eval", tmp_path / "odd.prior.safetensors", archive).code == 0
    done = dacz("prior", "eval", tmp_path / "odd.prior.safetensors", tmp_path / "music" / "a.wav")
    assert (done.code, "name it with --model" in done.err) == (5, True)


def test_repack_there_and_back(archive, prior_file, dacz):
    before, data = codes_of(archive), {path: path.read_bytes() for path in archive.glob("?*.dacz")}
    assert dacz("prior", "add", prior_file, "--name", "mine").code == 0
    done = dacz("repack", archive, "--prior", "mine", "--in-place")
    assert (done.code, done.err) == (0, "")
    assert prior_ids(archive) == {load_prior(prior_file).id}
    assert same(codes_of(archive), before)
    assert dacz("verify", archive).code == 0
    assert "has this prior already" in dacz("repack", archive, "--prior", "mine", "--in-place").out
    assert dacz("repack", archive, "--prior", "none", "--in-place").code == 0
    assert {path: path.read_bytes() for path in archive.glob("?*.dacz")} == data


def test_a_path_and_an_id_name_a_prior_too(archive, prior_file, tmp_path, dacz):
    assert dacz("repack", archive, "--prior", prior_file, "-o", tmp_path / "1").code == 0
    assert dacz("prior", "add", prior_file, "--name", "mine").code == 0
    assert dacz("repack", archive, "--prior", load_prior(prior_file).id.hex(), "-o", tmp_path / "2").code == 0
    assert prior_ids(tmp_path / "1") == prior_ids(tmp_path / "2") == {load_prior(prior_file).id}


def test_a_missing_prior_says_which_and_what_to_do(archive, prior_file, own_store, tmp_path, dacz):
    assert dacz("repack", archive / "a.wav.dacz", "--prior", prior_file, "-o", tmp_path / "out.dacz").code == 0
    forget(own_store)
    for command in (["verify"], ["prior", "eval", "none"], ["repack", "--prior", "none", "--in-place"]):
        done = dacz(*command, tmp_path / "out.dacz")
        assert done.code == 5
        assert load_prior(prior_file).id.hex() in done.err
        assert "dacz prior add FILE --name NAME" in done.err


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--prior", "unknown", "--in-place"], 5),
        (["--prior", "44k", "--in-place"], 5),  # another model's: other codebooks
        (["--prior", "bundled", "--in-place"], 5),  # none for the stub
        (["--prior", "none"], 1),
        (["--prior", "none", "--codebooks", 1, "--in-place"], 1),
        (["--in-place"], 1),
    ],
)
def test_repackings_that_cannot_be(archive, dacz, options, code):
    path = archive / "a.wav.dacz"
    before = path.read_bytes()
    done = dacz("repack", path, *options)
    assert (done.code, done.err.count("\n")) == (code, 1)
    assert path.read_bytes() == before


def test_a_damaged_file_is_left_as_it_is(archive, prior_file, dacz):
    path = archive / "a.wav.dacz"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert dacz("repack", archive, "--prior", prior_file, "--in-place").code == 2
    assert path.read_bytes() == data
    assert {dacfile.open(archive / "b.wav.dacz").head.prior_id} == {load_prior(prior_file).id}


def test_other_codes_are_noticed(archive, prior_file, dacz, monkeypatch):
    """An encoder that changes a code with its checksum writes a valid file, which must not replace the source."""
    from dacfile.entropy import encode_blocks

    def wrong(prior, blocks, *rest):
        changed = [[None if codes is None else (codes + 1) % 64 for codes in block] for block in blocks]
        return encode_blocks(prior, [[None if c is None else c.astype(np.uint16) for c in b] for b in changed], *rest)

    monkeypatch.setattr("dacfile.blocks.encode_blocks", wrong)
    path = archive / "a.wav.dacz"
    before = path.read_bytes()
    done = dacz("repack", path, "--prior", prior_file, "--in-place")
    assert (done.code, "other codes" in done.err) == (3, True)
    assert path.read_bytes() == before


@pytest.fixture
def stub_entry(stub_models, monkeypatch):
    """The stub in the list of models, under any name."""

    def find(name: str) -> store.ModelEntry:
        called = name if isinstance(name, str) else "stub"
        return store.ModelEntry(called, stub_models.id, stub_models.facts, Path("stub"), False, 0)

    monkeypatch.setattr(store, "find", find)
    return find("stub")


def test_train_on_an_archive(archive, stub_entry, tmp_path, dacz):
    out = tmp_path / "new" / "learned.prior.safetensors"
    done = dacz("prior", "train", archive, "--model", "stub", "-o", out, "--minutes", 0.01)
    assert (done.code, done.err) == (0, "")
    prior = load_prior(out)
    assert prior.id.hex() in done.out
    assert "3 files" in done.out
    assert (prior.codebooks, prior.codebook_size) == (3, 64)
    assert (prior.info["model"], prior.info["name"]) == (stub_entry.id.hex(), "learned")
    before = codes_of(archive)
    assert dacz("prior", "add", out, "--name", "learned").code == 0
    assert dacz("repack", archive, "--prior", "learned", "--in-place").code == 0
    assert same(codes_of(archive), before)
    assert dacz("prior", "train", archive, "--model", "stub", "-o", out).code == 2
    assert dacz("prior", "train", archive, "--model", "stub", "-o", tmp_path / "x").code == 1


@pytest.mark.usefixtures("stub_entry")
def test_where_a_prior_cannot_be_written_is_told_before_it_is_learned(archive, tmp_path, dacz, monkeypatch):
    from dacfile.training import prior_archive

    def learn(*arguments):
        raise AssertionError("this may take minutes")

    monkeypatch.setattr(prior_archive, "train_on_pieces", learn)
    (tmp_path / "file").write_text("no folder")
    out = tmp_path / "file" / "x.prior.safetensors"
    done = dacz("prior", "train", archive, "--model", "stub", "-o", out)
    assert (done.code, str(tmp_path / "file") in done.err) == (2, True)


def test_training_refuses_files_of_another_model_and_silence(archive, tmp_path, stub_entry, dacz, monkeypatch):
    out = tmp_path / "x.prior.safetensors"
    assert dacz("prior", "train", archive / "empty.wav.dacz", "--model", "stub", "-o", out).code == 1
    monkeypatch.setattr(store, "find", lambda name: replace(stub_entry, id=bytes(16)))
    done = dacz("prior", "train", archive / "a.wav.dacz", "--model", "stub", "-o", out)
    assert (done.code, stub_entry.id.hex() in done.err) == (5, True)
    assert not out.exists()


def test_codebooks_that_are_no_square_get_tables_for_every_layer(archive, stub_entry):
    pieces = pieces_of_file(archive / "a.wav.dacz", stub_entry.id)
    facts = replace(stub_entry.facts, codebook_size=65, codebooks=4)
    prior = train_on_pieces(pieces, facts, stub_entry.id, "x", 0.01)
    assert (prior.config["kind"], prior.config["codebooks"]) == ("counts", 4)


def test_pieces_are_the_codes_of_the_file(archive, stub_entry, tmp_path, dacz):
    (piece,) = pieces_of_file(archive / "a.wav.dacz", stub_entry.id)
    codes = dacfile.open(archive / "a.wav.dacz").codes()
    np.testing.assert_array_equal(piece.first, codes[0])
    assert piece.second is not None
    np.testing.assert_array_equal(piece.second, codes[1])
    assert pieces_of_file(archive / "empty.wav.dacz", stub_entry.id) == []
    assert dacz("repack", archive, "--codebooks", 1, "-o", tmp_path / "thin").code == 0
    (thin,) = pieces_of_file(tmp_path / "thin" / "b.wav.dacz", stub_entry.id)
    assert thin.first.shape[0] == 1
    parts = cut([piece], 100)
    np.testing.assert_array_equal(np.concatenate([part.second for part in parts], 1), codes[1])
    assert len({part.name for part in parts}) == len(parts) > 1


def test_an_archive_may_keep_its_prior_in_a_folder_of_its_own(archive, prior_file, own_store, tmp_path, dacz):
    """Readers look beside a file and above it; what else lies there does not matter."""
    target = tmp_path / "out" / "deep" / "er"
    assert dacz("repack", archive, "--prior", prior_file, "-o", target).code == 0
    forget(own_store)
    assert dacz("verify", target).code == 2
    (tmp_path / "out" / ".dacz").mkdir()
    (tmp_path / "out" / ".dacz" / "junk.prior.safetensors").write_bytes(b"junk")
    prior_file.rename(tmp_path / "out" / ".dacz" / "any.prior.safetensors")
    assert dacz("verify", target, "--deep").code == 0
    assert same(codes_of(target), codes_of(archive))
    for name in ("a", "b"):
        expected, _ = dacfile.read(archive / f"{name}.wav.dacz")
        audio, _ = dacfile.read(target / f"{name}.wav.dacz")
        np.testing.assert_array_equal(audio, expected)
    assert dacz("decompress", target, "-o", tmp_path / "back").code == 0
    assert dacz("prior", "eval", "none", target).code == 0
    assert dacz("repack", target, "--prior", "none", "--in-place").code == 0
    assert prior_ids(target) == {bytes(16)}


@pytest.mark.parametrize("options", [["--in-place"], ["-o", "out"]])
def test_a_prior_that_readers_would_not_find_is_added_first(archive, prior_file, own_store, tmp_path, dacz, options):
    before = codes_of(archive)
    target = archive if options == ["--in-place"] else tmp_path / "out"
    done = dacz("repack", archive, "--prior", prior_file, *options[:1], *([target] if len(options) > 1 else []))
    kept = own_store / f"{load_prior(prior_file).id.hex()}.prior.safetensors"
    assert (done.code, done.err, done.out.count(f"a prior that was not installed; added now: {kept}")) == (0, "", 1)
    prior_file.unlink()
    assert dacz("verify", target).code == 0
    assert same(codes_of(target), before)
    assert dacz("repack", target, "--prior", "none", "--in-place").code == 0


def test_nothing_is_added_for_a_prior_that_lies_beside_the_output(archive, prior_file, own_store, tmp_path, dacz):
    (archive / ".dacz").mkdir()
    prior_file.rename(archive / ".dacz" / "own.prior.safetensors")
    prior = archive / ".dacz" / "own.prior.safetensors"
    assert dacz("repack", archive, "--prior", prior, "--in-place").code == 0
    assert not own_store.exists()
    assert dacz("repack", archive, "--prior", prior, "-o", tmp_path / "out").code == 0  # where it does not lie
    assert len(list(own_store.iterdir())) == 1
    shutil.rmtree(archive)
    assert dacz("verify", tmp_path / "out").code == 0


def test_no_file_is_replaced_when_its_prior_cannot_be_added(archive, prior_file, own_store, dacz):
    own_store.write_text("no folder")
    data = {path: path.read_bytes() for path in archive.glob("?*.dacz")}
    assert dacz("repack", archive, "--prior", prior_file, "--in-place").code == 2
    assert {path: path.read_bytes() for path in archive.glob("?*.dacz")} == data


def flipped(data: bytes) -> bytes:
    """Another last byte: the tensors differ, the header with its id is intact."""
    return data[:-1] + bytes([data[-1] ^ 1])


def test_a_damaged_copy_of_a_prior_hides_no_intact_one(archive, prior_file, own_store, tmp_path, dacz):
    assert dacz("repack", archive, "--prior", prior_file, "-o", tmp_path / "out").code == 0
    intact = prior_file.read_bytes()
    forget(own_store)
    own_store.mkdir()
    (own_store / "a.prior.safetensors").write_bytes(flipped(intact))
    done = dacz("verify", tmp_path / "out" / "a.wav.dacz")
    assert (done.code, "counts" in done.err) == (5, True)
    (tmp_path / "out" / ".dacz").mkdir()
    (tmp_path / "out" / ".dacz" / "own.prior.safetensors").write_bytes(intact)
    assert dacz("verify", tmp_path / "out").code == 0
    (tmp_path / "out" / ".dacz" / "own.prior.safetensors").write_bytes(flipped(intact))
    (own_store / "b.prior.safetensors").write_bytes(intact)
    installed._cached_prior.cache_clear()
    assert dacz("verify", tmp_path / "out").code == 0


def test_training_that_finds_nothing_better_says_so(archive, stub_entry, prior_file, tmp_path, dacz, monkeypatch):
    from dacfile.training import prior_archive

    start = load_prior(prior_file)
    monkeypatch.setattr(installed, "default_prior", lambda name, model_id: start)
    monkeypatch.setattr(prior_archive, "train_on_pieces", lambda *arguments: start)
    done = dacz("prior", "train", archive, "--model", "stub", "-o", tmp_path / "x.prior.safetensors")
    assert (done.code, done.out.splitlines()[0][:24]) == (0, "nothing better was found")


@pytest.fixture
def learns_tables(own_store, stub_models, monkeypatch, stub_entry):
    """Training takes no time and gives tables."""
    from dacfile.training import prior_archive

    def learn(pieces, *rest):
        return train_count_prior([piece.first for piece in pieces], 64)

    monkeypatch.setattr(prior_archive, "train_on_pieces", learn)


@pytest.mark.usefixtures("learns_tables")
def test_optimize_recodes_when_it_pays(archive, own_store, tmp_path, dacz):
    """The tone has the same codes in every frame."""
    soundfile.write(tmp_path / "tone.wav", 0.5 * np.sin(2 * np.pi * np.arange(80_000) / 16), 8000)
    assert dacz("compress", tmp_path / "tone.wav", "-o", archive / "tone.wav.dacz").code == 0
    before, data = codes_of(archive), {path: path.read_bytes() for path in archive.iterdir()}
    done = dacz("optimize", archive, "--dry-run")
    assert (done.code, "smaller in all" in done.out) == (0, True)
    assert {path: path.read_bytes() for path in archive.iterdir()} == data
    assert not own_store.exists()
    done = dacz("optimize", archive)
    assert (done.code, done.err) == (0, "")
    (kept,) = (archive / ".dacz").iterdir()
    assert (own_store / kept.name).read_bytes() == kept.read_bytes()
    assert dacfile.open(archive / "tone.wav.dacz").head.prior_id == load_prior(kept).id
    assert same(codes_of(archive), before)
    after = sum(path.stat().st_size for path in archive.rglob("*") if path.is_file())
    assert after < sum(map(len, data.values()))
    (own_store / kept.name).unlink()
    assert dacz("verify", archive).code == 0
    assert "0 files would be" in dacz("optimize", archive).out


@pytest.mark.usefixtures("learns_tables")
def test_optimize_does_nothing_when_the_prior_takes_more_than_it_saves(archive, tmp_path, own_store, dacz):
    data = {path: path.read_bytes() for path in archive.iterdir()}
    done = dacz("optimize", archive)
    assert (done.code, "nothing done: the prior itself takes 1." in done.out) == (0, True)
    assert {path: path.read_bytes() for path in archive.iterdir()} == data
    assert not own_store.exists()
    assert dacz("optimize", tmp_path / "absent").code == 1
