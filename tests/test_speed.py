"""`dacz bench` and what it measures with."""

from __future__ import annotations

import json

import numpy as np
import pytest
from stub_codec import StubCodec

from dacfile import speed
from dacfile.errors import UnsupportedAudio, UsageError
from dacfile.installed import cores
from dacfile.speed import Bench, synthetic


def test_the_synthetic_sound_is_audio_and_always_the_same():
    sound = synthetic(1.5, 16000)
    assert sound.shape == (24000, 2)
    assert sound.dtype == np.float32
    assert 0.05 < np.abs(sound).max() <= 1
    assert np.array_equal(sound, synthetic(1.5, 16000))
    assert not np.array_equal(sound[:, 0], sound[:, 1])


def test_all_stages_are_timed_and_the_audio_counts_per_channel():
    bench = Bench("any", seconds=1.0, codec=StubCodec())
    timings = {timing.stage: timing for timing in bench.timings()}
    assert list(timings) == ["encode", "decode", "compress", "decompress"]  # the stub has no prior
    assert timings["encode"].audio == pytest.approx(2.0)
    assert timings["compress"].audio == pytest.approx(2.0 * cores())
    assert (timings["encode"].cores, timings["compress"].cores) == (1, cores())
    assert all(timing.speed == pytest.approx(timing.audio / timing.elapsed) for timing in timings.values())


def test_a_slow_model_gets_less_audio(monkeypatch):
    monkeypatch.setattr(speed, "MOST_TIME", 0.0)
    assert Bench("any", seconds=30.0, codec=StubCodec()).seconds == pytest.approx(speed.TRIAL_SECONDS, abs=0.01)


def test_the_users_own_file_is_used(make_wav, tmp_path):
    path = make_wav(tmp_path / "a.wav")
    bench = Bench("any", seconds=60.0, source=path, codec=StubCodec())
    audio = speed.read_start(path, 60.0, bench.codec.facts.rate)
    assert bench.seconds == pytest.approx(len(audio) / bench.codec.facts.rate)
    assert len(speed.read_start(path, 0.25, 8000)) == 2000


def test_impossible_wishes_are_refused(tmp_path):
    with pytest.raises(UsageError, match="too little"):
        Bench("any", seconds=0, codec=StubCodec())
    (tmp_path / "no.wav").write_bytes(b"not audio at all")
    with pytest.raises(UnsupportedAudio, match=r"no\.wav: not audio"):
        Bench("any", source=tmp_path / "no.wav", codec=StubCodec())


def test_the_command_prints_a_table_or_json(dacz, stub_models):
    done = dacz("bench", "--seconds", "0.5", "--model", "44k")
    assert done.code == 0
    assert stub_models.name in done.out
    assert "decompress" in done.out
    done = dacz("bench", "--seconds", "0.5", "--model", "44k", "--json")
    stages = json.loads(done.out)["stages"]
    assert stages["encode"]["speed"] > 0
    assert stages["compress"]["cores"] == cores()


def test_an_unknown_model_is_one_line(dacz):
    done = dacz("bench", "--model", "nonexistent")
    assert (done.code, len(done.err.splitlines())) == (5, 1)
