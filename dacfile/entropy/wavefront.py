"""Decoding layers that look at their own past, several layers of many channels side by side.

Within a layer, frames come one after the other. But layer k + 1 of a frame needs layer k only up to a few frames later,
so it follows close behind: one pass over the frames decodes a run of layers of all channels, in steps of CHUNK frames.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dacfile.entropy import network as numbers
from dacfile.entropy.lanes import Lane
from dacfile.entropy.network import Network
from dacfile.entropy.prior import Known
from dacfile.entropy.sequential import FrameDecoder
from dacfile.entropy.streams import Streams

CHUNK = 48  # frames of a step: shorter ones wait less for each other, longer ones make better matrices
ROWS = 96  # layers times channels side by side that are enough to hide the cost of calling numpy


class Stage:
    """One layer of one lane on its way."""

    def __init__(self, network: Network, lane: Lane, k: int, known: Known) -> None:
        self.lane, self.k, self.done = lane, k, 0
        self.data = None if isinstance(known, np.ndarray) else known
        self.stream = 0  # its number among the streams of the run
        self.spill = np.zeros((network.config.lags, network.config.head), numbers.CARRIER)  # for the frames to come
        if isinstance(known, np.ndarray):
            lane.codes[k] = known

    def step(self) -> int:
        """Return how many frames can be done now: CHUNK, fewer at the end, none while there are not enough."""
        frames = min(CHUNK, self.lane.frames - self.done)
        return frames if self.lane.available(self.k) >= self.done + frames else 0


def decode_run(network: Network, lanes: Sequence[Lane], known: Sequence[Sequence[Known]], k: int, end: int) -> None:
    """Fill the codes of layers [k, end) of all lanes, which have own past; `known[lane][layer]` is what is stored."""
    pairs = zip(lanes, known, strict=True)
    stages = [
        Stage(network, lane, layer, rows[layer]) for lane, rows in pairs for layer in range(k, min(end, lane.depth))
    ]
    stages = sorted((stage for stage in stages if stage.lane.frames), key=lambda stage: stage.k)
    coded = [stage for stage in stages if stage.data is not None]
    for number, stage in enumerate(coded):
        stage.stream = number
    streams = Streams([stage.data for stage in coded if stage.data is not None])
    while stages:
        ready = [stage for stage in stages if stage.step()]
        frames = min(stage.step() for stage in ready)
        _decode(network, [stage for stage in ready if stage.data is not None], frames, streams)
        for stage in ready:
            stage.lane.learn(stage.k, stage.done, stage.done + frames)
            stage.done += frames
        stages = [stage for stage in stages if stage.done < stage.lane.frames]


def _decode(network: Network, stages: Sequence[Stage], frames: int, streams: Streams) -> None:
    if not stages:
        return
    rows = np.array([stage.stream for stage in stages])
    part = streams.select(rows)
    decoder = FrameDecoder(network, [stage.k for stage in stages], part)
    sums = [stage.lane.sums(stage.k, stage.done, stage.done + frames) for stage in stages]
    codes, spills = decoder.decode(np.stack(sums), np.stack([stage.spill for stage in stages]))
    streams.restore(rows, part)
    for stage, row, spill in zip(stages, codes, spills, strict=True):
        stage.lane.codes[stage.k, stage.done : stage.done + frames] = row
        stage.spill = spill
