"""The models of a machine: found by name, id or file, without torch; added and removed; the package's own are safe."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from small_models import SMALL_DAC
from weights_files import write_bomb, write_official

from dacfile.errors import ModelMismatch, ModelNotFound, OutputExists, UnsafeWeights, UsageError
from dacfile.folders import user_folder
from dacfile.model import store
from dacfile.model.base import build
from dacfile.model.checkpoint import load_model, save_native
from dacfile.priors import list_priors


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the package two bundled models, and the user an empty store; return the store."""
    bundled = tmp_path / "package"
    for seed, name in enumerate(["44k", "16k"]):
        torch.manual_seed(seed)
        model = build(SMALL_DAC)
        save_native(bundled / f"{name}.safetensors", model.config, model.state_dict(), {"description": f"model {name}"})
    (bundled / "44k.prior.safetensors").write_bytes(b"not a model")
    (bundled / "44k.md").write_text("card")
    monkeypatch.setattr(store, "BUNDLED", bundled)
    monkeypatch.setenv("DACZ_MODELS", str(tmp_path / "user"))
    return tmp_path / "user"


def test_listing_shows_what_is_there() -> None:
    entries = store.list_models()
    assert [(entry.name, entry.bundled, entry.description) for entry in entries] == [
        ("16k", True, "model 16k"),
        ("44k", True, "model 44k"),
    ]
    assert entries[1].facts.hop == 6
    assert entries[1].size == entries[1].path.stat().st_size
    assert (entries[0].card, entries[1].card) == (None, entries[1].path.with_name("44k.md"))
    assert load_model(entries[0].path)[1].id == entries[0].id != entries[1].id


def test_finding_by_name_id_and_file(tmp_path: Path) -> None:
    entry = store.find("44k")
    assert store.find(entry.id) == store.find(entry.id.hex()) == store.find_by_id(entry.id) == entry
    assert store.find(entry.path).id == store.find(str(entry.path)).id == entry.id
    with pytest.raises(ModelNotFound, match="16k, 44k"):
        store.find("48k")
    with pytest.raises(ModelNotFound, match="models fetch descript-44k"):
        store.find("descript-44k")
    with pytest.raises(ModelNotFound, match=r"00000000000000000000000000000000.*models"):
        store.find(bytes(16))
    with pytest.raises(ModelNotFound, match="no such"):
        store.find(tmp_path / "nothing.safetensors")


def test_adding_and_removing(folders: Path, tmp_path: Path) -> None:
    source = write_official(tmp_path / "weights.pth")
    entry = store.add(source, "mine", description="my own", licence="CC0")
    assert (entry.name, entry.bundled, entry.path.parent) == ("mine", False, folders)
    assert store.find("mine") == entry
    loaded, checkpoint = load_model(entry.path)
    assert checkpoint.id == load_model(source)[1].id == entry.id
    assert loaded.facts == entry.facts
    with pytest.raises(OutputExists, match="mine"):
        store.add(source, "mine")
    assert store.add(source, "mine", overwrite=True, licence="CC0").id == entry.id
    copy = store.add(entry.path, "copy")
    assert (copy.id, copy.licence) == (entry.id, "CC0")
    store.remove("mine")
    assert [model.name for model in store.list_models()] == ["16k", "44k", "copy"]
    with pytest.raises(ModelNotFound):
        store.remove("mine")


def test_bundled_models_are_safe(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="bundled"):
        store.remove("44k")
    with pytest.raises(UsageError, match="bundled"):
        store.add(write_official(tmp_path / "weights.pth"), "44k", overwrite=True)


@pytest.mark.parametrize("name", ["", "a/b", "../x", ".hidden", "x.prior", "x.safetensors", "a b", "x" * 65, "a\n"])
def test_names_must_be_file_names(name: str) -> None:
    with pytest.raises(UsageError, match="name"):
        store.target_for(name)


@pytest.mark.parametrize("name", ["auto", "0" * 32, "0aF9" * 8])
def test_names_that_mean_something_else_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="choose another name"):
        store.target_for(name)
    assert store.target_for(name + "x").name == f"{name}x.safetensors"


def test_a_failed_add_leaves_nothing(folders: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    with pytest.raises(UnsafeWeights):
        store.add(write_bomb(tmp_path / "weights.pth", canary), "bomb")
    assert not canary.exists()
    assert not folders.exists() or list(folders.iterdir()) == []


def test_damaged_files_are_named_and_left_out(folders: Path) -> None:
    folders.mkdir()
    (folders / "broken.safetensors").write_bytes(b"12345678{")
    whole = store.find("44k").path.read_bytes()
    (folders / "no-id.safetensors").write_bytes(whole.replace(b'"id"', b'"ID"'))
    (folders / "no-facts.safetensors").write_bytes(whole.replace(b'\\"hop\\"', b'\\"hip\\"'))
    (folders / "notes.txt").write_text("x")
    entries, problems = store.scan()
    assert [entry.name for entry in entries] == ["16k", "44k"]
    assert {path.stem: type(error) for path, error in problems} == {
        "broken": UnsafeWeights,
        "no-id": ModelMismatch,
        "no-facts": ModelMismatch,
    }


def test_the_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert user_folder() == tmp_path / "user"
    monkeypatch.delenv("DACZ_MODELS")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert user_folder() == tmp_path / "data" / "dacz"
    monkeypatch.delenv("XDG_DATA_HOME")
    assert user_folder() == Path.home() / ".local" / "share" / "dacz"


def test_a_user_without_a_home_has_no_store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, dacz) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    monkeypatch.delenv("DACZ_MODELS")
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    assert [entry.name for entry in store.list_models()] == ["16k", "44k"]
    assert {entry.name for entry in list_priors()} >= {"44k"}
    for command in (["models", "add"], ["prior", "add"]):
        done = dacz(*command, store.find("44k").path, "--name", "mine")
        assert (done.code, done.err.count("DACZ_MODELS")) == (1, 1)


def test_listing_imports_no_torch() -> None:
    code = (
        "import sys; from dacfile.model import store, fetch; store.list_models(); "
        "sys.exit(bool({'torch', 'safetensors', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
