"""`dacz optimize DIR` with the stub as its model and a prior that is learned at once, to be killed by a test."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from stub_codec import StubCodec

from dacfile.model import store
from dacfile.training import prior_archive
from dacfile.training.prior_counts import train_count_prior
from dacz.app import run

STUB = StubCodec()


def learn(pieces, facts, model_id, name, *rest):
    return train_count_prior([piece.first for piece in pieces], 64, 1, {"model": model_id.hex()})


if __name__ == "__main__":
    entry = store.ModelEntry("stub", STUB.id, replace(STUB.facts), Path("stub"), False, 0)
    store.find = lambda name: entry
    prior_archive.train_on_pieces = learn
    print("ready", flush=True)
    sys.stdin.readline()
    sys.exit(run(["optimize", *sys.argv[1:]]))
