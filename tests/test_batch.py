"""Batches of real files through the stub codec: round trips, what is skipped, what is replaced, what fails."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import files_below
from stub_codec import StubCodec

from dacfile import batch
from dacfile.batch import CompressSettings, DecompressSettings
from dacfile.errors import ChecksumError, ModelNotFound, UsageError
from dacfile.events import FileDone, FileFailed, FileSkipped
from dacfile.pipeline import CompressOptions, DecompressOptions

VECTORS = Path(__file__).parent.parent / "spec" / "vectors"


class NoCodec(StubCodec):
    """Fails when anything is coded."""

    def encode_windows(self, x, first_frames, channels):
        raise AssertionError("no file should be coded again")


@pytest.fixture
def music(tmp_path, make_wav):
    make_wav(tmp_path / "music" / "a.wav", channels=2)
    make_wav(tmp_path / "music" / "sub" / "b.wav", rate=44100, seconds=0.2)
    data, rate = soundfile.read(make_wav(tmp_path / "music" / "c.wav"))
    soundfile.write(tmp_path / "music" / "c.flac", data, rate)
    return tmp_path / "music"


def compress(inputs, out, **settings):
    settings.setdefault("codec", StubCodec())
    return list(batch.process(batch.plan_compress(inputs, out), CompressSettings(**settings), jobs=2))


def decompress(inputs, out, options=None, **settings):
    plan = batch.plan_decompress(inputs, out, options.format if options else None)
    return list(batch.process(plan, DecompressSettings(options=options, codec=StubCodec(), **settings)))


def kinds(events, kind):
    return [event for event in events if isinstance(event, kind)]


def test_a_tree_comes_back_with_the_same_facts(music, tmp_path):
    events = compress([music], tmp_path / "out")
    assert events[-1].exit_code == 0
    assert files_below(tmp_path / "out") == ["a.wav.dacz", "c.flac.dacz", "c.wav.dacz", "sub/b.wav.dacz"]
    assert sum(event.bytes_out for event in kinds(events, FileDone)) == events[-1].bytes_out
    events = decompress([tmp_path / "out"], tmp_path / "back")
    assert events[-1].exit_code == 0
    assert files_below(tmp_path / "back") == files_below(music)
    for name in files_below(music):
        before, after = soundfile.info(music / name), soundfile.info(tmp_path / "back" / name)
        assert (before.frames, before.samplerate, before.channels, before.format, before.subtype) == (
            after.frames, after.samplerate, after.channels, after.format, after.subtype,
        ), name  # fmt: skip


def test_the_same_input_gives_the_same_bytes(music, tmp_path):
    for out in ("one", "two"):
        compress([music], tmp_path / out)
    for name in files_below(tmp_path / "one"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_second_run_does_no_work(music, tmp_path):
    compress([music], tmp_path / "out")
    before = {p: p.stat() for p in (tmp_path / "out").rglob("*.dacz")}
    events = compress([music], tmp_path / "out", codec=NoCodec())
    assert (events[-1].done, events[-1].skipped, events[-1].exit_code) == (0, 4, 0)
    assert all(event.done for event in kinds(events, FileSkipped))
    assert all(p.stat().st_mtime_ns == facts.st_mtime_ns for p, facts in before.items())


def test_a_newer_source_is_compressed_again(music, tmp_path):
    compress([music], tmp_path / "out")
    later = (tmp_path / "out" / "a.wav.dacz").stat().st_mtime + 10
    os.utime(music / "a.wav", (later, later))
    events = compress([music], tmp_path / "out")
    assert [event.source.name for event in kinds(events, FileDone)] == ["a.wav"]


def test_check_looks_at_the_samples(music, tmp_path, make_wav):
    compress([music], tmp_path / "out")
    make_wav(music / "a.wav", channels=2, seed=1)
    os.utime(music / "a.wav", (1, 1))  # the clock was set back
    later = (tmp_path / "out" / "c.wav.dacz").stat().st_mtime + 10
    os.utime(music / "c.wav", (later, later))  # only touched
    assert compress([music], tmp_path / "out", codec=NoCodec(), check=False)[-1].skipped == 3
    events = compress([music], tmp_path / "out", check=True)
    assert [event.source.name for event in kinds(events, FileDone)] == ["a.wav"]


@pytest.mark.parametrize("info", [{"rate": 16000}, {"channels": 1}])
def test_check_looks_at_rate_and_channels_too(tmp_path, info):
    """The same samples in the same order, but to be played another way."""
    samples = 0.3 * np.random.default_rng(0).standard_normal((4000, 2))
    soundfile.write(tmp_path / "a.wav", samples, 8000)
    compress([tmp_path / "a.wav"], tmp_path / "out")
    soundfile.write(tmp_path / "a.wav", samples.reshape(-1, info.get("channels", 2)), info.get("rate", 8000))
    assert compress([tmp_path / "a.wav"], tmp_path / "out", check=True)[-1].done == 1
    assert compress([tmp_path / "a.wav"], tmp_path / "out", check=True)[-1].skipped == 1


@pytest.mark.parametrize(
    "settings", [{"check": True, "exists": "overwrite"}, {"check": True, "exists": "fail"}, {"rdo": 3, "prior": False}]
)
def test_options_that_have_no_effect_together_are_refused(music, tmp_path, settings):
    with pytest.raises(UsageError, match=r"used with|one of both"):
        compress([music], tmp_path / "out", **settings)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["unsupported-major-2", "unsupported-flag", "unsupported-limit-channels"])
def test_a_file_of_a_newer_version_is_not_replaced(music, tmp_path, name):
    target = tmp_path / "out" / "a.wav.dacz"
    target.parent.mkdir()
    shutil.copy(VECTORS / f"{name}.dacz", target)
    (failed,) = kinds(compress([music / "a.wav"], tmp_path / "out"), FileFailed)
    assert failed.exit_code == 4
    assert target.read_bytes() == (VECTORS / f"{name}.dacz").read_bytes()


def test_an_output_of_a_run_before_that_cannot_be_read_back_is_told_and_kept(music, tmp_path):
    compress([music / "a.wav"], tmp_path / "out")
    target = tmp_path / "out" / "a.wav.dacz"
    damaged = bytearray(target.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    target.write_bytes(damaged)
    (failed,) = kinds(compress([music / "a.wav"], tmp_path / "out", remove=True), FileFailed)
    assert failed.exit_code == 3
    assert target.read_bytes() == bytes(damaged)
    assert (music / "a.wav").exists()


@pytest.mark.parametrize("keep", [0, 10, 400, -1])
def test_an_incomplete_output_is_made_again(music, tmp_path, keep):
    out = tmp_path / "out"
    compress([music / "a.wav"], out)
    target = out / "a.wav.dacz"
    whole = target.read_bytes()
    target.write_bytes(whole[:keep])
    events = compress([music / "a.wav"], out)
    if keep == 0:  # an empty file says nothing about whose it is
        assert kinds(events, FileFailed)[0].kind == "OutputExists"
    else:
        assert target.read_bytes() == whole


def test_what_is_not_ours_is_never_replaced_by_default(music, tmp_path):
    target = tmp_path / "out" / "a.wav.dacz"
    target.parent.mkdir()
    target.write_bytes(b"somebody's only copy of something")
    events = compress([music / "a.wav"], tmp_path / "out")
    assert kinds(events, FileFailed)[0].kind == "OutputExists"
    assert target.read_bytes() == b"somebody's only copy of something"
    assert compress([music / "a.wav"], tmp_path / "out", exists="overwrite")[-1].done == 1


def test_exists_fail_and_overwrite(music, tmp_path):
    compress([music], tmp_path / "out")
    events = compress([music], tmp_path / "out", exists="fail", codec=NoCodec())
    assert (events[-1].failed, events[-1].exit_code) == (4, 2)
    assert compress([music], tmp_path / "out", exists="overwrite")[-1].done == 4
    with pytest.raises(UsageError, match="skip, overwrite, fail"):
        compress([music], None, exists="perhaps")


def test_decompressing_beside_the_source_leaves_the_source_alone(music):
    compress([music], None)
    before = {name: (music / name).read_bytes() for name in files_below(music)}
    events = decompress([music], None)
    assert (events[-1].done, events[-1].skipped) == (0, 4)
    assert {name: (music / name).read_bytes() for name in files_below(music)} == before


def test_formats_and_parts(music, tmp_path):
    compress([music / "a.wav"], tmp_path / "out")
    decompress([tmp_path / "out"], tmp_path / "all")
    decompress([tmp_path / "out"], tmp_path / "part", DecompressOptions(start=0.1, duration=0.2, format="flac"))
    whole, _ = soundfile.read(tmp_path / "all" / "a.wav")
    part, rate = soundfile.read(tmp_path / "part" / "a.wav.flac")
    assert rate == 8000
    np.testing.assert_array_equal(part, whole[800:2400])
    with pytest.raises(UsageError, match="'mp3'"):
        decompress([tmp_path / "out"], None, DecompressOptions(format="mp3"))


def test_verified_sources_are_removed_and_others_kept(music, tmp_path, monkeypatch):
    events = compress([music / "a.wav"], tmp_path / "out", remove=True)
    assert events[-1].exit_code == 0
    assert not (music / "a.wav").exists()

    def damaged(path):
        raise ChecksumError("read back: damaged")

    monkeypatch.setattr(batch, "verify_file", damaged)
    events = compress([music / "c.wav"], tmp_path / "out", remove=True)
    assert kinds(events, FileFailed)[0].reason == "read back: damaged"
    assert (music / "c.wav").exists()
    assert files_below(tmp_path / "out") == ["a.wav.dacz"]


@pytest.mark.parametrize("before", [False, True])
def test_links_among_the_sources_are_done_before_their_file_goes(music, tmp_path, before):
    (music / "z_link.wav").symlink_to("a.wav")
    (music / "sub" / "y_link.wav").symlink_to(music / "z_link.wav")
    if before:
        compress([music], tmp_path / "out")
    events = compress([music], tmp_path / "out", remove=True)
    assert not kinds(events, FileFailed)
    assert len(files_below(tmp_path / "out")) == 6
    assert [path for path in music.rglob("*") if not path.is_dir()] == []


def test_a_file_stays_while_a_link_to_it_is_not_done(music, tmp_path):
    (music / "z_link.wav").symlink_to("a.wav")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "z_link.wav.dacz").write_bytes(b"in the way")
    events = compress([music], tmp_path / "out", remove=True)
    assert [event.source.name for event in kinds(events, FileFailed)] == ["z_link.wav"]
    assert files_below(music) == ["a.wav", "z_link.wav"]
    again = compress([music], tmp_path / "out", remove=True)
    assert "once that is done for all links to it" in kinds(again, FileSkipped)[0].reason
    (tmp_path / "out" / "z_link.wav.dacz").unlink()
    assert not kinds(compress([music], tmp_path / "out", remove=True), FileFailed)
    assert files_below(music) == []


def test_a_source_that_changes_while_its_output_is_verified_is_kept(music, tmp_path, monkeypatch, make_wav):
    verify = batch.verify_file

    def change_meanwhile(path):
        make_wav(music / "a.wav", channels=2, seed=9)
        return verify(path)

    monkeypatch.setattr(batch, "verify_file", change_meanwhile)
    events = compress([music / "a.wav"], tmp_path / "out", remove=True)
    assert kinds(events, FileFailed)[0].kind == "SourceChanged"
    assert (music / "a.wav").exists()


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"device": "nowhere"}, UsageError),
        ({"precision": "bf17"}, UsageError),
        ({"model": "nobody"}, ModelNotFound),
        ({"model": "44k", "options": CompressOptions(codebooks=99)}, UsageError),
        ({"model": "44k", "refine": -99}, UsageError),
    ],
)
def test_what_no_file_can_be_done_with_is_told_once(music, tmp_path, settings, error):
    plan = batch.plan_compress([music], tmp_path / "out")
    with pytest.raises(error, match=r"nowhere|bf17|nobody|99"):
        batch.process(plan, CompressSettings(**settings))
    assert not (tmp_path / "out").exists()


def test_a_device_that_is_not_here_is_told_once_when_decompressing(music, tmp_path):
    with pytest.raises(UsageError, match="nowhere"):
        batch.process(batch.plan_decompress([music], tmp_path, None), DecompressSettings(device="nowhere"))


def test_one_bad_option_fails_every_file_but_nothing_else(music, tmp_path):
    events = compress([music], tmp_path / "out", options=CompressOptions(codebooks=99))
    assert (events[-1].failed, events[-1].exit_code) == (4, 2)
    assert "1 to 3" in kinds(events, FileFailed)[0].reason
    assert files_below(tmp_path) == ["music/" + name for name in files_below(music)]


def test_bad_files_fail_alone(music, tmp_path):
    (music / "text.wav").write_text("this is not audio")
    (music / "empty.wav").touch()
    whole = (music / "c.flac").read_bytes()
    (music / "cut.flac").write_bytes(whole[: len(whole) // 2])
    bad = np.zeros(4000, np.float32)
    bad[1234] = np.nan
    soundfile.write(music / "nan.wav", bad, 8000, subtype="FLOAT")
    events = compress([music, music / "missing.wav"], tmp_path / "out")
    reasons = {event.source.name: (event.kind, event.reason) for event in kinds(events, FileFailed)}
    assert reasons.keys() == {"text.wav", "empty.wav", "cut.flac", "nan.wav", "missing.wav"}
    assert {kind for name, (kind, _) in reasons.items() if name != "missing.wav"} == {"UnsupportedAudio"}
    assert "sample 1234" in reasons["nan.wav"][1]
    assert all("\n" not in reason for _, reason in reasons.values())
    assert files_below(tmp_path / "out") == ["a.wav.dacz", "c.flac.dacz", "c.wav.dacz", "sub/b.wav.dacz"]
    assert events[-1].exit_code == 2


def test_damaged_and_foreign_dacz_files_fail_alone(music, tmp_path):
    out = tmp_path / "out"
    compress([music], out)
    whole = (out / "a.wav.dacz").read_bytes()
    (out / "cut.wav.dacz").write_bytes(whole[: len(whole) // 2])
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    (out / "flipped.wav.dacz").write_bytes(flipped)
    other = StubCodec()
    other.id = bytes(16)
    compress([music / "c.wav"], out / "other", codec=other)
    shutil.copy(music / "a.wav", out / "audio.dacz")
    events = decompress([out], tmp_path / "back")
    failed = {event.source.name: event.kind for event in kinds(events, FileFailed)}
    assert failed == {
        "cut.wav.dacz": "Truncated",
        "flipped.wav.dacz": "ChecksumError",
        "c.wav.dacz": "ModelMismatch",
        "audio.dacz": "NotDacz",
    }
    assert files_below(tmp_path / "back") == files_below(music)


def test_a_slower_model_than_the_source_is_worth_a_note(music, tmp_path):
    events = compress([music], tmp_path / "out")
    notes = {event.source.name: event.notes for event in kinds(events, FileDone)}
    assert notes["b.wav"] == ("nothing above 4 kHz is kept by the model stub",)
    assert notes["a.wav"] == ()


def test_deep_verification_decodes(music, tmp_path):
    from dacfile.deep import verify_deep
    from dacfile.installed import Codecs

    compress([music / "a.wav"], tmp_path)
    result = verify_deep(tmp_path / "a.wav.dacz", Codecs(only=StubCodec()))
    assert result.checks[-1] == "audio, to its full length"
    assert result.seconds == 0.5


def test_preview_says_what_a_run_would_do(music, tmp_path):
    compress([music / "a.wav"], tmp_path / "out")
    plan = batch.plan_compress([music, music / "missing"], tmp_path / "out")
    events = list(batch.preview(plan, CompressSettings(codec=NoCodec())))
    assert sorted(type(event).__name__ for event in events) == ["FileFailed", "FileSkipped", *["Started"] * 3]
    assert files_below(tmp_path / "out") == ["a.wav.dacz"]


def test_names_of_every_kind_survive(tmp_path, make_wav):
    names = ["日本語.wav", "é.wav", "e\u0301.wav", "new\nline.wav", "-dash.wav", "CON.wav", "dot..wav", "🎵.wav"]
    names += [os.fsdecode(b"\xff\xfe.wav"), "n" * 246 + ".wav"]
    make_wav(tmp_path / "in" / "x.wav", seconds=0.05)
    for name in names:
        shutil.copy(tmp_path / "in" / "x.wav", tmp_path / "in" / name)
    assert compress([tmp_path / "in"], tmp_path / "out")[-1].done == 11
    assert decompress([tmp_path / "out"], tmp_path / "back")[-1].done == 11
    assert files_below(tmp_path / "back") == files_below(tmp_path / "in")


def test_a_name_that_gets_too_long_is_one_clear_failure(tmp_path, make_wav):
    make_wav(tmp_path / "x.wav", seconds=0.05).rename(tmp_path / ("n" * 251 + ".wav"))
    event = kinds(compress([tmp_path], None), FileFailed)[0]
    assert "too long" in event.reason
    assert files_below(tmp_path) == ["n" * 251 + ".wav"]


def test_repacked_files_are_smaller_and_hold_the_first_layers(music, tmp_path):
    import dacfile
    from dacfile.repack import RepackSettings, plan_repack

    compress([music], tmp_path / "out")
    plan = plan_repack([tmp_path / "out"], tmp_path / "small")
    events = list(batch.process(plan, RepackSettings(codebooks=1)))
    assert (events[-1].done, events[-1].exit_code) == (4, 0)
    for name in files_below(tmp_path / "out"):
        before, after = (dacfile.open(tmp_path / folder / name) for folder in ("out", "small"))
        with before, after:
            np.testing.assert_array_equal(before.codes(codebooks=1), after.codes()[:, :1])
            assert after.info.file_bytes < before.info.file_bytes
    assert decompress([tmp_path / "small"], tmp_path / "back")[-1].done == 4


def test_a_file_that_vanishes_before_it_is_repacked_fails_alone(music, tmp_path, monkeypatch):
    from dacfile import repack

    compress([music], tmp_path / "out")

    def find_and_lose(inputs):
        found = find_dacz(inputs)
        (tmp_path / "out" / "a.wav.dacz").unlink()
        return found

    find_dacz = repack.find_dacz
    monkeypatch.setattr(repack, "find_dacz", find_and_lose)
    plan = repack.plan_repack([tmp_path / "out"], None)
    events = list(batch.process(plan, repack.RepackSettings(codebooks=1, in_place=True)))
    assert [event.source.name for event in kinds(events, FileFailed)] == ["a.wav.dacz"]
    assert (events[-1].done, events[-1].exit_code) == (3, 2)


@pytest.mark.parametrize(
    ("made", "asked", "done"),
    [(3, 3, True), (3, 5.9, True), (3, 6, False), (3, 100, False), (6, 100, False), (9, 100, True), (6, 5.9, False)],
)
def test_an_output_of_another_bit_rate_is_told_and_keeps_its_source(music, tmp_path, made, asked, done):
    """The stub has three layers of 3 kbit/s."""
    assert compress([music / "c.wav"], tmp_path / "out", options=CompressOptions(bitrate=made))[-1].done == 1
    options = CompressOptions(bitrate=asked)
    (skipped,) = kinds(compress([music / "c.wav"], tmp_path / "out", options=options, remove=True), FileSkipped)
    assert skipped.done == done
    assert (f"{made} kbit/s in place of {asked:g}" in skipped.reason) == (not done)
    assert (music / "c.wav").exists() == (not done)


def test_every_coded_channel_needs_its_layer_before_a_bit_rate_counts_as_missed(music, tmp_path):
    make = CompressOptions(bitrate=6, stereo="lr")
    assert compress([music / "a.wav"], tmp_path / "out", options=make)[-1].done == 1
    for asked, done in ((11.9, True), (12, False)):
        options = CompressOptions(bitrate=asked, stereo="lr")
        (skipped,) = kinds(compress([music / "a.wav"], tmp_path / "out", options=options), FileSkipped)
        assert skipped.done == done
