"""What the commands print and return: transcripts, JSON, exit codes, one line per error."""

from __future__ import annotations

import io
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from conftest import files_below

pytestmark = pytest.mark.usefixtures("stub_models")


@pytest.fixture
def music(tmp_path, make_wav):
    make_wav(tmp_path / "music" / "a.wav", channels=2)
    make_wav(tmp_path / "music" / "sub" / "b.wav")
    return tmp_path / "music"


@pytest.fixture
def packed(music, tmp_path, dacz):
    assert dacz("compress", music, "-o", tmp_path / "out").code == 0
    return tmp_path / "out"


def test_there_and_back(music, packed, tmp_path, dacz):
    done = dacz("decompress", packed, "-o", tmp_path / "back")
    assert (done.code, done.err) == (0, "")
    assert files_below(tmp_path / "back") == ["a.wav", "sub/b.wav"]
    assert soundfile.info(tmp_path / "back" / "a.wav").frames == 4000
    assert "2 done" in done.out


def test_the_end_of_a_run_shows_totals(music, tmp_path, dacz):
    done = dacz("compress", music, "-o", tmp_path / "out")
    lines = done.out.splitlines()
    assert sorted(lines[:2])[0].startswith(f"{music / 'a.wav'} -> a.wav.dacz: 16.0 kB -> ")
    assert [line.split()[0] for line in lines[-4:]] == ["files", "audio", "time", "size"]
    again = dacz("compress", music, "-o", tmp_path / "out")
    assert again.out.count("skipped, is done") == 2
    assert "0 done, 2 skipped" in again.out


def test_json_has_one_object_per_event(music, tmp_path, dacz):
    done = dacz("compress", music, music / "missing", "-o", tmp_path / "out", "--json")
    events = [json.loads(line) for line in done.out.splitlines()]
    assert events[0] == {"event": "planned", "files": 3, "bytes_in": 24_088}
    names = {event["event"] for event in events}
    assert names == {"planned", "started", "progress", "file_done", "file_failed", "finished"}
    assert events[-1]["exit_code"] == done.code == 2
    assert (events[-1]["done"], events[-1]["failed"]) == (2, 1)
    assert done.err == ""


def test_quiet_says_only_what_fails(music, tmp_path, dacz):
    done = dacz("compress", music, music / "missing", "-o", tmp_path / "out", "-q")
    assert done.out == ""
    assert done.err == f"dacz: {music}/missing: no such file or folder\n"


def test_failures_are_listed_at_the_end(music, tmp_path, dacz):
    (music / "text.wav").write_text("no audio")
    done = dacz("compress", music, "-o", tmp_path / "out")
    assert done.code == 2
    assert done.err.count("\n") == 1
    assert done.out.splitlines()[-2] == "failed:"
    assert "text.wav  not audio" in done.out.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 1, "no inputs"),
        (["{music}/missing.wav"], 1, "no such file"),
        (["{music}", "--exists", "maybe"], 1, "maybe"),
        (["{music}", "--nonsense"], 1, "--nonsense"),
        (["{music}", "--codebooks", "2", "--bitrate", "8"], 1, "not both"),
        (["{music}", "-", "-o", "x"], 1, "cannot be mixed"),
        (["{music}", "-o", "-"], 1, "single input file"),
        (["{music}", "--rm"], 1, "--yes"),
        (["{music}/a.wav", "--codebooks", "9"], 1, "1 to 3"),
        (["{music}", "--model", "missing"], 5, "no model is called 'missing'"),
        (["{music}", "--device", "nowhere"], 1, "no device 'nowhere'"),
        (["{music}/text.wav"], 4, "not audio"),
        (["{music}/a.wav", "-o", "{music}/full.dacz", "--exists", "fail"], 2, "exists"),
        (["--files-from", "{music}/nothing"], 1, "no such file"),
    ],
)
def test_wrong_calls_of_compress(music, dacz, arguments, code, message):
    (music / "full.dacz").touch()
    (music / "text.wav").write_text("text")
    before = files_below(music)
    done = dacz("compress", *[argument.format(music=music) for argument in arguments])
    assert done.code == code, done.err
    assert message in done.err
    if code != 2:
        assert done.err.count("\n") == 1
    assert [name for name in files_below(music) if name not in before and not name.endswith("wav.dacz")] == []


def test_damaged_files_give_their_own_exit_codes(packed, tmp_path, dacz):
    whole = (packed / "a.wav.dacz").read_bytes()
    cases = {"cut": (whole[: len(whole) // 2], 3), "text": (b"hello", 4), "empty": (b"", 4), "tail": (whole + b"x", 3)}
    for name, (data, code) in cases.items():
        path = tmp_path / f"{name}.dacz"
        path.write_bytes(data)
        for command in ("info", "verify", "decompress"):
            done = dacz(command, path)
            assert (done.code, done.out) == (code, ""), (name, command)
            assert done.err.startswith(f"dacz: {path}: ")
            assert done.err.count("\n") == 1
    assert dacz("verify", packed, tmp_path / "cut.dacz").code == 2


def test_verify_finds_flipped_bytes(packed, tmp_path, dacz):
    whole = (packed / "sub" / "b.wav.dacz").read_bytes()
    path = tmp_path / "x.dacz"
    for position in range(0, len(whole), 31):
        damaged = bytearray(whole)
        damaged[position] ^= 0x10
        path.write_bytes(damaged)
        assert dacz("verify", path).code in (3, 4), position


def test_info_tells_rates_sizes_and_layers(packed, dacz):
    done = dacz("info", packed / "a.wav.dacz")
    assert done.code == 0
    for part in ("0:00.50 (4,000 samples)", "WAV PCM_16, 8,000 Hz, stereo", "real bit rate", "1 of 8.19 s", "overhead"):
        assert part in done.out
    assert "id 000102030405060708090a0b0c0d0e0f" in done.out
    facts = json.loads(dacz("info", packed / "a.wav.dacz", "--json", "--blocks").out)
    size = (packed / "a.wav.dacz").stat().st_size
    assert facts["bytes"] == size
    assert facts["real_bitrate"] == pytest.approx(size * 8 / 0.5)
    assert facts["code_bytes"] + facts["overhead_bytes"] == size
    assert sum(layer["bytes"] for layer in facts["layers"]) == facts["code_bytes"]
    assert facts["ratio_to_pcm16"] == pytest.approx(16_000 / size)
    assert sum(block["frames"] for block in facts["block_list"]) == facts["frames"]


def test_info_compares_with_the_source_beside_it(music, dacz):
    dacz("compress", music / "a.wav")
    assert ": 1 to a.wav" in dacz("info", music / "a.wav.dacz").out


def test_what_files_say_is_escaped(tmp_path, dacz):
    path = tmp_path / "evil\x1b[31m.flac"
    with soundfile.SoundFile(path, "w", 8000, 1, "PCM_16", format="FLAC") as sound:
        sound.title = "\x1b]0;owned\x07 \u202etitle"
        sound.write(np.zeros(800))
    done = dacz("compress", path)
    assert done.code == 0
    shown = done.out + dacz("info", tmp_path).out
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "\\x1b]0;owned\\x07 \\u202etitle" in shown


def test_names_that_are_no_text_can_be_shown(tmp_path, make_wav, dacz):
    make_wav(tmp_path / "x.wav").rename(tmp_path / "\udcff.wav")
    assert "\\udcff.wav" in dacz("compress", tmp_path).out


def test_dry_run_does_nothing(music, packed, dacz):
    (packed / "a.wav.dacz").unlink()
    done = dacz("compress", music, "-o", packed, "--dry-run")
    assert done.out.splitlines() == [
        f"{music / 'a.wav'} -> {packed / 'a.wav.dacz'}",
        f"{music / 'sub/b.wav'}: skipped, is done",
    ]
    assert files_below(packed) == ["sub/b.wav.dacz"]


def test_files_from_a_list(music, tmp_path, dacz):
    (tmp_path / "list").write_text(f"{music}/a.wav\n\n{music}/sub/b.wav\n")
    assert dacz("compress", "--files-from", tmp_path / "list", "-o", tmp_path / "out").code == 0
    assert files_below(tmp_path / "out") == ["a.wav.dacz", "sub/b.wav.dacz"]


def test_rm_with_yes_deletes_the_sources(music, tmp_path, dacz):
    assert dacz("compress", music, "-o", tmp_path / "out", "--rm", "--yes").code == 0
    assert files_below(music) == []
    assert len(files_below(tmp_path / "out")) == 2


def test_rm_deletes_the_sources_of_a_run_before(music, tmp_path, dacz):
    assert dacz("compress", music, "-o", tmp_path / "out").code == 0
    wrong = tmp_path / "out" / "a.wav.dacz"
    wrong.write_bytes((tmp_path / "out" / "sub" / "b.wav.dacz").read_bytes())
    again = ["compress", music, "-o", tmp_path / "out", "--rm", "--yes"]
    assert "skipped, is done, and its source is deleted" in dacz(*again, "--dry-run").out
    assert files_below(music) == ["a.wav", "sub/b.wav"]
    done = dacz(*again)
    assert (done.code, files_below(music)) == (2, ["a.wav"])
    assert "does not hold the samples" in done.err


def pipe(monkeypatch, data: bytes, terminal: bool = False) -> io.BytesIO:
    """Put bytes on standard input and collect standard output; neither can seek."""

    class Pipe(io.BytesIO):
        def seekable(self):
            return False

    out = Pipe()
    out.close = lambda: None
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=Pipe(data), isatty=lambda: False))
    monkeypatch.setattr(
        sys, "stdout", SimpleNamespace(buffer=out, isatty=lambda: terminal, flush=lambda: None, write=lambda text: None)
    )
    return out


def test_standard_input_and_output(music, packed, dacz, monkeypatch):
    with monkeypatch.context() as patch:
        out = pipe(patch, (music / "a.wav").read_bytes())
        assert dacz("compress", "-").code == 0
    assert out.getvalue() == (packed / "a.wav.dacz").read_bytes()
    with monkeypatch.context() as patch:
        back = pipe(patch, out.getvalue())
        assert dacz("decompress", "-").code == 0
    with soundfile.SoundFile(io.BytesIO(back.getvalue())) as sound:
        assert (sound.frames, sound.samplerate, sound.channels) == (4000, 8000, 2)


def test_what_is_lost_is_told_on_standard_error_when_the_output_is_a_pipe(packed, dacz, monkeypatch):
    damaged = bytearray((packed / "a.wav.dacz").read_bytes())
    damaged[12] ^= 1  # of HEAD
    told = []
    for options in (["--force"], ["--force", "-q"]):
        with monkeypatch.context() as patch:
            pipe(patch, bytes(damaged))
            done = dacz("decompress", "-", *options)
        assert done.code == 3
        told.append(done.err)
    assert told[0] == told[1]
    assert told[0].startswith("dacz: note: the header was damaged; its copy was used\n")


def test_standard_input_to_a_file(music, packed, tmp_path, dacz, monkeypatch):
    pipe(monkeypatch, (music / "a.wav").read_bytes())
    assert dacz("compress", "-", "-o", tmp_path / "x.dacz").code == 0
    assert (tmp_path / "x.dacz").read_bytes() == (packed / "a.wav.dacz").read_bytes()
    assert dacz("compress", "-", "-o", tmp_path / "x.dacz").code == 2
    assert dacz("compress", "-", "-o", tmp_path).code == 1


def test_nothing_binary_on_a_terminal(music, dacz, monkeypatch):
    out = pipe(monkeypatch, (music / "a.wav").read_bytes(), terminal=True)
    done = dacz("compress", "-")
    assert (done.code, out.getvalue()) == (1, b"")


def test_models_are_listed_shown_and_refused(dacz):
    listed = dacz("models", "list")
    assert listed.code == 0
    assert listed.out.startswith("name")
    assert isinstance(json.loads(dacz("models", "list", "--json").out), list)
    missing = dacz("models", "show", "nothing")
    assert (missing.code, missing.err.count("\n")) == (5, 1)


def test_repack_and_salvage(packed, tmp_path, dacz):
    assert dacz("repack", packed, "-o", tmp_path / "small", "--codebooks", 2).code == 0
    told = dacz("repack", packed, "-o", tmp_path / "small", "--codebooks", 1)
    assert "a.wav.dacz exists, with more than 1 codebooks; --exists overwrite makes it anew" in told.out
    assert dacz("repack", packed, "-o", tmp_path / "small", "--codebooks", 1, "--exists", "overwrite").code == 0
    assert "a.wav.dacz exists\n" in dacz("repack", packed, "-o", tmp_path / "small", "--codebooks", 1).out
    assert files_below(tmp_path / "small") == files_below(packed)
    assert (tmp_path / "small" / "a.wav.dacz").stat().st_size < (packed / "a.wav.dacz").stat().st_size
    whole = (packed / "a.wav.dacz").read_bytes()
    (tmp_path / "cut.dacz").write_bytes(whole[:-50])
    done = dacz("salvage", tmp_path / "cut.dacz", "-o", tmp_path / "saved.dacz")
    assert "1 block saved, 0 lost" in done.out
    assert dacz("verify", tmp_path / "saved.dacz").code == 0
    (tmp_path / "head.dacz").write_bytes(whole[:100])
    lost = dacz("salvage", tmp_path / "head.dacz", "-o", tmp_path / "none.dacz")
    assert (lost.code, lost.err.count("\n")) == (3, 1)
    assert not (tmp_path / "none.dacz").exists()


def test_help_and_version(dacz):
    assert "Exit codes: 0 all done" in " ".join(dacz("--help").out.split())
    assert dacz("--version").out.startswith("dacz 0.")
    for command in ("compress", "decompress", "info", "verify", "models", "repack", "salvage", "compare"):
        assert dacz(command, "--help").code == 0


def test_the_live_view_ends_with_totals_and_failures(music, capsys):
    from dacfile.batch import CompressSettings, plan_compress, process
    from dacz.render import Live, follow

    (music / "text.wav").write_text("no audio")
    out = io.StringIO()
    end = follow(process(plan_compress([music], music / "out"), CompressSettings()), Live(True, out))
    assert end.exit_code == 2
    assert "2 done, 1 failed" in out.getvalue()
    assert " : 1, " in out.getvalue()
    assert capsys.readouterr().err.startswith(f"dacz: {music}/text.wav: not audio")


def test_files_that_are_skipped_or_fail_are_not_left_to_do(tmp_path):
    from dacfile.events import FileDone, FileFailed, FileSkipped, Planned
    from dacz.render import Meter

    meter, path = Meter(compressing=True), tmp_path / "a.wav"
    meter.add(Planned(4, 1_000))
    meter.add(FileSkipped(path, "is done", done=True, bytes_in=500))
    meter.add(FileFailed(path, "not audio", "UnsupportedAudio", 4, bytes_in=200))
    meter.add(FileDone(path, path, 1.0, 1, 100, 10, 0.1))
    assert meter.bytes_seen == 800
    assert meter._left(10.0) == pytest.approx(20.0)


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 1), ("\n", 1), ("", 1)])
def test_sources_go_only_after_a_yes(music, dacz, monkeypatch, answer, code):
    """An empty answer without a line's end is Ctrl-D."""
    stdin = io.StringIO(answer)
    monkeypatch.setattr(stdin, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", stdin)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    done = dacz("compress", music / "a.wav", "--rm", "-q")
    assert (done.code, done.err) == (code, "dacz: nothing was done\n" if code else "")
    assert (music / "a.wav").exists() == bool(code)
