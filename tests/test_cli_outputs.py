"""Names of outputs and what they say; calls that cannot be meant; whose fault a failure is."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.usefixtures("stub_models")


@pytest.fixture
def packed(tmp_path, make_wav, dacz):
    """A .dacz file of a WAV."""
    make_wav(tmp_path / "a.wav")
    assert dacz("compress", tmp_path / "a.wav").code == 0
    return tmp_path / "a.wav.dacz"


def test_options_that_a_pipe_cannot_heed_are_refused(packed, tmp_path, dacz):
    for option in ("--verify", "--json", "--dry-run", "--rm"):
        done = dacz("compress", packed.with_suffix(""), "-o", "-", option)
        assert (done.code, done.out) == (1, "")
        assert f"{option} cannot be used" in done.err
