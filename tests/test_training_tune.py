"""Fine-tuning in one command: the result is installed with its prior, and its codes are the bundled model's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from dacfile.codec import load_codec
from dacfile.errors import OutputExists, UsageError
from dacfile.installed import default_prior
from dacfile.model import store
from dacfile.priors import remove_prior
from dacfile.training.__main__ import parser
from dacfile.training.config import CONFIGS

Call = Callable[[str, int], None]


def sound(seed: int) -> np.ndarray:
    samples = np.random.default_rng(seed).standard_normal(32000).cumsum()
    return (samples / np.abs(samples).max() / 2).astype(np.float32)


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Return what tunes 16k on the folder music/ by a name, up to a number of steps."""
    monkeypatch.setenv("DACZ_MODELS", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(CONFIGS, "16k-decoder", replace(CONFIGS["16k-decoder"], batch=2, frames=40))
    Path("music").mkdir()
    for number in range(3):
        soundfile.write(f"music/{number}.wav", sound(number), 16000)

    def run(name: str, steps: int) -> None:
        arguments = parser().parse_args(["tune", "16k", "music", "--name", name, "--steps", str(steps)])
        arguments.action(arguments)

    return run


def test_the_result_is_installed_with_its_prior(call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    call("mine", 2)
    told = capsys.readouterr().out
    assert "1 channel(s) kept out of training" in told
    assert "installed: dacz compress ... --model mine" in told
    mine, bundled = load_codec("mine"), load_codec("16k")
    prior = default_prior("mine", mine.id)
    assert prior is not None
    assert (prior.info["name"], prior.info["model"]) == ("mine", mine.id.hex())
    codes = mine.encode(sound(0)[:, None])
    np.testing.assert_array_equal(codes, bundled.encode(sound(0)[:, None]))
    assert not np.array_equal(mine.decode(codes), bundled.decode(codes))
    with pytest.raises(OutputExists):
        call("mine", 2)


def test_it_goes_on_where_it_was(call: Call) -> None:
    call("mine", 2)
    first = store.remove("mine").id
    remove_prior("mine")
    call("mine", 3)
    lines = Path("runs/mine/validation.jsonl").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ['{"step": 2', '{"step": 3']
    assert store.find("mine").id != first


def test_a_folder_without_audio_is_told(call: Call) -> None:
    for file in Path("music").iterdir():
        file.unlink()
    with pytest.raises(UsageError, match="no audio"):
        call("mine", 1)


def test_a_single_recording_is_not_enough(call: Call) -> None:
    for number in (1, 2):
        Path(f"music/{number}.wav").unlink()
    with pytest.raises(UsageError, match="two recordings"):
        call("mine", 1)
    assert all(entry.bundled for entry in store.list_models())
