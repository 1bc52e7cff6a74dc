"""Names of outputs and what they say; calls that cannot be meant; whose fault a failure is."""

from __future__ import annotations

import errno
import io
import json
import os
from pathlib import Path

import pytest
import soundfile
from conftest import files_below

import dacfile
from dacfile.errors import UsageError
from dacfile.runner import failure
from dacz.common import complain_about

pytestmark = pytest.mark.usefixtures("stub_models")


@pytest.fixture
def packed(tmp_path, make_wav, dacz):
    """A .dacz file of a WAV."""
    make_wav(tmp_path / "a.wav")
    assert dacz("compress", tmp_path / "a.wav").code == 0
    return tmp_path / "a.wav.dacz"


@pytest.mark.parametrize(
    ("name", "form"), [("b.flac", "FLAC"), ("b.wav", "WAV"), ("b.BWF", "WAV"), ("b.aif", "AIFF"), ("b.w64", "W64")]
)
def test_the_name_of_an_output_says_its_format(packed, tmp_path, dacz, name, form):
    assert dacz("decompress", packed, "-o", tmp_path / name).code == 0
    assert soundfile.info(tmp_path / name).format == form
    assert dacfile.decompress(packed, tmp_path / f"api-{name}").name == f"api-{name}"
    assert soundfile.info(tmp_path / f"api-{name}").format == form


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "{folder}/b.mp3"], "cannot write the format '.mp3'"),
        (["-o", "{folder}/b.flac", "--format", "wav"], "the name says flac"),
        (["--start", "-1"], "--start"),
        (["--duration", "-1"], "--duration"),
        (["-o", "{folder}/b.wav", "--start", "nan"], "start nan: a number of seconds"),
        (["-o", "{folder}/b.wav", "--duration", "nan"], "duration nan: a number of seconds"),
        (["--codebooks", "0"], "--codebooks"),
        (["-o", "-", "--json"], "--json cannot be used"),
        (["-o", "-", "--dry-run"], "--dry-run cannot be used"),
    ],
)
def test_wrong_calls_of_decompress(packed, tmp_path, dacz, arguments, message):
    before = files_below(tmp_path)
    done = dacz("decompress", packed, *[argument.format(folder=tmp_path) for argument in arguments])
    assert (done.code, done.out) == (1, "")
    assert message in done.err
    assert files_below(tmp_path) == before


@pytest.mark.parametrize("name", ["b.aif", "b.wave", "b.bwf", "b.RF64", "b.caf"])
def test_standard_input_takes_every_name_that_a_file_takes(packed, tmp_path, dacz, monkeypatch, name):
    with packed.open("rb") as stream:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(stream))
        done = dacz("decompress", "-", "-o", tmp_path / name, "-q")
    assert (done.code, done.err) == (0, "")
    assert dacz("decompress", packed, "-o", tmp_path / ("as_file" + Path(name).suffix)).code == 0
    assert (tmp_path / name).read_bytes() == (tmp_path / ("as_file" + Path(name).suffix)).read_bytes()


@pytest.mark.parametrize(("name", "message"), [("b.mp3", "cannot write the format"), ("b", "needs a file name")])
def test_standard_input_refuses_names_of_no_format(packed, tmp_path, dacz, monkeypatch, name, message):
    before = files_below(tmp_path)
    with packed.open("rb") as stream:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(stream))
        done = dacz("decompress", "-", "-o", tmp_path / name)
    assert done.code == 1
    assert message in done.err
    assert files_below(tmp_path) == before


def test_no_bit_rate_is_told_of_a_part(packed, tmp_path, dacz):
    done = dacz("decompress", packed, "-o", tmp_path / "part.wav", "--start", "0.1", "--duration", "0.1")
    assert "part.wav" in done.out
    assert "kbit/s" not in done.out


def test_the_library_heeds_names_too(packed, tmp_path):
    with pytest.raises(UsageError, match="cannot write"):
        dacfile.decompress(packed, tmp_path / "b.opus")
    assert not (tmp_path / "b.opus").exists()


def test_options_that_a_pipe_cannot_heed_are_refused(packed, tmp_path, dacz):
    for option in ("--verify", "--check", "--json", "--dry-run", "--rm"):
        done = dacz("compress", packed.with_suffix(""), "-o", "-", option)
        assert (done.code, done.out) == (1, "")
        assert f"{option} cannot be used" in done.err


def test_several_inputs_never_make_a_folder_with_the_name_of_a_file(packed, tmp_path, make_wav, dacz):
    make_wav(tmp_path / "music" / "b.wav")
    for inputs in ([tmp_path / "a.wav", tmp_path / "music" / "b.wav"], [tmp_path / "music"]):
        done = dacz("compress", *inputs, "-o", tmp_path / "all.dacz")
        assert done.code == 1
        assert "the name of a file" in done.err
    assert not (tmp_path / "all.dacz").exists()
    (tmp_path / "all.dacz").mkdir()
    assert dacz("compress", tmp_path / "music", "-o", tmp_path / "all.dacz").code == 0


def test_an_output_that_is_no_folder_is_an_error_of_the_call(packed, tmp_path, dacz):
    done = dacz("compress", tmp_path / "a.wav", "-o", tmp_path / "a.wav")
    assert done.code == 1
    assert "not a folder" in done.err


@pytest.mark.parametrize("command", [["compress"], ["decompress"], ["repack", "--codebooks", "1"]])
def test_an_output_that_is_a_link_to_nothing_is_replaced_only_when_asked_for(packed, tmp_path, dacz, command):
    name = "b.wav" if command[0] == "decompress" else "b.dacz"
    source, out = tmp_path / ("a.wav" if command[0] == "compress" else "a.wav.dacz"), tmp_path / "out" / name
    out.parent.mkdir()
    out.symlink_to(tmp_path / "elsewhere")
    for exists in ([], ["--dry-run"]):
        done = dacz(*command, source, "-o", out, *exists)
        assert (done.code, "is a link to nothing; --exists overwrite" in done.err) == (2, True)
    assert dacz(*command, source, "-o", out, "--exists", "fail").code == 2
    assert out.is_symlink()
    assert dacz(*command, source, "-o", out, "--exists", "overwrite").code == 0
    assert out.is_file()
    assert not out.is_symlink()
    assert not (tmp_path / "elsewhere").exists()


def test_a_failure_names_the_file_that_is_to_blame(tmp_path):
    source, target = tmp_path / "a.wav", tmp_path / "out" / "a.wav.dacz"
    own = failure(source, PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(source)))
    other = failure(source, PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(target)))
    assert own.reason == "permission denied"
    assert other.reason == f"{target}: permission denied"


def test_verify_names_the_source_that_is_missing(packed, tmp_path, dacz):
    done = dacz("verify", "--deep", "--source", tmp_path / "missing.wav", packed)
    assert (done.code, done.err) == (1, f"dacz: {tmp_path / 'missing.wav'}: no such file\n")


def test_a_command_without_a_batch_names_the_file_that_is_to_blame_too(tmp_path, capsys):
    codes: list[int] = []
    error = PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(tmp_path / "other"))
    complain_about(tmp_path / "a.dacz", error, codes)
    assert capsys.readouterr().err == f"dacz: {tmp_path / 'a.dacz'}: {tmp_path / 'other'}: permission denied\n"
    assert codes == [2]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_does_not_stop_the_others(tmp_path, make_wav, dacz):
    for name in ("a.wav", "b.wav"):
        make_wav(tmp_path / name)
    (tmp_path / "a.wav").chmod(0)
    done = dacz("compress", tmp_path / "a.wav", tmp_path / "b.wav")
    assert done.code == 2
    assert (tmp_path / "b.wav.dacz").exists()


def test_unreadable_inputs_are_left_to_the_batch():
    """As above, for those who run the tests as root: nothing is refused while the call is parsed."""
    import typer

    from dacz.app import app

    commands = typer.main.get_command(app).commands
    found = [p for c in commands.values() for p in getattr(c, "params", ()) if p.nargs == -1]
    assert len(found) >= 6
    assert not any(p.type.readable for p in found)


@pytest.mark.parametrize("arguments", [[], ["models"], ["prior"]])
def test_without_a_command_the_help_is_shown_as_it_is(dacz, arguments):
    done = dacz(*arguments)
    text = done.out + done.err
    assert text.startswith("Usage: dacz")
    assert len(text.splitlines()) > 5


def test_a_usage_error_names_the_help_of_its_command(dacz):
    assert "(dacz prior add --help shows" in dacz("prior", "add", "x").err


@pytest.mark.parametrize(
    "arguments",
    [["salvage", "{missing}", "-o", "x"], ["compare", "{missing}", "x"], ["decompress", "{missing}", "-o", "-"]],
)
def test_a_missing_input_is_wrong_usage_in_every_command(tmp_path, dacz, arguments):
    done = dacz(*[argument.format(missing=tmp_path / "missing") for argument in arguments])
    assert done.code == 1
    assert done.err.count("\n") == 1


@pytest.mark.parametrize("command", [["salvage"], ["repack", "--codebooks", "1"]])
def test_standard_output_is_refused_where_it_would_become_a_file(packed, tmp_path, dacz, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    before = files_below(tmp_path)
    done = dacz(*command, packed, "-o", "-")
    assert (done.code, "standard output" in done.err) == (1, True)
    assert files_below(tmp_path) == before


@pytest.mark.parametrize("command", [["info"], ["verify"], ["salvage", "-o", "{folder}/saved.dacz", "--overwrite"]])
def test_json_has_an_object_for_what_fails_too(packed, tmp_path, dacz, command):
    command = [argument.format(folder=tmp_path) for argument in command]
    good = dacz(*command, packed, "--json")
    assert json.loads(good.out)["ok"] is True
    (tmp_path / "broken.dacz").write_bytes(b"no dacz file at all")
    for name in ("broken.dacz", "missing.dacz"):
        done = dacz(*command, tmp_path / name, "--json")
        found = json.loads(done.out)
        assert (found["path"], found["ok"]) == (str(tmp_path / name), False)
        assert found["reason"]
        assert found["kind"]
        assert (done.code != 0, done.err.count("\n")) == (True, 1)
